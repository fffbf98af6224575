// Verifying a comparison: it is decoded again, and compared token by token.

import { make, one, post } from "../dom/dom";
import { toast } from "../toast/toast";

interface Verdict {
  identical: boolean;
  lanes: number;
  tokens: number;
  branches?: number; // of a map: lane is then one of its texts
  tolerance: number; // nats that numbers may be apart
  what?: string; // the rest: the first difference
  lane: number; // -1 for what belongs to none
  index: number; // -1 for what belongs to no token
  stored: string;
  decoded: string;
  note?: string;
  error?: string;
}

/** Decodes a comparison again when it is asked for, and says what came of it. */
export function verifies(page: HTMLElement): void {
  const path = page.dataset.comparison ?? "";
  const form = one<HTMLFormElement>(page, "[data-verify]");
  const place = one(page, "[data-verdict]");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = one<HTMLButtonElement>(form, "button");
    button.disabled = true;
    place.replaceChildren(make("p", { class: "verdict" }, "Decoding it again, token by token …"));
    try {
      const v = await post<Verdict>(`${path}/verify`, new FormData(form));
      place.replaceChildren(verdict(v));
    } catch (error) {
      place.replaceChildren();
      toast(error instanceof Error ? error.message : String(error));
    } finally {
      button.disabled = false;
    }
  });
}

const parts: Record<string, string> = {
  prompt: "in the tokens of the prompt", file: "in the name of a model's file", text: "in the text", name: "in the name of a token",
  lambda: "in λ", number: "in a number", alternatives: "in the most probable tokens", end: "in how it ended", fork: "in a fork",
};

export function verdict(v: Verdict): HTMLElement {
  const many = (n: number, noun: string) => `${n} ${noun}${n === 1 ? "" : "s"}`;
  if (v.error) return make("p", { class: "verdict verdict-bad" }, `Not verified: ${v.error}`);
  if (v.identical) {
    const compared = v.branches ? `${many(v.tokens, "token")} of ${many(v.branches, "text")} and every fork,` : `${many(v.tokens, "token")} on ${many(v.lanes, "lane")},`;
    return make("p", { class: "verdict verdict-good" }, make("strong", {}, "Identical."),
      ` ${compared} decoded again from the prompt: each token, text and name is the same, and each number within ${v.tolerance} nats.`);
  }
  const words = [parts[v.what ?? ""] ?? ""];
  if (v.lane >= 0) words.push(`in ${v.branches ? "text" : "lane"} ${v.lane + 1}`);
  if (v.index >= 0 && v.what !== "file") words.push(`at token ${v.index + 1}`);
  return make("p", { class: "verdict verdict-bad" }, make("strong", {}, "Differs"),
    ` ${words.filter(Boolean).join(" ")}: stored `, make("q", {}, v.stored || "its end"),
    ", decoded now ", make("q", {}, v.decoded || "its end"), `. ${v.note ?? ""}`);
}
