// The form above the lanes: it reads itself into a spec and shows what is wrong with it.

import { all, one, write } from "../dom/dom";
import type { Preset } from "../draft/presets";
import type { Settings } from "../draft/settings";
import type { LaneSpec, Limits, MapSpec, Message, PairStatus, Spec } from "../protocol/protocol";
import { Before, type Parent } from "./before";
import { chip } from "./chip";
import { type Fault, Faults } from "./faults";
import { Pairing } from "./pairing";
import { Presets } from "./presets";
import { Range } from "./range";
import { readSpec } from "./reading";
import { runs } from "./enter";
import { RunLine } from "./runline";

export interface ComposeEvents {
  run(): void;
  stopAll(): void;
  models(): void;
  preset(lambdas: number[], both: boolean): void; // both: each in the logits and in the weights
  changed(): void;
  lanes(): Preset["lanes"]; // as they are set
  setLanes(lanes: Preset["lanes"]): void;
}

export class Compose {
  readonly prompt: HTMLTextAreaElement;
  readonly system: HTMLTextAreaElement;
  readonly seed: HTMLInputElement;
  readonly range: Range;
  readonly before: Before;
  readonly line: RunLine;
  limits: Limits;
  private readonly pairing: Pairing;
  private readonly faults: Faults;

  constructor(
    readonly form: HTMLFormElement,
    private readonly events: ComposeEvents,
  ) {
    this.prompt = one(form, "[data-prompt]");
    this.system = one(form, "[data-system]");
    this.seed = one(form, "[data-seed]");
    this.limits = JSON.parse(form.dataset.limits ?? "{}");
    this.pairing = new Pairing(form, () => this.limits);
    this.faults = new Faults(form);
    this.range = new Range(form, () => this.limits);
    this.line = new RunLine(form);
    this.before = new Before(form, () => {
      this.prompt.focus();
      events.changed();
    });
    this.wire();
    this.wireModels();
    new Presets(one(form, "[data-presets]"), localStorage, {
      read: () => ({ settings: this.settings, system: this.system.value, lanes: events.lanes() }),
      use: (preset) => this.use(preset),
    });
    if (this.seed.value === "") this.roll();
    this.pairing.draw();
    this.drawChip();
    this.pairing.drawContrast(this.pairing.contrast.value === "");
  }

