// Light, dark, or as the system says. The choice is a cookie, so that the server draws the page with it.

import { at } from "../base/base";
import { one } from "../dom/dom";

const order = ["system", "light", "dark"];
const names: Record<string, string> = { system: "Colours: as the system", light: "Colours: light", dark: "Colours: dark" };

export function theme(): void {
  const root = document.documentElement;
  const button = document.querySelector<HTMLElement>("[data-theme-toggle]");
  if (!button) return;
  const show = () => {
    const name = names[root.dataset.theme ?? "system"] ?? "";
    one(button, "[data-theme-words]").textContent = name;
    button.title = name;
  };
  button.hidden = false;
  show();
  button.addEventListener("click", () => {
    const now = order.indexOf(root.dataset.theme ?? "system");
    const next = order[(now + 1) % order.length] ?? "system";
    root.dataset.theme = next;
    const age = next === "system" ? 0 : 31536000;
    document.cookie = `theme=${next}; path=${at("/")}; max-age=${age}; samesite=lax`;
    show();
  });
}
