// The river as a control: it is pulled to move λ, and its marks are the forks.

import { all } from "../dom/dom";

export interface RiverEvents {
  /** λ was pulled to a place of the river, from 0 at its left to 1 at its right. */
  pulled(place: number): void;
  pressed(fork: string): void;
  focused(fork: string): void;
  /** A mark that has the focus was chosen: what explains its fork is to be read. */
  chosen(): void;
  /** A band is under the pointer: its λ and its words; "" is none. */
  pointed(words: string): void;
}

/** Wires a river that was just drawn. */
export function wireRiver(river: HTMLElement, events: RiverEvents): void {
  const pull = (event: PointerEvent) => {
    const box = river.getBoundingClientRect();
    events.pulled((event.clientX - box.left) / box.width);
  };
  river.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || (event.target as Element).closest("[data-map-mark]")) return;
    river.setPointerCapture(event.pointerId);
    pull(event);
  });
  river.addEventListener("pointermove", (event) => {
    if (river.hasPointerCapture(event.pointerId)) pull(event);
    else events.pointed((event.target as Element).closest(".map-band")?.querySelector("title")?.textContent ?? "");
  });
  river.addEventListener("pointerleave", () => events.pointed(""));
  const marks = all(river, "[data-map-mark]");
  for (const [i, mark] of marks.entries()) {
    const fork = mark.dataset.mapMark ?? "";
    mark.setAttribute("role", "button");
    mark.setAttribute("tabindex", i === 0 ? "0" : "-1"); // one stop for Tab; arrows go from fork to fork
    mark.addEventListener("click", (event) => {
      event.preventDefault();
      events.pressed(fork);
    });
    mark.addEventListener("focus", () => events.focused(fork));
    mark.addEventListener("keydown", (event) => {
      const to: Record<string, number> = { ArrowRight: i + 1, ArrowDown: i + 1, ArrowLeft: i - 1, ArrowUp: i - 1, Home: 0, End: marks.length - 1 };
      const place = to[event.key];
      if (place !== undefined) {
        event.preventDefault();
        marks[Math.min(Math.max(place, 0), marks.length - 1)]?.focus();
      } else if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        events.chosen();
      }
    });
  }
}
