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
  fork?: boolean; // it is a fork that moved: stored and decoded are λ
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
  if (v.identical && v.branches) {
    return make("p", { class: "verdict verdict-good" }, make("strong", {}, "Identical."),
      ` ${many(v.tokens, "token")} of ${many(v.branches, "text")} decoded again, each the same, and every fork at the same λ.`);
  }
  if (v.identical) {
    return make("p", { class: "verdict verdict-good" }, make("strong", {}, "Identical."),
      ` ${many(v.tokens, "token")} on ${many(v.lanes, "lane")} decoded again, each the same.`);
  }
  if (v.fork) {
    return make("p", { class: "verdict verdict-bad" }, make("strong", {}, "Differs"),
      ` in text ${v.lane + 1}: it ends at λ ${v.stored} as stored, at λ ${v.decoded} decoded now. ${v.note ?? ""}`);
  }
  return make("p", { class: "verdict verdict-bad" }, make("strong", {}, "Differs"),
    ` in ${v.branches ? "text" : "lane"} ${v.lane + 1} at token ${v.index + 1}: stored `, make("q", {}, v.stored || "its end"),
    ", decoded now ", make("q", {}, v.decoded || "its end"), `. ${v.note ?? ""}`);
}
