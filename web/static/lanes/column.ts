// One lane as a column: its head (λ, effective β, words), its text token by token, and its foot.

import { copyText, one, tell, write } from "../dom/dom";
import { effectiveBeta, formatLambda, formatNumber, hue, same, total, words } from "../lambda/lambda";
import { type Lane, laneText } from "../run/run";
import { Foot } from "./foot";
import { type Bounds, LambdaInputs, type LambdaOwner } from "./lambdainputs";
import { LaneText } from "./text";

/** What a column tells the bench. A comparison has no bench. */
export interface ColumnEvents {
  lambda(column: Column, settled: boolean): void;
  duplicate(column: Column): void;
  beside(column: Column): void; // the same λ in the weights
  remove(column: Column): void;
  decode(column: Column): void;
  stop(column: Column): void;
  reply(column: Column): void;
  writeOn(column: Column): void;
}

export class Column implements LambdaOwner {
  lane: Lane | null = null; // of the run; null: it has not run
  lambda: number[]; // as set
  sample: number;
  weights: boolean; // λ is in the weights
  prefix: number[];
  waiting = false; // asked for, and not yet in the run's log
  asked: readonly number[] = []; // λ that it was asked for with
  most = 0; // tokens that its run may have a lane

  readonly text: LaneText;
  private readonly foot: Foot;
  private readonly inputs: LambdaInputs;

