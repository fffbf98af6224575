// One lane as a column: its head (λ, effective β, words), its text token by token, and its foot.

import { all, copyText, make, one, tell } from "../dom/dom";
import {
  effectiveBeta, formatLambda, formatNumber, hue, notNumber, parseLambda, plain, ratioStep, same, total, words,
} from "../lambda/lambda";
import { type Lane, type Token, laneText, logRatio } from "../run/run";
import { thoughtLength } from "../thought/thought";

/** What a column tells the bench. A comparison has no bench. */
export interface ColumnEvents {
  lambda(column: Column, settled: boolean): void;
  duplicate(column: Column): void;
  remove(column: Column): void;
  decode(column: Column): void;
  stop(column: Column): void;
  continueFrom(column: Column): void;
}

export interface Bounds {
  min: number;
  max: number;
}

const reasons: Record<string, string> = {
  stop: "ended by itself", length: "token limit", cancelled: "stopped", error: "broken off",
};

export class Column {
  lane: Lane | null = null; // of the run; null: it has not run
  lambda: number[]; // as set
  sample: number;
  prefix: number[];
  waiting = false; // asked for, and not yet in the run's log

  private readonly text: HTMLElement;
  private shown = 0; // tokens in the text
  private current: number[] = []; // λ of the last token shown
  private tailShown = false;
  private thought = 0; // tokens marked as thought
  private unfolded = false; // by whoever reads
  private parts = { left: -1, right: -1 };

  constructor(
    readonly element: HTMLElement,
    readonly bench: ColumnEvents | null,
    private betas: readonly number[],
    private bounds: Bounds,
  ) {
    this.text = one(element, "[data-text]");
    this.lambda = (element.dataset.lambda ?? "").split(" ").filter(Boolean).map(Number);
    this.sample = Number(element.dataset.sample ?? 0);
    this.prefix = (element.dataset.prefix ?? "").split(" ").filter(Boolean).map(Number);
    const copy = one(element, "[data-copy]");
    copy.hidden = false;
    copy.addEventListener("click", () => this.copy(copy));
    one(element, "[data-thought-toggle]").addEventListener("click", () => {
      this.unfolded = !this.unfolded;
      this.drawThought();
    });
    if (bench) this.wire(bench);
  }

  /** Index in the run that the server drew, or −1. */
  get drawnIndex(): number {
    const index = this.element.dataset.index ?? "";
    return index === "" ? -1 : Number(index);
  }

  get running(): boolean {
    return this.lane !== null && this.lane.reason === "";
  }

  /** True where λ was moved after the lane had ended, so that the text is of another λ. */
  get moved(): boolean {
    return this.lane !== null && !this.running && !same(this.lambda, this.lane.lambda);
  }

  setModels(betas: readonly number[], bounds: Bounds, labels: readonly string[]): void {
    this.betas = betas;
    this.bounds = bounds;
    const n = Math.max(1, labels.length);
    if (this.lambda.length !== n) {
      // λ is shared out among the models, so that a second one counts and the sum stays.
      const sum = total(this.lambda);
      if (this.lane || !this.bench) this.lambda = Array.from({ length: n }, (_, i) => this.lambda[i] ?? 0);
      else this.lambda = Array<number>(n).fill(Math.round((sum / n) * 1e6) / 1e6);
      if (this.bench) this.drawInputs(labels);
    }
    this.drawHead();
  }

  setLambda(v: readonly number[]): void {
    this.lambda = [...v];
    this.drawInputs([]);
    this.drawHead();
  }

  setSample(sample: number): void {
    this.sample = sample;
    this.drawHead();
  }

  /** Shows a lane of a run, from its first token. */
  bind(lane: Lane | null): void {
    this.lane = lane;
    this.waiting = false;
    this.shown = 0;
    this.tailShown = false;
    this.thought = 0;
    this.unfolded = false;
    this.parts = { left: -1, right: -1 };
    this.text.replaceChildren();
    if (lane) {
      this.current = lane.start;
      this.prefix = [];
      if (this.bench && !same(this.lambda, lane.lambda)) this.setLambda(lane.lambda);
      this.lambda = [...lane.lambda];
      this.sample = lane.sample;
      this.element.dataset.index = String(lane.index);
    } else {
      delete this.element.dataset.index;
    }
    this.update();
    this.drawHead();
  }

