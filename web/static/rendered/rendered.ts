// The prompt as the models get it: the fold under the prompt asks the server what the chat template makes of the form.

import { at } from "../base/base";
import { extras } from "../base/extras";
import { one, post } from "../dom/dom";
import type { Spec } from "../protocol/protocol";
import type { Prompt } from "./tokens";

/** Keeps the fold current while it is open. */
export class Rendered {
  private timer = 0;
  private asked = 0;

  constructor(
    private readonly box: HTMLDetailsElement,
    private readonly spec: () => Spec,
  ) {
    box.hidden = false;
    box.addEventListener("toggle", () => this.changed());
  }

  /** The form is another now. */
  changed(): void {
    clearTimeout(this.timer);
    if (this.box.open) this.timer = window.setTimeout(() => void this.draw(), 250);
  }

  private async draw(): Promise<void> {
    const number = ++this.asked;
    const words = one(this.box, "[data-rendered-words]");
    const place = one(this.box, "[data-rendered-place]");
    const spec = this.spec();
    if (spec.prompt.trim() === "") {
      words.textContent = "The prompt is empty.";
      place.replaceChildren();
      return;
    }
    const body = new FormData();
    body.set("spec", JSON.stringify(spec));
    try {
      const [{ prompts }, { tokensOf }] = await Promise.all([post<{ prompts: Prompt[] }>(at("/prompt"), body), extras()]);
      if (number !== this.asked) return;
      words.textContent = "";
      place.replaceChildren(...prompts.flatMap((p) => tokensOf(p, prompts.length === 1)));
    } catch (error) {
      if (number !== this.asked) return;
      words.textContent = error instanceof Error ? error.message : String(error);
      place.replaceChildren();
    }
  }
}
