// Keeps a study's page as things are, while it is decoded or rated.

import { one } from "../dom/dom";

const every = 2000;

export function study(page: HTMLElement): void {
  let showing = one(page, "[data-study-live]").innerHTML;
  const look = async () => {
    if (document.hidden || page.querySelector("[data-study-live] details.menu[open], [data-study-live] :focus")) return;
    const answer = await fetch(location.href, { headers: { "X-Requested-With": "fetch" } }).catch(() => null);
    if (!answer?.ok) return;
    const html = await answer.text();
    const live = one(page, "[data-study-live]");
    // Somebody may have come to a button meanwhile.
    if (html === showing || live.contains(document.activeElement)) return;
    live.innerHTML = showing = html; // rendered by the server, as the page was
  };
  setInterval(() => void look(), every);
}
