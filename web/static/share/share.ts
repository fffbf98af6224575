// The share form in place: makes the link without leaving the page, and copies it.

import { at } from "../base/base";
import { copyText, one, post, tell } from "../dom/dom";

export class Share {
  private readonly form: HTMLFormElement;

  constructor(private readonly box: HTMLElement) {
    this.form = one<HTMLFormElement>(box, "[data-share-form]");
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.make();
    });
    const url = one<HTMLInputElement>(box, "[data-share-url]");
    url.addEventListener("focus", () => url.select());
    const copy = one(box, "[data-share-copy]");
    copy.addEventListener("click", async () => {
      copy.dataset.done = (await copyText(url.value)) ? "Copied" : "Not copied";
      setTimeout(() => delete copy.dataset.done, 1500);
    });
  }

  /** Sets the run that the form will share; nothing is shared yet. */
  setRun(run: string, title: string): void {
    this.box.hidden = false;
    this.form.action = at(`/runs/${run}/share`);
    one<HTMLInputElement>(this.box, "[data-share-title]").value = title;
    one(this.box, "[data-share-made]").hidden = true;
    tell(one(this.box, "[data-share-error]"), "");
  }

  private async make(): Promise<void> {
    const submit = one<HTMLButtonElement>(this.box, "[data-share-submit]");
    const failed = one(this.box, "[data-share-error]");
    submit.disabled = true;
    tell(failed, "");
    try {
      const { url } = await post<{ url: string }>(this.form.action, new FormData(this.form));
      const shown = one<HTMLInputElement>(this.box, "[data-share-url]");
      shown.value = url;
      one<HTMLAnchorElement>(this.box, "[data-share-open]").href = url;
      one(this.box, "[data-share-made]").hidden = false;
      shown.focus();
    } catch (error) {
      tell(failed, error instanceof Error ? error.message : String(error));
    } finally {
      submit.disabled = false;
    }
  }
}
