// The title of the session on the bench, changed in place.

import { at } from "../base/base";
import { one, post, tell } from "../dom/dom";

export class Rename {
  private readonly form: HTMLFormElement;
  private readonly field: HTMLInputElement;

  /** `box` is the menu, `shown` where the title stands. `done` hears the new title. */
  constructor(
    private readonly box: HTMLDetailsElement,
    private readonly shown: HTMLElement,
    private readonly done: (title: string) => void,
  ) {
    this.form = one<HTMLFormElement>(box, "[data-rename-form]");
    this.field = one<HTMLInputElement>(box, "[data-rename-title]");
    box.addEventListener("toggle", () => {
      this.field.value = shown.textContent ?? "";
      tell(one(box, "[data-rename-error]"), "");
      if (box.open) this.field.select();
    });
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.send();
    });
  }

  /** A session has begun: it is the one to rename from now on. */
  begin(session: string, title: string): void {
    this.box.hidden = false;
    this.form.action = at(`/sessions/${session}/rename`);
    this.show(title);
  }

  private show(title: string): void {
    this.shown.textContent = title;
    this.shown.classList.remove("bench-lead"); // it says what the page is for no more
    document.title = `${title} · Realign`;
  }

  private async send(): Promise<void> {
    const failed = one(this.box, "[data-rename-error]");
    tell(failed, "");
    try {
      const { title } = await post<{ title: string }>(this.form.action, new FormData(this.form));
      this.show(title);
      this.box.open = false;
      one(this.box, "summary").focus();
      this.done(title);
    } catch (error) {
      tell(failed, error instanceof Error ? error.message : String(error));
      this.field.focus();
    }
  }
}
