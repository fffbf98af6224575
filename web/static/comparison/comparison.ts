// A comparison with the token inspector: its numbers are fetched from what is stored, nothing is decoded.

import { make, one, post } from "../dom/dom";
import { Stage } from "../lanes/lanes";
import { type Snapshot, fromSnapshot } from "../run/run";
import { toast } from "../toast/toast";

export async function comparison(page: HTMLElement): Promise<void> {
  const path = page.dataset.comparison ?? "";
  verifies(page, path);
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
  lane: number;
  index: number;
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

export function verdict(v: Verdict): HTMLElement {
  const many = (n: number, noun: string) => `${n} ${noun}${n === 1 ? "" : "s"}`;
  if (v.error) return make("p", { class: "verdict verdict-bad" }, `Not verified: ${v.error}`);
  if (v.identical) {
    return make("p", { class: "verdict verdict-good" }, make("strong", {}, "Identical."),
      ` ${many(v.tokens, "token")} on ${many(v.lanes, "lane")} decoded again, each the same.`);
  }
  return make("p", { class: "verdict verdict-bad" }, make("strong", {}, "Differs"),
    ` in lane ${v.lane + 1} at token ${v.index + 1}: stored `, make("q", {}, v.stored || "its end"),
    ", decoded now ", make("q", {}, v.decoded || "its end"), `. ${v.note ?? ""}`);
}
