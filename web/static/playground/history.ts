// The list of the session's runs, which grows while the page is open.

import { at } from "../base/base";
import { all, make, one } from "../dom/dom";
import type { Spec } from "../protocol/protocol";

/** Puts a run that has just begun at the top. */
export function addRun(page: HTMLElement, session: string, run: { id: string; spec: Spec }, lambdas: string): void {
  const box = one(page, "[data-history]");
  const list = one(box, "[data-runs]");
  box.hidden = false;
  for (const item of all(list, "[data-current]")) {
    delete item.dataset.current;
    item.querySelector("a")?.removeAttribute("aria-current");
  }
  list.prepend(
    make("li", { class: "run", "data-current": "" },
      make("a", { href: at(`/s/${session}?run=${run.id}`), "aria-current": "true" }, shorten(run.spec.prompt, 90)),
      make("span", { class: "run-facts num" },
        make("span", {}, lambdas),
        make("span", {}, `seed ${run.spec.seed}`))),
  );
}

/** A text on one line, of n characters at most. */
export function shorten(text: string, n: number): string {
  const letters = [...text.replace(/\s+/g, " ").trim()];
  return letters.length <= n ? letters.join("") : `${letters.slice(0, n - 1).join("").trimEnd()}…`;
}
