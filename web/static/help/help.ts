// The help sheet, and whether single-letter keys are on (WCAG 2.1.4: they can be switched off).

import { extras } from "../base/extras";
import { one, typing } from "../dom/dom";

const key = "realign.keys";

export function help(): void {
  const sheet = document.querySelector<HTMLDialogElement>("[data-help]");
  const open = document.querySelector<HTMLElement>("[data-help-open]");
  if (!sheet || !open) return;
  open.hidden = false;
  open.title = "Help and keys (?)";
  const terms = sheet.querySelector<HTMLElement>("[data-help-terms]"); // none where annotators rate
  const show = () => {
    sheet.showModal();
    if (terms) void extras().then(({ listTerms }) => listTerms(terms), () => {}); // without the list there is the page of words
  };
  open.addEventListener("click", show);
  one(sheet, "[data-help-close]").addEventListener("click", () => sheet.close());
  sheet.addEventListener("click", (event) => event.target === sheet && sheet.close());
  const toggle = one<HTMLInputElement>(sheet, "[data-keys-toggle]");
  toggle.checked = lettersOn();
  toggle.addEventListener("change", () => {
    try {
      localStorage.setItem(key, toggle.checked ? "on" : "off");
    } catch {
      // Nothing is kept: they are on again next time.
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "?" || event.ctrlKey || event.metaKey || typing(event.target) || !lettersOn()) return;
    event.preventDefault();
    if (sheet.open) sheet.close();
    else show();
  });
}

export function lettersOn(): boolean {
  try {
    return localStorage.getItem(key) !== "off";
  } catch {
    return true;
  }
}
