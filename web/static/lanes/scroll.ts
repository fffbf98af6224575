// Texts beside each other are scrolled together, as long as whoever reads wants it.

import { all, one } from "../dom/dom";

/** How far a text is scrolled, from 0 to 1; NaN where it has nothing to scroll. */
export function part(text: Pick<HTMLElement, "scrollTop" | "scrollHeight" | "clientHeight">): number {
  return text.scrollTop / (text.scrollHeight - text.clientHeight || Number.NaN);
}

export function scrollTogether(box: HTMLElement): void {
  const toggle = one<HTMLInputElement>(box.parentElement ?? box, "[data-scroll-together]");
  let leader: Element | null = null; // the text that somebody scrolls; what follows it does not lead
  const lead = (event: Event) => {
    leader = event.target instanceof Element ? event.target.closest("[data-text], [data-markdown]") : null;
  };
  for (const type of ["wheel", "touchstart", "pointerdown", "keydown"]) box.addEventListener(type, lead, { capture: true, passive: true });
  box.addEventListener("scroll", (event) => {
    const text = event.target;
    if (!toggle.checked || !(text instanceof HTMLElement) || text !== leader) return;
    const at = part(text);
    if (Number.isNaN(at)) return;
    for (const other of all(box, "[data-text], [data-markdown]")) {
      if (other !== text && other.clientHeight > 0) other.scrollTop = at * (other.scrollHeight - other.clientHeight);
    }
  }, { capture: true, passive: true });
}
