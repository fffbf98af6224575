// Keeps the state of each pair's worker current on the pages about pairs.

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