  /** Shows what its lane has gained. */
  update(): void {
    const lane = this.lane;
    if (lane) {
      const stick = this.text.scrollTop + this.text.clientHeight >= this.text.scrollHeight - 8;
      const news = document.createDocumentFragment();
      for (; this.shown < lane.tokens.length; this.shown++) {
        const token = lane.tokens[this.shown] as Token;
        if (!same(token.lambda, this.current)) {
          this.current = token.lambda;
          news.append(make("span", { class: "turn", "data-hue": hue(token.lambda) }, `λ ${formatLambda(token.lambda)}`));
        }
        news.append(tokenSpan(token, this.shown, this.shown < lane.prefix));
      }
      if (lane.tail && !this.tailShown) {
        news.append(lane.tail);
        this.tailShown = true;
      }
      if (news.childNodes.length > 0) {
        this.text.append(news);
        this.drawThought();
        if (stick && lane.reason === "") this.text.scrollTop = this.text.scrollHeight;
      }
    }
    this.drawFoot();
  }

  /** Marks the tokens of a thought and folds them away, unless they were unfolded. */
  private drawThought(): void {
    const lane = this.lane;
    if (!lane) return;
    let left = thoughtLength(laneText(lane));
    let n = 0;
    while (n < lane.tokens.length && left >= (lane.tokens[n] as Token).text.length && left > 0) left -= (lane.tokens[n++] as Token).text.length;
    for (; this.thought < Math.min(n, this.shown); this.thought++) this.span(this.thought)?.setAttribute("data-thought", "");
    const bar = one(this.element, "[data-thought-bar]");
    bar.hidden = n === 0;
    this.text.toggleAttribute("data-folded", n > 0 && !this.unfolded);
    const toggle = one(bar, "[data-thought-toggle]");
    toggle.setAttribute("aria-expanded", String(this.unfolded));
    const thinks = lane.reason === "" && n === lane.tokens.length;
    toggle.textContent = `${this.unfolded ? "Hide" : "Show"} ${thinks ? "what it thinks" : "its thought"}, ${n} ${n === 1 ? "token" : "tokens"}`;
  }

  /** Marks where it parts from its neighbours; −1 is nowhere. */
  setPartings(left: number, right: number, leftName: string): void {
    if (left >= this.shown) left = -1; // not drawn yet
    if (right >= this.shown) right = -1;
    if (left !== this.parts.left || right !== this.parts.right) {
      for (const at of [this.parts.left, this.parts.right]) this.span(at)?.removeAttribute("data-part");
      this.parts = { left, right };
      if (left >= 0) this.span(left)?.setAttribute("data-part", left === right ? "both" : "left");
      if (right >= 0 && right !== left) this.span(right)?.setAttribute("data-part", "right");
    }
    const line = one(this.element, "[data-parting]");
    line.hidden = left < 0;
    if (left >= 0) {
      one(line, "[data-parting-from]").textContent = leftName;
      one(line, "[data-parting-at]").textContent = String(left + 1);
    }
  }

  /** Says how far the reply may be from a whole reply at its λ; "" is nothing. */
  setTrust(words: string): void {
    tell(one(this.element, "[data-trust]"), words);
  }

  get partsLeft(): number {
    return this.parts.left;
  }

  get partsRight(): number {
    return this.parts.right;
  }

  span(index: number): HTMLElement | null {
    return index < 0 ? null : this.text.querySelector<HTMLElement>(`[data-i="${index}"]`);
  }

  focusText(): void {
    this.text.focus();
  }

  focusLambda(): void {
    this.element.querySelector<HTMLElement>("[data-lambda-number]")?.focus();
  }

