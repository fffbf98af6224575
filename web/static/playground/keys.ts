// The single-letter keys of the playground, and Escape.

import { typing } from "../dom/dom";
import { lettersOn } from "../help/help";

export interface KeyActions {
  /** Closes what is open in the lanes; false if nothing was. */
  close(): boolean;
  stop(): void;
  lane(place: number): void;
  letters: Record<string, () => void>;
}

export function keys(actions: KeyActions): void {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || document.querySelector("dialog[open]")) return;
    if (event.key === "Escape") {
      if (actions.close()) return;
      const menu = document.querySelector<HTMLDetailsElement>("details.menu[open]");
      if (menu) {
        menu.open = false;
        menu.querySelector("summary")?.focus();
      } else actions.stop();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || !lettersOn()) return;
    const does = /^[1-9]$/.test(event.key) ? () => actions.lane(Number(event.key) - 1) : actions.letters[event.key];
    if (!does) return;
    event.preventDefault();
    does();
  });
}
