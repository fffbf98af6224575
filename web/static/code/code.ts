// "Use from code": the call for what is on the bench, in the language that was chosen.

import { at } from "../base/base";
import { extras } from "../base/extras";
import { copyText, one } from "../dom/dom";
import type { Spec } from "../protocol/protocol";
import type { Language } from "./snippet";

export class Code {
  private drawn = 0;

  /** read is what is on the bench; null while it is no call: no lane, or a wrong field. */
  constructor(
    private readonly box: HTMLDetailsElement,
    private readonly read: () => Spec | null,
  ) {
    box.hidden = false;
    box.addEventListener("toggle", () => this.draw());
    one(box, "[data-code-language]").addEventListener("change", () => this.draw());
    const copy = one(box, "[data-code-copy]");
    copy.addEventListener("click", async () => {
      copy.dataset.done = (await copyText(one(box, "[data-code-text]").textContent ?? "")) ? "Copied" : "Not copied";
      setTimeout(() => delete copy.dataset.done, 1500);
    });
  }

  /** Draws what is shown anew, if it is shown. */
  draw(): void {
    if (!this.box.open) return;
    const spec = this.read();
    const language = one<HTMLSelectElement>(this.box, "[data-code-language]").value as Language;
    const place = one(this.box, "[data-code-text]");
    const drawn = ++this.drawn;
    if (!spec) place.textContent = "Fill in the prompt and the settings, and add a lane.";
    else void extras().then(({ snippet }) => {
      if (drawn === this.drawn) place.textContent = snippet(language, spec, `${location.origin}${at("/v1")}`);
    });
    one<HTMLButtonElement>(this.box, "[data-code-copy]").disabled = !spec;
  }
}