  /** Whether every λ that is typed in can be used; says what is wrong if not. */
  check(): boolean {
    if (!this.bench) return true;
    let wrong = "";
    for (const input of all<HTMLInputElement>(this.element, "[data-lambda-number]")) {
      const x = parseLambda(input.value);
      const bad = Number.isNaN(x) || x < this.bounds.min || x > this.bounds.max;
      input.setAttribute("aria-invalid", String(bad));
      if (Number.isNaN(x)) wrong = notNumber(input.value);
      else if (bad) wrong = `λ is from ${formatNumber(this.bounds.min, 2)} to ${formatNumber(this.bounds.max, 2)}.`;
    }
    tell(one(this.element, "[data-lambda-error]"), wrong);
    return wrong === "";
  }

  drawHead(): void {
    const { element, lambda } = this;
    element.dataset.hue = hue(lambda);
    element.setAttribute("aria-label", `Lane at λ = ${formatLambda(lambda)}${this.sample > 0 ? `, sample ${this.sample}` : ""}`);
    this.text.setAttribute("aria-label", `Text at λ = ${formatLambda(this.lane ? this.lane.lambda : lambda)}`);
    const spoken = element.querySelector<HTMLElement>("[data-lambda-words]");
    if (spoken) spoken.textContent = formatLambda(lambda);
    const beta = effectiveBeta(lambda, this.betas);
    one(element, "[data-beta]").hidden = beta === "";
    one(element, "[data-beta-value]").textContent = beta;
    one(element, "[data-sample-label]").hidden = this.sample === 0;
    one(element, "[data-sample-value]").textContent = String(this.sample);
    tell(one(element, "[data-words]"), words(lambda));
    this.drawPending();
    for (const slider of all<HTMLInputElement>(element, "[data-lambda-slider]")) {
      slider.setAttribute("aria-valuetext", `λ ${formatLambda(lambda)}${beta ? `, effective β ${beta}` : ""}`);
    }
  }

  drawPending(): void {
    const line = this.element.querySelector<HTMLElement>("[data-pending]");
    if (!line) return;
    const draft = this.lane === null;
    const asks = this.element.dataset.runnable === "true" && !this.waiting && (draft || this.moved);
    line.hidden = !asks;
    if (!asks) return;
    one(line, "[data-pending-words]").textContent = draft
      ? "Not decoded yet."
      : `The text is of λ ${formatLambda(this.lane?.lambda ?? [])}.`;
    one(line, "[data-decode]").textContent = draft ? "Decode" : `Decode at ${formatLambda(this.lambda)}`;
  }

  private drawFoot(): void {
    const lane = this.lane;
    const element = this.element;
    one(element, "[data-foot]").hidden = lane === null;
    element.dataset.state = lane === null ? (this.waiting ? "waiting" : "draft") : lane.reason || "running";
    if (!lane || this.running) this.setTrust("");
    if (!lane) return;
    one(element, "[data-count]").textContent = String(lane.tokens.length);
    const kl = one(element, "[data-kl-line]");
    kl.hidden = !lane.traced;
    if (lane.traced) one(kl, "[data-kl]").textContent = formatNumber(lane.kl, 2);
    one(element, "[data-reason]").textContent = lane.reason === "" ? "" : (reasons[lane.reason] ?? lane.reason);
    tell(one(element, "[data-failure]"), lane.error?.message ?? "");
    const stop = element.querySelector<HTMLElement>("[data-stop]");
    if (stop) stop.hidden = !this.running;
    const further = element.querySelector<HTMLElement>("[data-continue]");
    if (further) further.hidden = this.running || lane.tokens.length === 0 || lane.reason === "error";
    this.drawPending();
  }

