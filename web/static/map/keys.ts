// How far keys move the slider. No DOM here.

const steps: Record<string, number> = { ArrowRight: 0.05, ArrowUp: 0.05, ArrowLeft: -0.05, ArrowDown: -0.05, PageUp: 0.25, PageDown: -0.25 };

/** By how much a key moves λ on a range of some width, 0 for keys that do not: arrows by 0.05, with Shift by 0.005, Page Up and
    Page Down by 0.25; by less where the range is narrower than 2. */
export function stepOf({ key, shiftKey }: Pick<KeyboardEvent, "key" | "shiftKey">, width: number): number {
  return (steps[key] ?? 0) * (shiftKey ? 0.1 : 1) * Math.min(1, width / 2);
}
