// What a sweep will take, said in its form before it begins: how many tokens at most, and how long at the pair's last pace.

import { one, write } from "../dom/dom";

export interface Asked {
  prompts: number; // 0 is unknown: they are in a file
  lambdas: number;
  samples: number;
  tokens: number; // of a reply, at most
  rounds: number; // of refinement, each with two more λ
  budget: number; // tokens; 0 is none
}

/** How many prompts a text has in a format; 0 where that is not counted here. */
export function promptsIn(text: string, format: string): number {
  if (text.trim() === "") return 0;
  if (format === "blocks") return text.trim().split(/\n[ \t]*\n\s*/).length;
  const lines = text.split("\n").filter((line) => line.trim() !== "").length;
  return format === "csv" ? lines - 1 : lines;
}

const inWords = (seconds: number): string =>
  seconds < 90 ? `${Math.max(1, Math.round(seconds))} s` : seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;

/** The words; "" where a number is missing. */
export function costWords({ prompts, lambdas, samples, tokens, rounds, budget }: Asked, pace: number): string {
  const each = lambdas * samples * tokens;
  if (!(each > 0) || !Number.isFinite(each)) return "";
  if (prompts === 0) return `At most ${each.toLocaleString("en")} tokens for each prompt.`;
  const whole = prompts * (lambdas + 2 * rounds) * samples * tokens;
  const most = budget > 0 ? Math.min(budget, whole) : whole;
  const parts = [`At most ${most.toLocaleString("en")} tokens to decode`];
  if (budget === 0 && rounds > 0) parts.push(`${(prompts * each).toLocaleString("en")} of them on the grid`);
  if (pace > 0) parts.push(`about ${inWords(most / pace)} at ${Math.round(pace)} tokens/s, as this pair was decoded last`);
  return `${parts.join(": ").replace(/: (?=about)/, ", ")}.`;
}

export function cost(form: HTMLFormElement): void {
  const place = one(form, "[data-cost]");
  const paces = JSON.parse(place.dataset.paces ?? "{}") as Record<string, number>;
  const field = (name: string) => (form.elements.namedItem(name) as HTMLInputElement | null)?.value ?? "";
  const number = (name: string) => Number(field(name).trim() || 0);
  const draw = () => {
    const file = (form.elements.namedItem("file") as HTMLInputElement | null)?.files?.length ?? 0;
    const pair = field("pair").split(":")[0] ?? "";
    write(place, costWords({
      prompts: file > 0 ? 0 : promptsIn(field("prompts"), field("prompts_format")), lambdas: number("points"), samples: number("samples"), tokens: number("max_tokens"),
      rounds: number("rounds"), budget: number("budget"),
    }, paces[pair] ?? 0));
  };
  form.addEventListener("input", draw);
  form.addEventListener("change", draw);
  draw();
}
