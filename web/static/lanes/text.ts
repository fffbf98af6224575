// The text of a lane, token by token: marks where λ was moved, its thought folded away, and where it parts from its neighbours.

import { make, one } from "../dom/dom";
import { formatLambda, hue, ratioStep, same } from "../lambda/lambda";
import type { Part } from "../markup/highlight";
import { type Lane, type Token, briefly, laneText, logRatio } from "../run/run";
import { thoughtLength } from "../thought/thought";

/** A mark of λ in the text, and before which token it stands. */
interface Mark {
  element: HTMLElement;
  at: number;
}

export class LaneText {
  readonly box: HTMLElement;
  shown = 0; // tokens in the text
  following = true; // its end is in sight, and stays so while the text grows
  parts = { left: -1, right: -1 };
  private lane: Lane | null = null;
  private current: number[] = []; // λ of the last token shown
  private mark: Mark | null = null; // the last one
  private tailShown = false;
  private thought = 0; // tokens marked as thought
  private unfolded = false; // by whoever reads
  private untouched = true; // what is in the box came with the page

  constructor(private readonly element: HTMLElement) {
    this.box = one(element, "[data-text]");
    this.box.addEventListener("scroll", () => {
      this.following = this.box.scrollTop + this.box.clientHeight >= this.box.scrollHeight - 8;
    }, { passive: true });
    one(element, "[data-thought-toggle]").addEventListener("click", () => {
      this.unfolded = !this.unfolded;
      this.drawThought();
    });
  }

  /** Begins with a lane, or with nothing. */
  bind(lane: Lane | null): void {
    this.lane = lane;
    this.shown = this.thought = 0;
    this.following = true;
    this.mark = null;
    this.tailShown = this.unfolded = false;
    this.parts = { left: -1, right: -1 };
    this.current = lane?.start ?? [];
    const fresh = this.untouched;
    this.untouched = false;
    if (lane && fresh && this.drawn(lane)) {
      this.shown = lane.tokens.length;
      this.tailShown = true;
      this.current = lane.lambda;
      this.drawThought();
    } else this.box.replaceChildren();
  }

  /** Whether the server has drawn all that a lane says: then it stays, and nothing is laid out anew. */
  private drawn(lane: Lane): boolean {
    const spans = this.box.querySelectorAll<HTMLElement>(".t");
    if (lane.reason === "" || spans.length === 0 || spans.length !== lane.tokens.length) return false;
    const last = this.box.lastChild;
    const tail = last?.nodeType === 3 /* Node.TEXT_NODE */ ? (last.textContent ?? "") : "";
    if (tail !== lane.tail) return false;
    for (const [i, span] of spans.entries()) {
      const token = lane.tokens[i] as Token;
      if (span.textContent !== token.text) return false;
      name(span, token);
    }
    return true;
  }

  /** Adds what the lane has gained. It reads no layout: many lanes grow in one frame. */
  update(): void {
    const { lane } = this;
    if (!lane) return;
    const news = document.createDocumentFragment();
    for (; this.shown < lane.tokens.length; this.shown++) {
      const token = lane.tokens[this.shown] as Token;
      if (!same(token.lambda, this.current)) news.append(this.moved(token.lambda));
      news.append(tokenSpan(token, this.shown, this.shown < lane.prefix));
    }
    if (lane.tail && !this.tailShown) {
      news.append(lane.tail);
      this.tailShown = true;
    }
    if (news.childNodes.length === 0) return;
    this.box.append(news);
    this.drawThought();
  }

  /** Shows the end of a text that grows, unless somebody reads further up. */
  follow(): void {
    if (this.following && this.lane?.reason === "") this.box.scrollTop = Number.MAX_SAFE_INTEGER;
  }

  /** Marks that λ is another from here on. While it is dragged every token has its own, and one mark is enough. */
  private moved(lambda: number[]): HTMLElement {
    this.current = lambda;
    if (this.mark && this.shown - this.mark.at < briefly) this.mark.element.remove();
    const element = make("span", { class: "turn", "data-hue": hue(lambda) }, `λ ${formatLambda(lambda)}`);
    this.mark = { element, at: this.shown };
    return element;
  }

  /** Marks the tokens of a thought and folds them away, unless they were unfolded. */
  private drawThought(): void {
    const { lane } = this;
    if (!lane) return;
    let left = thoughtLength(laneText(lane));
    let n = 0;
    while (n < lane.tokens.length && left >= (lane.tokens[n] as Token).text.length && left > 0) left -= (lane.tokens[n++] as Token).text.length;
    if (n === 0 && this.thought === 0) return;
    for (; this.thought < Math.min(n, this.shown); this.thought++) this.span(this.thought)?.setAttribute("data-thought", "");
    const bar = one(this.element, "[data-thought-bar]");
    bar.hidden = n === 0;
    this.box.toggleAttribute("data-folded", n > 0 && !this.unfolded);
    const toggle = one(bar, "[data-thought-toggle]");
    toggle.setAttribute("aria-expanded", String(this.unfolded));
    const thinks = lane.reason === "" && n === lane.tokens.length;
    toggle.textContent = `${this.unfolded ? "Hide" : "Show"} ${thinks ? "what it thinks" : "its thought"}, ${n} ${n === 1 ? "token" : "tokens"}`;
  }

  /** Marks where it parts from its neighbours; −1 is nowhere. False if nothing changed. */
  setPartings(left: number, right: number): boolean {
    if (left >= this.shown) left = -1; // not drawn yet
    if (right >= this.shown) right = -1;
    if (left === this.parts.left && right === this.parts.right) return false;
    for (const at of [this.parts.left, this.parts.right]) this.span(at)?.removeAttribute("data-part");
    this.parts = { left, right };
    if (left >= 0) this.span(left)?.setAttribute("data-part", left === right ? "both" : "left");
    if (right >= 0 && right !== left) this.span(right)?.setAttribute("data-part", "right");
    return true;
  }

  /** The text without its thought, in parts: where it parts from a neighbour the kind says from which. */
  rendered(): Part[] {
    const { lane, parts } = this;
    if (!lane) return [];
    let left = thoughtLength(laneText(lane));
    const list: Part[] = [];
    for (const [i, { text }] of lane.tokens.entries()) {
      const cut = Math.min(left, text.length);
      left -= cut;
      const kind = i === parts.left ? (i === parts.right ? "both" : "left") : i === parts.right ? "right" : "";
      const last = list[list.length - 1];
      if (last?.kind === kind) last.text += text.slice(cut);
      else list.push({ text: text.slice(cut), kind });
    }
    return [...list, { text: lane.tail.slice(left), kind: "" }];
  }

  span(index: number): HTMLElement | null {
    return index < 0 ? null : this.box.querySelector<HTMLElement>(`[data-i="${index}"]`);
  }
}

function tokenSpan(token: Token, index: number, given: boolean): HTMLElement {
  const span = make("span", { class: "t", "data-i": String(index) }, token.text);
  const ratio = logRatio(token);
  if (ratio !== null) span.dataset.r = String(ratioStep(ratio));
  if (given) span.dataset.given = "";
  name(span, token);
  return span;
}

/** Names a token that cannot be seen. */
function name(span: HTMLElement, token: Token): void {
  if (token.text.trim() === "") span.dataset.name = token.text.includes("\n") ? "⏎" : token.text === "" ? token.name : "␣";
}
