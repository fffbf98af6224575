// Menus are <details>: they work without a script. With one, only one is open, Escape and a click elsewhere close it, and its
// first field gets the focus. Parts of a page are drawn anew, so the document listens.

import { all } from "../dom/dom";

export function menus(): void {
  document.addEventListener("toggle", (event) => {
    const menu = event.target;
    if (!(menu instanceof HTMLDetailsElement) || !menu.matches(".menu") || !menu.open) return;
    for (const other of all<HTMLDetailsElement>(document, "details.menu[open]")) if (other !== menu) other.open = false;
    menu.querySelector<HTMLElement>('input:not([type="hidden"]), select, textarea')?.focus();
  }, true);
  document.addEventListener("keydown", (event) => {
    const menu = event.target instanceof Element ? event.target.closest<HTMLDetailsElement>("details.menu[open]") : null;
    if (event.key !== "Escape" || !menu || event.defaultPrevented) return;
    event.preventDefault();
    menu.open = false;
    menu.querySelector("summary")?.focus();
  });
  document.addEventListener("pointerdown", (event) => {
    for (const menu of all<HTMLDetailsElement>(document, "details.menu[open]")) {
      if (!menu.contains(event.target as Node)) menu.open = false;
    }
  });
}
