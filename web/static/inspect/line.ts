// One line about the token under the pointer, beside it.

import { make } from "../dom/dom";
import { percent } from "../lambda/lambda";
import { numbers } from "../protocol/protocol";
import { type Token, tokenName } from "../run/run";
import { visible } from "./visible";

/** The line: the token, and how likely each model found it. */
export function lineOf(token: Token): string {
  const name = `“${visible(tokenName(token))}”`;
  if (!token.logp) return name;
  const p = (logp: number | null | undefined) => percent(Math.exp(logp ?? Number.NEGATIVE_INFINITY));
  const aligned = numbers(token.logp.aligned).map(p).join(", ");
  return `${name} · reference ${p(token.logp.reference)} · mixture ${p(token.logp.mixture)} · aligned ${aligned}`;
}

export class Line {
  private readonly box = make("div", { class: "token-line num", "data-token-line": "", "aria-hidden": "true" }); // the inspector says it to everybody
  private timer = 0;

  constructor(after: HTMLElement) {
    this.box.hidden = true;
    after.after(this.box);
  }

  /** Shows it after a moment. */
  soon(span: HTMLElement, text: () => string): void {
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => span.isConnected && this.show(span, text()), this.box.hidden ? 120 : 30);
  }

  show(span: HTMLElement, text: string): void {
    clearTimeout(this.timer);
    this.box.textContent = text;
    this.box.hidden = text === "";
    if (text === "") return;
    const at = span.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = this.box;
    const top = at.top - height - 4 >= 4 ? at.top - height - 4 : at.bottom + 4;
    this.box.style.setProperty("--x", `${Math.round(Math.max(8, Math.min(at.left - 8, innerWidth - width - 8)))}px`);
    this.box.style.setProperty("--y", `${Math.round(top)}px`);
  }

  hide(): void {
    clearTimeout(this.timer);
    this.box.hidden = true;
  }
}