  constructor(
    readonly element: HTMLElement,
    readonly bench: ColumnEvents | null,
    public betas: readonly number[],
    bounds: Bounds,
  ) {
    this.inputs = new LambdaInputs(element, bounds, this);
    this.text = new LaneText(element);
    this.foot = new Foot(element);
    this.lambda = (element.dataset.lambda ?? "").split(" ").filter(Boolean).map(Number);
    this.sample = Number(element.dataset.sample ?? 0);
    this.weights = element.dataset.mix === "weights";
    this.prefix = (element.dataset.prefix ?? "").split(" ").filter(Boolean).map(Number);
    const copy = one(element, "[data-copy]");
    copy.hidden = false;
    copy.addEventListener("click", () => this.copy(copy));
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
  get outdated(): boolean {
    return this.lane !== null && !this.running && !same(this.lambda, this.lane.lambda);
  }

  setModels(betas: readonly number[], bounds: Bounds, labels: readonly string[]): void {
    this.betas = betas;
    this.inputs.bounds = bounds;
    const n = Math.max(1, labels.length);
    if (this.lambda.length !== n) {
      // λ is shared out among the models, so that a second one counts and the sum stays.
      const sum = total(this.lambda);
      if (this.lane || !this.bench) this.lambda = Array.from({ length: n }, (_, i) => this.lambda[i] ?? 0);
      else this.lambda = Array<number>(n).fill(Math.round((sum / n) * 1e6) / 1e6);
      if (this.bench) this.inputs.draw(labels);
    }
    this.drawHead();
  }

  setLambda(v: readonly number[]): void {
    this.lambda = [...v];
    this.inputs.draw([]);
    this.drawHead();
  }

  /** λ was moved at the column's own fields (LambdaOwner). */
  moved(model: number, to: number, settled: boolean): void {
    this.lambda[model] = to;
    this.drawHead();
    this.bench?.lambda(this, settled);
  }

  /** λ is moved from outside, as its own slider would move it. */
  move(v: readonly number[], settled: boolean): void {
    this.setLambda(v);
    this.check();
    this.bench?.lambda(this, settled);
  }

  setWeights(weights: boolean): void {
    this.weights = weights;
    this.drawHead();
  }

  /** Offers to put the same λ into the weights, where the models allow it. */
  offerWeights(can: boolean): void {
    const button = this.element.querySelector<HTMLElement>("[data-beside]");
    if (button) button.hidden = !can || this.weights;
  }

  setSample(sample: number): void {
    this.sample = sample;
    this.drawHead();
  }

  /** Shows a lane of a run, from its first token. */
  bind(lane: Lane | null): void {
    this.lane = lane;
    this.waiting = false;
    this.text.bind(lane);
    one(this.element, "[data-parting]").hidden = true;
    if (lane) {
      this.prefix = [];
      if (this.bench && !same(this.lambda, lane.lambda)) this.setLambda(lane.lambda);
      this.lambda = [...lane.lambda];
      this.sample = lane.sample;
      this.weights = lane.weights;
      this.element.dataset.index = String(lane.index);
    } else {
      delete this.element.dataset.index;
    }
    this.update();
    this.drawHead();
  }

  /** Shows what its lane has gained. */
  update(): void {
    this.text.update();
    this.drawFoot();
  }

  /** Marks where it parts from its neighbours; −1 is nowhere. */
  setPartings(left: number, right: number, leftName: string): void {
    const changed = this.text.setPartings(left, right);
    const at = this.text.parts.left;
    if (changed) one(this.element, "[data-parting]").hidden = at < 0;
    if (at < 0) return;
    write(one(this.element, "[data-parting-from]"), leftName);
    write(one(this.element, "[data-parting-at]"), String(at + 1));
  }

  /** Says how far the reply may be from a whole reply at its λ; "" is nothing. */
  setTrust(words: string): void {
    tell(one(this.element, "[data-trust]"), words);
  }

  focusText(): void {
    this.text.box.focus();
  }

  focusLambda(): void {
    this.inputs.focus();
  }

  /** Whether every λ that is typed in can be used; says what is wrong if not. */
  check(): boolean {
    return !this.bench || this.inputs.check();
  }

  drawHead(): void {
    const { element, lambda } = this;
    element.dataset.hue = hue(lambda);
    element.setAttribute("aria-label",
      `Lane at λ = ${formatLambda(lambda)}${this.weights ? " in the weights" : ""}${this.sample > 0 ? `, sample ${this.sample}` : ""}`);
    this.text.box.setAttribute("aria-label", `Text at λ = ${formatLambda(this.lane ? this.lane.lambda : lambda)}`);
    const spoken = element.querySelector<HTMLElement>("[data-lambda-words]");
    if (spoken) spoken.textContent = formatLambda(lambda);
    const beta = effectiveBeta(lambda, this.betas);
    one(element, "[data-beta]").hidden = beta === "";
    one(element, "[data-beta-value]").textContent = beta;
    one(element, "[data-mix-label]").hidden = !this.weights;
    one(element, "[data-sample-label]").hidden = this.sample === 0;
    one(element, "[data-sample-value]").textContent = String(this.sample);
    tell(one(element, "[data-words]"), words(lambda));
    const sum = one(element, "[data-sum]");
    sum.hidden = lambda.length < 2;
    sum.textContent = `sum ${formatNumber(total(lambda), 3)}`;
    this.drawPending();
    this.inputs.say(`λ ${formatLambda(lambda)}${beta ? `, effective β ${beta}` : ""}`);
  }

  drawPending(): void {
    const line = this.element.querySelector<HTMLElement>("[data-pending]");
    if (!line) return;
    const draft = this.lane === null;
    const asks = this.element.dataset.runnable === "true" && !this.waiting && (draft || this.outdated);
    line.hidden = !asks;
    if (!asks) return;
    one(line, "[data-pending-words]").textContent = draft
      ? "Not decoded yet."
      : `The text is of λ ${formatLambda(this.lane?.lambda ?? [])}.`;
    one(line, "[data-decode]").textContent = draft ? "Decode" : `Decode at ${formatLambda(this.lambda)}`;
  }

  private drawFoot(): void {
    const { lane, element } = this;
    element.dataset.state = lane === null ? (this.waiting ? "waiting" : "draft") : lane.reason || "running";
    if (!lane || this.running) this.setTrust("");
    this.foot.draw(lane, this.most);
    if (!lane) return;
    this.inputs.fix(this.weights && this.running); // what was read is of the weights at one λ: it moves with the next text
    this.drawPending();
  }

  private wire(bench: ColumnEvents): void {
    const { element } = this;
    this.inputs.wire();
    const on = (hook: string, does: () => void) => one(element, hook).addEventListener("click", does);
    on("[data-duplicate]", () => bench.duplicate(this));
    on("[data-beside]", () => bench.beside(this));
    on("[data-remove]", () => bench.remove(this));
    on("[data-decode]", () => bench.decode(this));
    on("[data-stop]", () => bench.stop(this));
    on("[data-reply]", () => bench.reply(this));
    on("[data-write-on]", () => bench.writeOn(this));
  }

  private async copy(button: HTMLElement): Promise<void> {
    const text = this.lane ? laneText(this.lane) : (this.text.box.textContent ?? "");
    const done = await copyText(text);
    button.dataset.done = done ? "Copied" : "Not copied";
    setTimeout(() => delete button.dataset.done, 1500);
  }
}
