// The pair and its aligned models in the settings: which are chosen, what the pair recommends, and the state of its worker.

import { all, make, one } from "../dom/dom";
import { stateWords } from "../pairs/pairs";
import type { Limits, PairStatus, Sampling } from "../protocol/protocol";
import { about } from "./about";

export interface AlignedModel {
  name: string;
  title: string;
  about: string; // the first sentence of its description
  beta: number;
  default: boolean;
  kind: string; // model, adapter, proxy, system prompt or context
  contrast: string; // what its prompt has beyond the reference's
}

interface PairOption {
  name: string;
  title: string;
  state: PairStatus["state"];
  about: string; // the first sentence of its description
  aligned: AlignedModel[] | null;
  sampling: Sampling;
}

/** A recommended number, as its field shows it: a repeat penalty of 0 is off, as 1 is. */
const shown = (name: keyof Sampling, s: Sampling): number => (name === "repeat_penalty" && !s[name] ? 1 : Number(s[name] ?? 0));

/** Aligned models in one mixture, as the server has it (decode.MaxAligned). */
const mostAligned = 4;

export class Pairing {
  readonly select: HTMLSelectElement;
  readonly contrast: HTMLTextAreaElement;
  private readonly pairs: PairOption[];
  private recommended: Sampling | undefined; // by the pair that is chosen
  private status: readonly PairStatus[] = [];

  constructor(
    private readonly form: HTMLFormElement,
    private readonly limits: () => Limits,
  ) {
    this.select = one(form, "[data-pair]");
    this.contrast = one(form, "[data-contrast]");
    this.pairs = JSON.parse(form.dataset.pairs || "null") ?? [];
    this.recommended = this.option?.sampling;
  }

  has(pair: string): boolean {
    return this.pairs.some((p) => p.name === pair);
  }

  private get option(): PairOption | undefined {
    return this.pairs.find((p) => p.name === this.select.value);
  }

  get title(): string {
    return this.option?.title || this.select.value;
  }

  /** What the pair is and what it is aligned to, in short. */
  get about(): string {
    const { option, aligned } = this;
    return about(option?.about ?? "", (option?.aligned ?? []).filter(({ name }) => aligned.includes(name)));
  }

  /** Whether all aligned models that are ticked are adapters. */
  get adapters(): boolean {
    const known = this.option?.aligned ?? [];
    return this.aligned.length > 0 && this.aligned.every((name) => known.find((m) => m.name === name)?.kind === "adapter");
  }

  /** Names of the aligned models that are ticked. */
  get aligned(): string[] {
    return this.boxes.filter((box) => box.checked).map((box) => box.value);
  }

  private get boxes(): HTMLInputElement[] {
    return all<HTMLInputElement>(this.form, '[data-aligned] input[type="checkbox"]');
  }

  /** The aligned models that are ticked, as people call them. */
  get models(): { name: string; beta: number }[] {
    const known = this.option?.aligned ?? [];
    return this.aligned.map((name) => {
      const model = known.find((m) => m.name === name);
      return { name: model?.title || name, beta: model?.beta ?? 0 };
    });
  }

  /** Chooses a pair and what of its aligned models is still there. */
  choose(pair: string, aligned: readonly string[]): void {
    this.select.value = pair;
    this.drawAligned(this.option?.aligned?.some((m) => aligned.includes(m.name)) ? aligned : null);
    this.recommended = this.option?.sampling;
    this.draw();
  }

  /** Another pair was chosen in the form. */
  changed(): void {
    this.drawAligned(null);
    this.recommend();
    this.draw();
    this.drawContrast(true);
  }

  /** No more aligned models can be ticked than a mixture may have. */
  most(): void {
    const full = this.aligned.length >= mostAligned;
    for (const box of this.boxes) box.disabled = full && !box.checked;
  }

  setStatus(status: readonly PairStatus[]): void {
    this.status = status;
    this.draw();
  }

  /** State of the chosen pair's worker. */
  get pairStatus(): PairStatus | undefined {
    return this.status.find((p) => p.name === this.select.value);
  }

  draw(): void {
    const state = this.pairStatus ?? { state: this.option?.state ?? "idle", progress: 0 };
    const label = one(this.form, "[data-pair-state]");
    const text = stateWords(state as PairStatus);
    if (label.textContent !== text) label.textContent = text;
    label.dataset.state = state.state;
  }

  /** Another pair: what still is as the last one recommends becomes as this one does. */
  private recommend(): void {
    const before = this.recommended;
    const now = this.option?.sampling;
    if (before && now) {
      for (const { field: name } of this.limits().fields) {
        if (name === "alternatives") continue;
        const input = one<HTMLInputElement>(this.form, `[data-sampling="${name}"]`);
        if (Number(input.value) === shown(name, before)) input.value = String(shown(name, now));
      }
      const stop = one<HTMLTextAreaElement>(this.form, "[data-stop-texts]");
      if (stop.value === (before.stop ?? []).join("\n")) stop.value = (now.stop ?? []).join("\n");
    }
    this.recommended = now;
  }

  private drawAligned(chosen: readonly string[] | null): void {
    const models = this.option?.aligned ?? [];
    one(this.form, "[data-aligned]").replaceChildren(
      ...models.map((m) => {
        const box = make("input", { type: "checkbox", name: "aligned", value: m.name });
        box.checked = chosen ? chosen.includes(m.name) : m.default;
        const words = make("span", {}, m.title || m.name);
        if (m.beta > 0 && !m.title.includes("β")) words.append(" ", make("span", { class: "faint num" }, `β ${m.beta}`));
        return make("label", { class: "choice", title: m.about }, box, words);
      }),
    );
  }

  /** The aligned model whose prompt is another, if one alone is chosen. */
  get contrasted(): AlignedModel | undefined {
    const [name, ...others] = this.aligned;
    const model = this.option?.aligned?.find((m) => m.name === name);
    return others.length === 0 && model?.contrast ? model : undefined;
  }

  /** The two prompts of a contrast; anew, with the pair's own text. */
  drawContrast(anew: boolean): void {
    const model = this.contrasted;
    const box = one<HTMLDetailsElement>(this.form, "[data-contrast-box]");
    box.hidden = !model;
    if (!model) return;
    box.open = true;
    one(box, "[data-contrast-words]").textContent = model.kind === "context" ? "Context at λ = 1, none at λ = 0" : "System prompt at λ = 1, none at λ = 0";
    if (anew) this.contrast.value = model.contrast;
  }
}
