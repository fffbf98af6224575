// Short notes at the foot of the page: from the server after a form, or from a controller.

import { make, one } from "../dom/dom";

const lasts = 12_000;

export function toasts(): void {
  for (const note of document.querySelectorAll<HTMLElement>("[data-toast]")) closes(note);
}

/** Shows a note; with undo it offers to take back what it tells of. */
export function toast(text: string, undo?: () => void): void {
  const close = make("button", { type: "button", class: "button button-quiet button-small", "data-toast-close": "" }, "Close");
  const note = make("div", { class: "toast", "data-toast": "" }, make("p", {}, text), close);
  if (undo) {
    const back = make("button", { type: "button", class: "button button-small", "data-toast-undo": "" }, "Undo");
    back.addEventListener("click", () => {
      note.remove();
      undo();
    });
    close.before(back);
  }
  document.querySelector("[data-toasts]")?.append(note);
  closes(note);
}

/** It goes by itself, unless somebody points at it or is in it. */
function closes(note: HTMLElement): void {
  const button = one(note, "[data-toast-close]");
  button.hidden = false;
  button.addEventListener("click", () => note.remove());
  const go = () => {
    if (note.matches(":hover, :focus-within")) setTimeout(go, 2000);
    else note.remove();
  };
  setTimeout(go, lasts);
}
