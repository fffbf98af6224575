// What a λ-map says at a λ. No DOM here.

import { formatNumber, total } from "../lambda/lambda";

/** A part of the interval with one text. They lie side by side in the order of λ. */
export interface Branch {
  from: number;
  to: number;
  reason: string; // stop, length, budget, cancelled, error; "" is not known (yet)
  pieces: string[]; // the text that each token added
  at: number[]; // tokens at which texts at other λ go another way
  part: number; // token at which it parts from the branch before
}

/** A straight line between two mixtures: λ at place 0, and at place 1. */
export interface Line {
  from: number[];
  to: number[];
}

/** What a map is along: one λ, or a line between two mixtures of several aligned models, whose places are 0 to 1. */
export interface Along {
  betas: number[];
  names: string[];
  line?: Line;
}

export interface MapData extends Along {
  from: number;
  to: number;
  branches: Branch[];
}

/** λ at a place, as the server reckons it (decode.Line.At); without a line the place is λ. */
export function mixtureAt(line: Line | undefined, place: number): number[] {
  if (!line) return [place];
  if (place === 0) return [...line.from];
  if (place === 1) return [...line.to];
  return line.from.map((x, i) => x + place * ((line.to[i] ?? 0) - x));
}

/** λ of each model and their sum: "Warmth: λ 0.5 · Length: λ 0.25 · sum 0.75". */
export function mixtureWords(names: readonly string[], lambda: readonly number[]): string {
  return [...lambda.map((x, i) => `${names[i] ?? `model ${i + 1}`}: λ ${formatNumber(x, 3)}`), `sum ${formatNumber(total(lambda), 3)}`].join(" · ");
}

export interface Piece {
  text: string;
  kind: "" | "fork" | "last" | "new";
}

export const known = (branch: Branch): boolean => branch.reason === "stop" || branch.reason === "length";

/** The place of the branch at a λ; at a fork it is the one above. */
export function branchAt(data: MapData, lambda: number): number {
  for (let i = data.branches.length - 1; i > 0; i--) if ((data.branches[i] as Branch).from <= lambda) return i;
  return 0;
}

/** A λ within a branch that takes few digits to write. */
export function between({ from, to }: Pick<Branch, "from" | "to">): number {
  const middle = (from + to) / 2;
  for (let digits = 0; digits < 15; digits++) {
    const x = Number(middle.toFixed(digits));
    if (from < x && x < to) return x;
  }
  return middle;
}

/** The text of a branch, cut where it forks, as the server cuts it (web/templates/map.go). */
export function pieces(branch: Branch): Piece[] {
  const last = branch.at[branch.at.length - 1] ?? -1;
  const forks = new Set(branch.at);
  const list: Piece[] = [];
  for (const [n, text] of branch.pieces.entries()) {
    const kind = n === last ? "last" : last >= 0 && n > last ? "new" : forks.has(n) ? "fork" : "";
    const before = list[list.length - 1];
    if (before?.kind === kind && kind !== "fork") before.text += text;
    else list.push({ text, kind });
  }
  return list;
}

/** How the text of a branch ends, where that is not by itself. */
export function ending(branch: Branch): string {
  const words: Record<string, string> = {
    "": "not decoded", budget: "not followed further", cancelled: "stopped", error: "broken off", length: "cut off at the token limit", stop: "ended by itself",
  };
  return words[branch.reason] ?? branch.reason;
}

/** A token as it is quoted: without the space that it begins with, unless there is nothing else. */
export const quoted = (text: string): string => `“${text.trim() || text}”`;
