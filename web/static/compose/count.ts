// How many tokens the prompt has for the models, beside it while it is typed.

import { at } from "../base/base";
import { post, write } from "../dom/dom";
import type { Spec } from "../protocol/protocol";

/** The words for lengths of prompts: one, or those of a contrast's two. */
export function countWords(lengths: readonly number[]): string {
  const different = [...new Set(lengths)];
  if (different.length === 0) return "";
  return `${different.join(" or ")} prompt ${different.length === 1 && different[0] === 1 ? "token" : "tokens"}`;
}

export class Count {
  private timer = 0;
  private asked = 0;
  private last = "";

  /** ready says whether the pair's models are there: counting loads none. */
  constructor(
    private readonly place: HTMLElement,
    private readonly spec: () => Spec,
    private readonly ready: () => boolean,
    private readonly send: typeof post = post,
  ) {}

  /** The form may be another now. */
  changed(): void {
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => void this.count(), 500);
  }

  private async count(): Promise<void> {
    const number = ++this.asked;
    const spec = this.spec();
    if (spec.prompt.trim() === "" || !this.ready()) {
      this.last = "";
      write(this.place, "");
      return;
    }
    const { pair, aligned, prompt, mode, system, history, contrast, rendering, special } = spec;
    const what = JSON.stringify([pair, aligned, prompt, mode, system, history, contrast, rendering, special]);
    if (what === this.last) return;
    const body = new FormData();
    body.set("spec", JSON.stringify(spec));
    try {
      const { prompts } = await this.send<{ prompts: { tokens: unknown[] }[] }>(at("/prompt"), body);
      if (number !== this.asked) return;
      this.last = what;
      write(this.place, countWords(prompts.map((p) => p.tokens.length)));
    } catch {
      write(this.place, ""); // what is wrong is told when it runs
    }
  }
}
