// Presets in the settings: a list to use, a name to save what is set under.

import { make, one } from "../dom/dom";
import type { Shelf } from "../draft/draft";
import { type Preset, dropPreset, loadPresets, savePreset } from "../draft/presets";

export interface PresetEvents {
  read(): Preset; // what is set now
  /** Sets it; says why it cannot, or "". */
  use(preset: Preset): string;
}

export class Presets {
  private readonly list: HTMLSelectElement;
  private readonly name: HTMLInputElement;

  constructor(
    private readonly box: HTMLElement,
    private readonly shelf: Shelf,
    private readonly events: PresetEvents,
  ) {
    this.list = one<HTMLSelectElement>(box, "[data-preset-list]");
    this.name = one<HTMLInputElement>(box, "[data-preset-name]");
    box.hidden = false;
    // Its fields are no part of a run.
    box.addEventListener("input", (event) => event.stopPropagation());
    this.name.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      event.stopPropagation();
      this.save();
    });
    one(box, "[data-preset-save]").addEventListener("click", () => this.save());
    one(box, "[data-preset-use]").addEventListener("click", () => this.use());
    one(box, "[data-preset-drop]").addEventListener("click", () => this.drop());
    this.draw("");
  }

  private save(): void {
    const name = this.name.value.trim();
    const wrong = savePreset(this.shelf, name, this.events.read());
    if (wrong) return this.say(wrong);
    this.name.value = "";
    this.draw(name);
    this.say(`Saved as ${name}.`);
  }

  private use(): void {
    const preset = loadPresets(this.shelf).get(this.list.value);
    if (preset) this.say(this.events.use(preset) || `${this.list.value} is set.`);
  }

  private drop(): void {
    const name = this.list.value;
    const kept = loadPresets(this.shelf).get(name);
    const wrong = dropPreset(this.shelf, name);
    this.draw("");
    if (wrong || !kept) return this.say(wrong);
    this.say(`${name} is deleted. `);
    const undo = make("button", { type: "button", class: "link" }, "Undo");
    undo.addEventListener("click", () => {
      savePreset(this.shelf, name, kept);
      this.draw(name);
      this.say(`${name} is back.`);
      this.list.focus();
    });
    one(this.box, "[data-preset-words]").append(undo);
  }

  private draw(chosen: string): void {
    const names = [...loadPresets(this.shelf).keys()];
    this.list.replaceChildren(...names.map((name) => make("option", { value: name }, name)));
    if (chosen) this.list.value = chosen;
    (this.list.closest(".row") as HTMLElement).hidden = names.length === 0;
  }

  private say(words: string): void {
    one(this.box, "[data-preset-words]").textContent = words;
  }
}
