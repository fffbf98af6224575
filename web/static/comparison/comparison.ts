// A comparison with the token inspector: its numbers are fetched from what is stored, nothing is decoded.

import { one } from "../dom/dom";
import { Stage } from "../lanes/lanes";
import { MapSection } from "../map/map";
import { type Snapshot, fromSnapshot } from "../run/run";

export async function comparison(page: HTMLElement): Promise<void> {
  const map = page.querySelector<HTMLElement>("[data-map]");
  if (map) {
    new MapSection(map);
    return;
  }
  const answer = await fetch(`${page.dataset.comparison ?? ""}.json`, { headers: { Accept: "application/json" } });
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
