// A pad with two axes: λ of two aligned models at once. Each point is a handle for pointer and arrow keys.

import { all, svg } from "../dom/dom";
import { formatNumber } from "../lambda/lambda";

export interface PadPoint {
  label: string; // what it is: "Lane 1"
  mark: string; // a letter or two in it
  value: readonly [number, number];
  hue: string;
}

export interface PadEvents {
  /** A point was moved to λ of both models; settled: let go, or moved by a key. */
  moved(place: number, value: [number, number], settled: boolean): void;
}

/** λ on either axis; what lies outside is drawn at the edge. */
export const axis = { from: -1, to: 3 };
const size = 200;
const edge = 14;

const across = (x: number) => edge + ((clamp(x) - axis.from) / (axis.to - axis.from)) * (size - 2 * edge);
const clamp = (x: number) => Math.min(axis.to, Math.max(axis.from, x));
const round = (x: number) => Math.round(x * 100) / 100;

/** Both λ and their sum in words. */
export function padWords(names: readonly string[], [a, b]: readonly [number, number]): string {
  return `${names[0]} ${formatNumber(a, 3)}, ${names[1]} ${formatNumber(b, 3)}, sum ${formatNumber(a + b, 3)}`;
}

/** Where an arrow key takes a value; null for other keys. */
export function padStep(key: string, shift: boolean, [a, b]: readonly [number, number]): [number, number] | null {
  const by = shift ? 0.5 : 0.05;
  const steps: Record<string, [number, number]> = { ArrowRight: [by, 0], ArrowLeft: [-by, 0], ArrowUp: [0, by], ArrowDown: [0, -by] };
  const step = steps[key];
  return step ? [round(clamp(a + step[0])), round(clamp(b + step[1]))] : null;
}

export class Pad {
  private points: readonly PadPoint[] = [];
  private held = -1; // the handle that a pointer holds

  constructor(
    private readonly box: SVGElement,
    private readonly events: PadEvents,
  ) {
    box.setAttribute("viewBox", `0 0 ${size} ${size}`);
    box.addEventListener("pointerdown", (event) => this.grab(event));
    box.addEventListener("pointermove", (event) => this.held >= 0 && this.drag(event, false));
    for (const end of ["pointerup", "pointercancel"] as const) {
      box.addEventListener(end, (event) => {
        if (this.held >= 0) this.drag(event, true);
        this.held = -1;
      });
    }
    box.addEventListener("keydown", (event) => this.key(event));
  }

  /** Draws the points anew; line joins the first two, ends of what the slider moves along. */
  draw(names: readonly string[], points: readonly PadPoint[], line: boolean): void {
    const focused = all(this.box, "[data-pad-point]").indexOf(document.activeElement as HTMLElement);
    this.points = points;
    const zero = across(0);
    const one = across(1);
    const flip = (y: number) => size - y;
    const parts: SVGElement[] = [
      svg("rect", { class: "pad-ground", x: edge, y: edge, width: size - 2 * edge, height: size - 2 * edge }),
      svg("line", { class: "pad-axis", x1: zero, x2: zero, y1: edge, y2: size - edge }),
      svg("line", { class: "pad-axis", x1: edge, x2: size - edge, y1: flip(zero), y2: flip(zero) }),
      svg("line", { class: "pad-sum", x1: across(-1), y1: flip(across(2)), x2: across(2), y2: flip(across(-1)) }),
      svg("circle", { class: "pad-model", "data-model": 0, cx: zero, cy: flip(zero), r: 3 }),
      svg("circle", { class: "pad-model", "data-model": 1, cx: one, cy: flip(zero), r: 3 }),
      svg("circle", { class: "pad-model", "data-model": 2, cx: zero, cy: flip(one), r: 3 }),
    ];
    const [a, b] = points;
    if (line && a && b) {
      parts.push(svg("line", { class: "pad-line", x1: across(a.value[0]), y1: flip(across(a.value[1])), x2: across(b.value[0]), y2: flip(across(b.value[1])) }));
    }
    for (const point of points) parts.push(this.handle(names, point));
    this.box.replaceChildren(...parts);
    if (focused >= 0) all(this.box, "[data-pad-point]")[focused]?.focus();
  }

  private handle(names: readonly string[], { label, mark, value, hue }: PadPoint): SVGElement {
    const x = across(value[0]);
    const y = size - across(value[1]);
    return svg("g", {
      class: "pad-point", "data-pad-point": "", "data-hue": hue, tabindex: 0, role: "slider", "aria-roledescription": "point with two λ", "aria-label": label,
      "aria-valuemin": 2 * axis.from, "aria-valuemax": 2 * axis.to, "aria-valuenow": round(value[0] + value[1]), "aria-valuetext": padWords(names, value),
    }, svg("circle", { cx: x, cy: y, r: 11 }), svg("text", { x, y: y + 4, "text-anchor": "middle" }, mark));
  }

  private at(event: PointerEvent): [number, number] {
    const box = this.box.getBoundingClientRect();
    const read = (px: number, length: number) => axis.from + ((px / length) * size - edge) / (size - 2 * edge) * (axis.to - axis.from);
    return [round(clamp(read(event.clientX - box.left, box.width))), round(clamp(read(box.bottom - event.clientY, box.height)))];
  }

  /** Takes the point that is nearest to the pointer. */
  private grab(event: PointerEvent): void {
    if (event.button !== 0 || this.points.length === 0) return;
    event.preventDefault();
    const [a, b] = this.at(event);
    const far = ({ value }: PadPoint) => (clamp(value[0]) - a) ** 2 + (clamp(value[1]) - b) ** 2;
    this.held = this.points.reduce((best, point, i) => (far(point) < far(this.points[best] as PadPoint) ? i : best), 0);
    this.box.setPointerCapture(event.pointerId);
    all(this.box, "[data-pad-point]")[this.held]?.focus();
    this.drag(event, false);
  }

  private drag(event: PointerEvent, settled: boolean): void {
    this.events.moved(this.held, this.at(event), settled);
  }

  private key(event: KeyboardEvent): void {
    const place = all(this.box, "[data-pad-point]").indexOf(event.target as HTMLElement);
    const point = this.points[place];
    const to = point && padStep(event.key, event.shiftKey, point.value);
    if (!to) return;
    event.preventDefault();
    this.events.moved(place, to, true);
  }
}
