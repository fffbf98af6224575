// The prompt as the models get it: the fold under the prompt asks the server what the chat template makes of the form.

import { make, one, post } from "../dom/dom";
import type { Spec } from "../protocol/protocol";

interface Prompt {
  who: string;
  tokens: { id: number; text: string }[];
}

/** The words over a prompt: whose it is and how long. */
export function promptWords(prompt: Prompt, alone: boolean): string {
  const tokens = `${prompt.tokens.length} ${prompt.tokens.length === 1 ? "token" : "tokens"}`;
  if (alone) return tokens;
  return prompt.who === "reference" ? `λ = 0, the reference: ${tokens}` : `λ = 1, ${prompt.who}: ${tokens}`;
}

/** Line breaks and tabs can be seen. */
export const visible = (text: string): string => text.replaceAll("\n", "↵\n").replaceAll("\t", "→\t");

function tokensOf(prompt: Prompt, alone: boolean): HTMLElement[] {
  const text = make("pre", { class: "rendered-text", tabindex: "0", role: "region", "aria-label": `Tokens: ${promptWords(prompt, alone)}`, dir: "auto" });
  for (const { id, text: shown } of prompt.tokens) text.append(make("span", { class: "rendered-token", title: `token ${id}` }, visible(shown) || `<${id}>`));
  return [make("p", { class: "label" }, promptWords(prompt, alone)), text];
}

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
      const { prompts } = await post<{ prompts: Prompt[] }>("/prompt", body);
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
