// The words that a page explains. Fetched when the sheet of keys is opened (extras.ts).

import { all, make } from "../dom/dom";

/** Lists the words that the page explains, each once: where they stand they are no stops of Tab. */
export function listTerms(place: HTMLElement): void {
  const found = new Map(all<HTMLAnchorElement>(document, "main a.term").map((word) => [word.href, word.textContent ?? ""]));
  for (const link of all(place, "a")) link.remove();
  place.append(...[...found].map(([href, word]) => make("a", { href, target: "words" }, word)));
  place.hidden = found.size === 0;
}
