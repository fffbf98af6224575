// The page of a sweep that runs or is judged again: the server draws it anew every now and then, and what is in use stays as it is.

import { all } from "../dom/dom";

const every = 2000;

/** The states in which a sweep changes by itself. */
const moving = ["running", "judging"];

export function sweep(page: HTMLElement): void {
  let section = page.querySelector<HTMLElement>("[data-sweep-live]");
  const step = async (): Promise<void> => {
    if (!section || !moving.includes(section.dataset.sweepState ?? "")) return;
    if (!document.hidden && !busy(section)) {
      const drawn = await news(section.dataset.sweepLive ?? "");
      if (drawn && section.isConnected && !busy(section)) {
        keep(section, drawn);
        section.replaceWith(drawn);
        section = drawn;
      }
    }
    setTimeout(() => void step(), every);
  };
  setTimeout(() => void step(), every);
}

/** The section as it is now; null when the server does not answer, which the next try may mend. */
async function news(address: string): Promise<HTMLElement | null> {
  try {
    const answer = await fetch(address, { headers: { "X-Requested-With": "fetch" } });
    if (!answer.ok) return null;
    return new DOMParser().parseFromString(await answer.text(), "text/html").querySelector<HTMLElement>("[data-sweep-live]");
  } catch {
    return null;
  }
}

/** Somebody is at a control of it, or has a menu open: it is not taken away under their hands. */
export function busy(section: HTMLElement): boolean {
  return section.contains(document.activeElement) || section.querySelector("details.menu[open]") !== null;
}

/** Details stay open or closed as they were left. */
export function keep(before: HTMLElement, after: HTMLElement): void {
  const left = all<HTMLDetailsElement>(before, "details:not(.menu)");
  for (const [i, details] of all<HTMLDetailsElement>(after, "details:not(.menu)").entries()) {
    const was = left[i];
    if (was) details.open = was.open;
  }
}
