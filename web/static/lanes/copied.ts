// Lanes for other programs: as Markdown or as CSV.

import { formatLambda, words } from "../lambda/lambda";

/** What is copied of a lane. */
export interface Copied {
  lambda: readonly number[];
  sample: number;
  beta: string; // "" is unknown
  tokens: number;
  ended: string;
  text: string;
}

/** A fence that no line of a text closes. */
function fence(text: string): string {
  const longest = Math.max(2, ...[...text.matchAll(/`{3,}/g)].map((m) => m[0].length));
  return "`".repeat(longest + 1);
}

export function asMarkdown(lanes: readonly Copied[]): string {
  return lanes.map((lane) => {
    const facts = [`λ ${formatLambda(lane.lambda)}`, ...(lane.beta ? [`β ${lane.beta}`] : []), ...(lane.sample > 0 ? [`sample ${lane.sample}`] : [])];
    const mark = fence(lane.text);
    return `## ${words(lane.lambda)} (${facts.join(", ")})\n\n${mark}text\n${lane.text}\n${mark}\n`;
  }).join("\n");
}

/** A value of CSV. What a spreadsheet would compute begins with an apostrophe, as in the exports (internal/spreadsheet). */
function cell(text: string): string {
  const safe = /^[=+\-@\t\r\n＝＋－＠]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

export function asCSV(lanes: readonly Copied[]): string {
  const rows = lanes.map((lane) =>
    [lane.lambda.join(" "), lane.beta === "∞" ? "" : lane.beta, String(lane.sample), String(lane.tokens), cell(lane.ended), cell(lane.text)].join(","));
  return ["lambda,effective_beta,sample,tokens,ended,text", ...rows].join("\r\n") + "\r\n";
}