  private wire(): void {
    const { form, events } = this;
    one(form, "[data-dice]").hidden = false;
    one<HTMLButtonElement>(form, "[data-run-button]").disabled = false;
    form.noValidate = true; // the fields' own words are better
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      events.run();
    });
    form.addEventListener("input", (event) => {
      this.faults.set((event.target as HTMLInputElement).name, ""); // what was wrong may be right now
      if (!(event.target as Element).closest("[data-views]")) events.changed(); // how it is shown is no part of a run
    });
    form.addEventListener("keydown", (event) => {
      if (!runs(event, this.prompt)) return;
      event.preventDefault();
      if (!event.repeat) events.run();
    });
    one(form, "[data-stop-all]").addEventListener("click", () => events.stopAll());
    one(form, "[data-dice]").addEventListener("click", () => {
      this.roll();
      events.changed();
    });
    const grow = () => this.grow();
    this.prompt.addEventListener("input", grow);
    grow();
  }

  private wireModels(): void {
    const { form, events, pairing } = this;
    pairing.select.addEventListener("change", () => {
      pairing.changed();
      this.range.fit(pairing.aligned.length);
      this.drawChip();
      events.models();
      events.changed();
    });
    one(form, "[data-aligned]").addEventListener("change", () => {
      pairing.most();
      this.range.fit(pairing.aligned.length);
      pairing.drawContrast(true);
      events.models();
      this.drawChip();
    });
    form.addEventListener("input", () => this.drawChip());
    one(form, "[data-mode]").addEventListener("change", () => this.drawMode());
    for (const button of all(form, "[data-preset]")) {
      button.addEventListener("click", () => events.preset((button.dataset.preset ?? "").split(" ").map(Number), "presetBoth" in button.dataset));
    }
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
    this.faults.set("seed", "");
    this.drawChip();
  }

  /** The settings in short. */
  private drawChip(): void {
    const temperature = one<HTMLInputElement>(this.form, '[data-sampling="temperature"]').value;
    const models = this.models.map(({ name, beta }) => ({ title: name, beta }));
    write(one(this.form, "[data-about-pair]"), this.pairing.about);
    one(this.form, "[data-setup-words]").textContent = chip(this.pairing.title, models, temperature, this.seed.value);
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
    return { pair: this.pairing.select.value, aligned: this.pairing.aligned, mode: this.mode, fields };
  }

  set settings({ pair, aligned, mode, fields }: Settings) {
    if (!this.pairing.has(pair)) return; // it was removed: what is recommended for another stands
    this.pairing.choose(pair, aligned);
    if (mode === "chat" || mode === "plain") this.mode = mode;
    for (const input of this.remembered) input.value = fields[input.name] ?? input.value;
    this.range.fit(this.pairing.aligned.length);
    this.drawChip();
    this.events.models();
  }

  private use({ settings, system, lanes }: Preset): string {
    if (!this.pairing.has(settings.pair)) return `The pair ${settings.pair} is not here any more.`;
    this.settings = settings;
    this.system.value = system;
    this.events.setLanes(lanes);
    this.events.changed();
    return "";
  }

  get models(): { name: string; beta: number }[] {
    return this.pairing.models;
  }

  /** Whether λ can be in the weights: all aligned models that are ticked are adapters. */
  get canWeigh(): boolean {
    return this.pairing.adapters;
  }

  get mode(): Spec["mode"] {
    return (new FormData(this.form).get("mode") as Spec["mode"]) ?? "chat";
  }

  set mode(mode: Spec["mode"]) {
    one<HTMLInputElement>(this.form, `[data-mode] [value="${mode}"]`).checked = true;
    this.drawMode();
  }

  /** The conversation goes on: from a lane, or from these messages alone. */
  reply(parent: Parent, messages: readonly Message[]): void {
    this.before.set(parent, messages);
    this.setPrompt("");
    this.prompt.focus();
    this.events.changed();
  }

  /** Shows what a run that goes on with another asks for. */
  adopt(spec: Spec, before: readonly Message[]): void {
    this.setPrompt(spec.prompt);
    this.seed.value = spec.seed;
    one<HTMLInputElement>(this.form, '[data-sampling="max_tokens"]').value = String(spec.sampling.max_tokens);
    this.before.set(spec.parent ?? null, spec.parent ? before : (spec.history ?? []));
    this.drawChip();
  }

  /** Reads the form, and says what is wrong with it. */
  read(lanes: LaneSpec[]): { spec: Spec; faults: Fault[] } {
    const { form, limits, pairing, mode } = this;
    const read = readSpec({ form, limits, pairing, mode, prompt: this.prompt.value, system: this.system.value, seed: this.seed.value }, lanes);
    this.before.addTo(read.spec);
    return read;
  }

  /** Reads what the slider is to move along, and adds what is wrong with it. */
  readMap(faults: Fault[]): MapSpec {
    return this.range.read(this.pairing.aligned.length, faults);
  }

  /** Shows what is wrong at the fields; true if every fault found its place. */
  show(faults: readonly Fault[]): boolean {
    return this.faults.show(faults);
  }

  setStatus(status: readonly PairStatus[]): void {
    this.pairing.setStatus(status);
  }

  /** State of the chosen pair's worker. */
  get pairStatus(): PairStatus | undefined {
    return this.pairing.pairStatus;
  }

  private drawMode(): void {
    one(this.form, "[data-special-box]").hidden = this.mode !== "plain";
  }
}
