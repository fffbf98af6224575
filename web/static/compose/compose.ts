// The form above the lanes: it reads itself into a spec and shows what is wrong with it.

import { all, make, one, tell } from "../dom/dom";
import type { Settings } from "../draft/settings";
import { chip } from "./chip";
import { turnsList } from "../lanes/lanes";
import { notNumber, parseLambda } from "../lambda/lambda";
import type { LaneSpec, Limits, MapSpec, Message, PairStatus, Sampling, Spec } from "../protocol/protocol";
import { stateWords } from "../pairs/pairs";

interface AlignedModel {
  name: string;
  title: string;
  description: string;
  beta: number;
  default: boolean;
  kind: string; // model, adapter, proxy, system prompt or context
  contrast: string; // what its prompt has beyond the reference's
}

interface PairOption {
  name: string;
  title: string;
  state: PairStatus["state"];
  aligned: AlignedModel[] | null;
  sampling: Sampling;
}

export interface ComposeEvents {
  run(newSeed: boolean): void;
  stopAll(): void;
  models(): void;
  preset(lambdas: number[]): void;
  changed(): void;
}

/** A wrong field: its name, as the server names it too, and what is wrong. */
export interface Fault {
  field: string;
  message: string;
}

/** Variables of the chat template, one NAME=VALUE a line; wrong is the first line that is none. */
export function readVariables(text: string): { variables: Record<string, string | number | boolean>; wrong: string } {
  const variables: Record<string, string | number | boolean> = {};
  for (const line of text.split("\n").map((l) => l.trim())) {
    if (line === "") continue;
    const at = line.indexOf("=");
    if (at < 1) return { variables, wrong: line };
    const value = line.slice(at + 1).trim();
    const number = value === "" ? Number.NaN : Number(value);
    variables[line.slice(0, at).trim()] = value === "true" ? true : value === "false" ? false : Number.isFinite(number) ? number : value;
  }
  return { variables, wrong: "" };
}

/** A recommended number, as its field shows it: a repeat penalty of 0 is off, as 1 is. */
const shown = (name: keyof Sampling, s: Sampling): number => (name === "repeat_penalty" && !s[name] ? 1 : Number(s[name] ?? 0));

/** Aligned models in one mixture, as the server has it (decode.MaxAligned). */
const mostAligned = 4;

export class Compose {
  readonly prompt: HTMLTextAreaElement;
  readonly system: HTMLTextAreaElement;
  readonly seed: HTMLInputElement;
  private readonly contrast: HTMLTextAreaElement;
  limits: Limits;
  parent: { run: string; lane: number } | null = null;
  history: Message[] = [];
  private readonly pairs: PairOption[];
  private readonly pair: HTMLSelectElement;
  private recommended: Sampling | undefined; // by the pair that is chosen
  private status: readonly PairStatus[] = [];

  constructor(
    readonly form: HTMLFormElement,
    private readonly events: ComposeEvents,
  ) {
    this.prompt = one(form, "[data-prompt]");
    this.system = one(form, "[data-system]");
    this.seed = one(form, "[data-seed]");
    this.pair = one(form, "[data-pair]");
    this.contrast = one(form, "[data-contrast]");
    this.pairs = JSON.parse(form.dataset.pairs || "null") ?? [];
    this.recommended = this.option?.sampling;
    this.limits = JSON.parse(form.dataset.limits ?? "{}");
    this.history = JSON.parse(form.dataset.history ?? "[]");
    if (form.dataset.parentRun) this.parent = { run: form.dataset.parentRun, lane: Number(form.dataset.parentLane) };
    this.wire();
    if (this.seed.value === "") this.roll();
    this.drawBefore();
    this.drawPair();
    this.drawContrast(this.contrast.value === "");
  }

