// Menus are <details>: they work without a script. With one, only one is open, Escape and a click
// elsewhere close it, and its first field gets the focus.

import { all } from "../dom/dom";

export function menus(): void {
  for (const menu of all<HTMLDetailsElement>(document, "details.menu")) {
    menu.addEventListener("toggle", () => {
      if (!menu.open) return;
      for (const other of all<HTMLDetailsElement>(document, "details.menu[open]")) if (other !== menu) other.open = false;
      menu.querySelector<HTMLElement>('input:not([type="hidden"]), select, textarea')?.focus();
    });
    menu.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !menu.open) return;
      event.stopPropagation();
      menu.open = false;
      menu.querySelector("summary")?.focus();
    });
  }
  document.addEventListener("pointerdown", (event) => {
    for (const menu of all<HTMLDetailsElement>(document, "details.menu[open]")) {
      if (!menu.contains(event.target as Node)) menu.open = false;
    }
  });
  for (const field of all<HTMLInputElement>(document, "[data-select-all]")) field.addEventListener("focus", () => field.select());
}
