// A comparison with the token inspector: its numbers are fetched from what is stored, nothing is decoded.

import { make, one, post } from "../dom/dom";
import { Stage } from "../lanes/lanes";
import { MapSection } from "../map/map";
import { type Snapshot, fromSnapshot } from "../run/run";
import { toast } from "../toast/toast";

export async function comparison(page: HTMLElement): Promise<void> {
  const path = page.dataset.comparison ?? "";
  verifies(page, path);
  const map = page.querySelector<HTMLElement>("[data-map]");
  if (map) {
    new MapSection(map);
    return;
  }
  const answer = await fetch(`${path}.json`, { headers: { Accept: "application/json" } });
  if (!answer.ok) return; // the page is complete as it is
  const run = fromSnapshot((await answer.json()) as Snapshot);
  const stage = new Stage(page, null, [], { min: 0, max: 0 });
  stage.setRun(run);
  for (const column of stage.columns) {
    const beta = column.element.querySelector<HTMLElement>("[data-beta]");
    const known = beta?.hidden === false;
    const text = beta?.querySelector("[data-beta-value]")?.textContent ?? "";
    column.bind(run.lanes[column.drawnIndex] ?? null);
    if (beta && known) {
      beta.hidden = false; // the page knows β, the snapshot need not
      one(beta, "[data-beta-value]").textContent = text;
    }
  }
  stage.flush();
}

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

function verifies(page: HTMLElement, path: string): void {
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