  private wire(): void {
    const { form, events } = this;
    for (const hook of ["[data-run-new]", "[data-dice]", "[data-before-clear]"]) one(form, hook).hidden = false;
    one<HTMLButtonElement>(form, "[data-run-button]").disabled = false;
    form.noValidate = true; // the fields' own words are better
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      events.run(false);
    });
    form.addEventListener("input", (event) => {
      if (!(event.target as Element).closest("[data-views]")) events.changed(); // how it is shown is no part of a run
    });
    form.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        events.run(false);
      }
    });
    one(form, "[data-run-new]").addEventListener("click", () => events.run(true));
    one(form, "[data-stop-all]").addEventListener("click", () => events.stopAll());
    one(form, "[data-dice]").addEventListener("click", () => {
      this.roll();
      events.changed();
    });
    one(form, "[data-before-clear]").addEventListener("click", () => this.startAnew());
    this.pair.addEventListener("change", () => {
      this.drawAligned(null);
      this.recommend();
      this.drawPair();
      this.drawContrast(true);
      events.models();
      events.changed();
    });
    one(form, "[data-aligned]").addEventListener("change", () => {
      this.most();
      this.drawContrast(true);
      events.models();
      this.drawChip();
    });
    form.addEventListener("input", () => this.drawChip());
    one(form, "[data-mode]").addEventListener("change", () => this.drawMode());
    for (const button of all(form, "[data-preset]")) {
      button.addEventListener("click", () => events.preset((button.dataset.preset ?? "").split(" ").map(Number)));
    }
    const grow = () => this.grow();
    this.prompt.addEventListener("input", grow);
    grow();
  }

  /** The prompt's box grows with it, up to a point. */
  private grow(): void {
    const lines = this.prompt.value.split("\n").reduce((n, line) => n + 1 + Math.floor(line.length / 110), 0);
    this.prompt.rows = Math.max(1, Math.min(14, lines));
  }

  setPrompt(text: string): void {
    this.prompt.value = text;
    this.grow();
  }

  roll(): void {
    const random = new Uint32Array(1);
    crypto.getRandomValues(random);
    this.seed.value = String((random[0] ?? 0) % 1_000_000);
    this.fault("seed", "");
    this.drawChip();
  }

  /** No more aligned models can be ticked than a mixture may have. */
  private most(): void {
    const full = this.aligned.length >= mostAligned;
    for (const box of all<HTMLInputElement>(this.form, '[data-aligned] input[type="checkbox"]')) box.disabled = full && !box.checked;
  }

  /** The settings in short. */
  private drawChip(): void {
    const known = this.option?.aligned ?? [];
    const models = this.aligned.map((name) => known.find((m) => m.name === name)).filter((m) => m !== undefined);
    const temperature = one<HTMLInputElement>(this.form, '[data-sampling="temperature"]').value;
    one(this.form, "[data-setup-words]").textContent =
      chip(this.option?.title || this.pair.value, models.map((m) => ({ title: m.title || m.name, beta: m.beta })), temperature, this.seed.value);
  }

  /** Closes the settings: a run is to be seen. */
  fold(): void {
    one<HTMLDetailsElement>(this.form, "[data-setup]").open = false;
  }

  /** Names of the fields that are remembered, by the element that has each. */
  private get remembered(): HTMLInputElement[] {
    return [...all<HTMLInputElement>(this.form, "[data-sampling], [data-map-from], [data-map-to], [data-map-branches]")];
  }

  get settings(): Settings {
    const fields = Object.fromEntries(this.remembered.map((input) => [input.name, input.value]));
    return { pair: this.pair.value, aligned: this.aligned, mode: this.mode, fields };
  }

  set settings({ pair, aligned, mode, fields }: Settings) {
    if (!this.pairs.some((p) => p.name === pair)) return; // it was removed: what is recommended for another stands
    this.pair.value = pair;
    this.drawAligned(this.option?.aligned?.some((m) => aligned.includes(m.name)) ? aligned : null);
    if (mode === "chat" || mode === "plain") this.mode = mode;
    for (const input of this.remembered) input.value = fields[input.name] ?? input.value;
    this.recommended = this.option?.sampling;
    this.drawPair();
    this.drawChip();
    this.events.models();
  }

  /** Names of the aligned models that are ticked. */
  get aligned(): string[] {
    return all<HTMLInputElement>(this.form, '[data-aligned] input[type="checkbox"]').filter((box) => box.checked).map((box) => box.value);
  }

  private get option(): PairOption | undefined {
    return this.pairs.find((p) => p.name === this.pair.value);
  }

  get models(): { name: string; beta: number }[] {
    const known = this.option?.aligned ?? [];
    return this.aligned.map((name) => {
      const model = known.find((m) => m.name === name);
      return { name: model?.title || name, beta: model?.beta ?? 0 };
    });
  }

  get mode(): Spec["mode"] {
    return (new FormData(this.form).get("mode") as Spec["mode"]) ?? "chat";
  }

  set mode(mode: Spec["mode"]) {
    one<HTMLInputElement>(this.form, `[data-mode] [value="${mode}"]`).checked = true;
    this.drawMode();
  }

  /** The conversation goes on from a lane. */
  continueFrom(run: string, lane: number, messages: Message[]): void {
    this.setBefore({ run, lane }, messages);
    this.setPrompt("");
    this.prompt.focus();
    this.events.changed();
  }

  setBefore(parent: Compose["parent"], messages: Message[]): void {
    this.parent = parent;
    this.history = messages;
    this.drawBefore();
  }

  startAnew(): void {
    this.setBefore(null, []);
    this.prompt.focus();
    this.events.changed();
  }

  /** Reads the form, and says what is wrong with it. */
  read(lanes: LaneSpec[]): { spec: Spec; faults: Fault[] } {
    const faults: Fault[] = [];
    const sampling: Record<string, number | boolean | string[]> = {};
    let alternatives = 0;
    for (const { field: name, low, high, whole } of this.limits.fields) {
      const input = one<HTMLInputElement>(this.form, `[data-sampling="${name}"]`);
      const x = Number(input.value);
      if (input.value.trim() === "" || !Number.isFinite(x)) faults.push({ field: name, message: "A number belongs here." });
      else if (x < low || x > high) faults.push({ field: name, message: `From ${low} to ${high}.` });
      else if (whole && !Number.isInteger(x)) faults.push({ field: name, message: "A whole number belongs here." });
      if (name === "alternatives") alternatives = x;
      else sampling[name] = x;
    }
    const stop = one<HTMLTextAreaElement>(this.form, "[data-stop-texts]").value.split("\n").filter((line) => line !== "");
    if (stop.length > 0) sampling.stop = stop;
    if (one<HTMLInputElement>(this.form, "[data-ignore-end]").checked) sampling.ignore_end = true;
    const seed = this.seed.value.trim();
    if (!/^\d{1,20}$/.test(seed) || BigInt(seed) > 18446744073709551615n) {
      faults.push({ field: "seed", message: "A whole number from 0 to 18446744073709551615." });
    }
    if (this.prompt.value.trim() === "") faults.push({ field: "prompt", message: "The prompt is empty." });
    const bytes = new TextEncoder().encode(this.prompt.value).length;
    if (bytes > this.limits.prompt_bytes) {
      faults.push({ field: "prompt", message: `${bytes} bytes; at most ${this.limits.prompt_bytes}.` });
    }
    if (this.aligned.length === 0) faults.push({ field: "aligned", message: "Choose at least one." });
    const mode = this.mode;
    const spec: Spec = {
      pair: this.pair.value, aligned: this.aligned, prompt: this.prompt.value, mode, lanes,
      sampling: sampling as unknown as Sampling, seed, alternatives,
    };
    if (mode === "chat" && this.system.value.trim() !== "") spec.system = this.system.value;
    const shown = this.contrasted;
    if (shown && this.contrast.value.trim() === "") faults.push({ field: "contrast", message: "It is empty: the two prompts would be one." });
    else if (shown && this.contrast.value !== shown.contrast) {
      spec.contrast = shown.kind === "context" ? { context: this.contrast.value } : { system: this.contrast.value };
    }
    if (mode === "plain" && one<HTMLInputElement>(this.form, "[data-special]").checked) spec.special = true;
    const { variables, wrong } = readVariables(one<HTMLTextAreaElement>(this.form, "[data-variables]").value);
    if (wrong) faults.push({ field: "variables", message: `“${wrong}” is not NAME=VALUE.` });
    else if (mode === "chat" && Object.keys(variables).length > 0) spec.rendering = { variables };
    if (this.parent) spec.parent = this.parent;
    else if (this.history.length > 0) spec.history = this.history;
    return { spec, faults };
  }

  /** Reads the interval to map, and adds what is wrong with it. */
  readMap(faults: Fault[]): MapSpec {
    const { lambda_min, lambda_max } = this.limits;
    const read = (name: "from" | "to") => {
      const { value } = one<HTMLInputElement>(this.form, `[data-map-${name}]`);
      const x = parseLambda(value);
      if (Number.isNaN(x)) faults.push({ field: name, message: notNumber(value) });
      else if (x < lambda_min || x > lambda_max) faults.push({ field: name, message: `From ${lambda_min} to ${lambda_max}.` });
      return x;
    };
    const [from, to] = [read("from"), read("to")];
    if (from >= to) faults.push({ field: "to", message: "Above where it begins." });
    const branches = Number(one<HTMLInputElement>(this.form, "[data-map-branches]").value);
    if (!Number.isInteger(branches) || branches < 1) faults.push({ field: "branches", message: "A whole number from 1." });
    return { from, to, sample: 0, branches };
  }

  /** Shows what is wrong at the fields; true if every fault found its place. */
  show(faults: readonly Fault[]): boolean {
    for (const place of all(this.form, "[data-error]")) this.fault(place.dataset.error ?? "", "");
    let first: HTMLElement | null = null;
    let placed = true;
    for (const { field, message } of faults) {
      const input = this.fault(field, message);
      if (!input) placed = false;
      first ??= input;
    }
    for (let box = first?.closest("details"); box; box = box.parentElement?.closest("details")) box.open = true;
    first?.focus();
    return placed;
  }

  private fault(field: string, message: string): HTMLElement | null {
    const place = this.form.querySelector<HTMLElement>(`[data-error="${CSS.escape(field)}"]`);
    if (!place) return null;
    tell(place, message);
    place.id ||= `${field}-error`;
    const input = this.form.querySelector<HTMLElement>(`[name="${CSS.escape(field)}"]`);
    if (!input) return null;
    if (message) {
      input.setAttribute("aria-invalid", "true");
      input.setAttribute("aria-errormessage", place.id);
    } else {
      input.removeAttribute("aria-invalid");
      input.removeAttribute("aria-errormessage");
    }
    return input;
  }

  setStatus(status: readonly PairStatus[]): void {
    this.status = status;
    this.drawPair();
  }

  /** State of the chosen pair's worker. */
  get pairStatus(): PairStatus | undefined {
    return this.status.find((p) => p.name === this.pair.value);
  }

  /** The line under the prompt: words, and how far (null: no bar). */
  progress(text: string, part: number | null): void {
    const words = one(this.form, "[data-progress-words]");
    if (words.textContent !== text) words.textContent = text;
    const bar = one<HTMLProgressElement>(this.form, "[data-progress-bar]");
    bar.hidden = part === null;
    if (part !== null) bar.value = part;
  }

  setRunning(running: boolean, again: boolean): void {
    one(this.form, "[data-stop-all]").hidden = !running;
    const words = one(this.form, "[data-run-words]");
    const text = again ? "Again" : "Run";
    if (words.textContent !== text) words.textContent = text;
    const button = one(this.form, "[data-run-button]");
    button.title = again ? "The same with a new seed" : "";
  }

  private drawPair(): void {
    const state = this.pairStatus ?? { state: this.option?.state ?? "idle", progress: 0 };
    const label = one(this.form, "[data-pair-state]");
    const text = stateWords(state as PairStatus);
    if (label.textContent !== text) label.textContent = text;
    label.dataset.state = state.state;
    this.drawChip();
  }

  /** Another pair: what still is as the last one recommends becomes as this one does. */
  private recommend(): void {
    const before = this.recommended;
    const now = this.option?.sampling;
    if (before && now) {
      for (const { field: name } of this.limits.fields) {
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
        return make("label", { class: "choice", title: m.description }, box, words);
      }),
    );
  }

  /** The aligned model whose prompt is another, if one alone is chosen. */
  private get contrasted(): AlignedModel | undefined {
    const [name, ...others] = this.aligned;
    const model = this.option?.aligned?.find((m) => m.name === name);
    return others.length === 0 && model?.contrast ? model : undefined;
  }

  /** The two prompts of a contrast; anew, with the pair's own text. */
  private drawContrast(anew: boolean): void {
    const model = this.contrasted;
    const box = one<HTMLDetailsElement>(this.form, "[data-contrast-box]");
    box.hidden = !model;
    if (!model) return;
    box.open = true;
    one(box, "[data-contrast-words]").textContent = model.kind === "context" ? "Context at λ = 1, none at λ = 0" : "System prompt at λ = 1, none at λ = 0";
    if (anew) this.contrast.value = model.contrast;
  }

  private drawMode(): void {
    one(this.form, "[data-special-box]").hidden = this.mode !== "plain";
  }

  private drawBefore(): void {
    const box = one(this.form, "[data-before]");
    box.hidden = this.history.length === 0 && !this.parent;
    one(box, "[data-before-turns]").replaceChildren(turnsList(this.history));
  }
}
