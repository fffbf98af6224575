// Links that are shown to be passed on: each is selected as a whole, and has a button that copies it.

import { all, copyText, make } from "../dom/dom";

export function copies(): void {
  for (const field of all<HTMLInputElement>(document, "[data-select-all]")) {
    field.addEventListener("focus", () => field.select());
    const button = make("button", { type: "button", class: "button button-small", "data-link-copy": "" }, "Copy");
    button.addEventListener("click", async () => {
      button.dataset.done = (await copyText(field.value)) ? "Copied" : "Not copied";
      setTimeout(() => delete button.dataset.done, 1500);
    });
    const box = make("div", {}, button);
    (field.closest("label") ?? field).after(box);
  }
}
