// Keeps the state of each pair's worker current on the pages about pairs.

import { at } from "../base/base";
import { all } from "../dom/dom";
import type { PairStatus } from "../protocol/protocol";

export function showPairs(pairs: readonly PairStatus[]): void {
  for (const badge of all(document, "[data-pair-name]")) {
    const pair = pairs.find((p) => p.name === badge.dataset.pairName);
    if (!pair) continue;
    badge.textContent = stateWords(pair);
    badge.title = pair.message;
    badge.classList.toggle("badge-good", pair.state === "ready");
    badge.classList.toggle("badge-bad", pair.state === "failed" || pair.state === "restarting");
  }
}

export function stateWords(pair: PairStatus): string {
  if (pair.state === "loading" && pair.progress > 0) return `loading ${Math.round(100 * pair.progress)}%`;
  return pair.state;
}

interface Pull {
  name: string;
  state: "running" | "done" | "failed" | "stopped";
  done: number;
  total: number;
}

/** How far a fetch is, in words. */
export function pullWords({ done, total }: Pick<Pull, "done" | "total">): string {
  const megabytes = (n: number) => (n / 1e6).toFixed(1);
  return total > 0 ? `${megabytes(done)} of ${megabytes(total)} MB` : "asking";
}

/** Keeps the fetches on the page current; when one ends the page is read anew. */
export async function followPulls(section: HTMLElement): Promise<void> {
  const running = () => all(section, '[data-pull-state="running"]');
  while (running().length > 0) {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const answer = await fetch(at("/pairs/pulls"), { headers: { Accept: "application/json", "X-Requested-With": "fetch" } }).catch(() => null);
    if (!answer?.ok) continue;
    const { pulls } = (await answer.json()) as { pulls: Pull[] };
    for (const item of running()) {
      const pull = pulls.find((p) => p.name === item.dataset.pull);
      if (!pull || pull.state !== "running") return location.reload();
      const words = item.querySelector("[data-pull-words]");
      if (words) words.textContent = pullWords(pull);
      const bar = item.querySelector<HTMLProgressElement>("[data-pull-bar]");
      if (bar && pull.total > 0) bar.value = pull.done / pull.total;
    }
  }
}
