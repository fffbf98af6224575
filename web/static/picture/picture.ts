// Every drawing with a button for it is saved as a picture. Drawings come and go, so the document listens.

import { extras } from "../base/extras";

export function pictures(): void {
  document.documentElement.dataset.script = "";
  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element ? event.target.closest<HTMLButtonElement>("[data-picture]") : null;
    const drawing = button?.closest<HTMLElement>("figure, [data-chart]");
    if (button && drawing) void extras().then(({ save }) => save(drawing, button));
  });
}