  private drawInputs(labels: readonly string[]): void {
    const numbers = this.element.querySelector<HTMLElement>("[data-lambda-inputs]");
    const sliders = this.element.querySelector<HTMLElement>("[data-lambda-sliders]");
    if (!numbers || !sliders) return;
    resize(numbers, this.lambda.length);
    resize(sliders, this.lambda.length);
    for (const [i, x] of this.lambda.entries()) {
      const number = numbers.children[i] as HTMLInputElement;
      const slider = sliders.children[i] as HTMLInputElement;
      number.value = Number.isInteger(x * 1e6) ? plain(x) : formatNumber(x, 4).replace("−", "-");
      slider.value = plain(x);
      if (labels.length > 0) {
        const label = labels.length > 1 ? `λ of ${labels[i]}` : "λ";
        number.setAttribute("aria-label", label);
        slider.setAttribute("aria-label", `${label}, slider`);
      }
    }
  }

  private wire(bench: ColumnEvents): void {
    const { element } = this;
    element.addEventListener("input", (event) => this.input(event, bench, false));
    element.addEventListener("change", (event) => this.input(event, bench, true));
    element.addEventListener("keydown", (event) => this.step(event, bench));
    const on = (hook: string, does: () => void) => one(element, hook).addEventListener("click", does);
    on("[data-duplicate]", () => bench.duplicate(this));
    on("[data-remove]", () => bench.remove(this));
    on("[data-decode]", () => bench.decode(this));
    on("[data-stop]", () => bench.stop(this));
    on("[data-continue]", () => bench.continueFrom(this));
  }

  private input(event: Event, bench: ColumnEvents, settled: boolean): void {
    const target = event.target as HTMLInputElement;
    const isNumber = target.matches("[data-lambda-number]");
    if (!isNumber && !target.matches("[data-lambda-slider]")) return;
    const i = [...(target.parentElement?.children ?? [])].indexOf(target);
    const x = isNumber ? parseLambda(target.value) : Number(target.value);
    if (isNumber) {
      if (settled ? !this.check() : Number.isNaN(x) || x < this.bounds.min || x > this.bounds.max) return;
    }
    if (!settled && this.lambda[i] === x) return;
    this.lambda[i] = x;
    const hook = isNumber ? "[data-lambda-slider]" : "[data-lambda-number]";
    const other = all<HTMLInputElement>(this.element, hook)[i];
    if (other) other.value = plain(x);
    if (!isNumber) this.check();
    this.drawHead();
    bench.lambda(this, settled);
  }

  /** Arrow keys in the number field move λ by 0.05, with Shift by 0.5. */
  private step(event: KeyboardEvent, bench: ColumnEvents): void {
    const target = event.target as HTMLElement;
    if (!target.matches("[data-lambda-number]") || (event.key !== "ArrowUp" && event.key !== "ArrowDown")) return;
    event.preventDefault();
    const input = target as HTMLInputElement;
    const from = parseLambda(input.value);
    if (Number.isNaN(from)) return;
    const by = (event.shiftKey ? 0.5 : 0.05) * (event.key === "ArrowUp" ? 1 : -1);
    const x = Math.min(this.bounds.max, Math.max(this.bounds.min, Math.round((from + by) * 1e6) / 1e6));
    input.value = plain(x);
    this.input({ target: input } as unknown as Event, bench, true);
  }

  private async copy(button: HTMLElement): Promise<void> {
    const text = this.lane ? laneText(this.lane) : (this.text.textContent ?? "");
    const done = await copyText(text);
    button.dataset.done = done ? "Copied" : "Not copied";
    setTimeout(() => delete button.dataset.done, 1500);
  }
}

function tokenSpan(token: Token, index: number, given: boolean): HTMLElement {
  const span = make("span", { class: "t", "data-i": String(index) }, token.text);
  const ratio = logRatio(token);
  if (ratio !== null) span.dataset.r = String(ratioStep(ratio));
  if (given) span.dataset.given = "";
  if (token.text.trim() === "") span.dataset.name = token.text.includes("\n") ? "⏎" : token.text === "" ? token.name : "␣";
  return span;
}

/** Makes a box hold n copies of its first child. */
function resize(box: HTMLElement, n: number): void {
  while (box.children.length > n) box.lastElementChild?.remove();
  while (box.children.length < n) box.append((box.firstElementChild as HTMLElement).cloneNode(true));
}
