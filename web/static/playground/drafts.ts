// What is kept of the form between visits: what was typed and not run, and the settings.

import type { Compose } from "../compose/compose";
import { type Draft, load, save } from "../draft/draft";
import { loadSettings, saveSettings } from "../draft/settings";
import type { LanesView } from "./lanesview";

export class Drafts {
  constructor(
    private readonly compose: Compose,
    private readonly lanes: LanesView,
  ) {}

  /** Brings back what was typed on the page of a run, or of none. */
  restore(form: HTMLFormElement, run: string): void {
    if ("fork" in form.dataset) return;
    if (!run && this.compose.prompt.value === "") {
      const settings = loadSettings(localStorage);
      if (settings) this.compose.settings = settings;
    }
    const draft = load(localStorage, run, Date.now());
    if (!draft) return;
    if (run === "" && this.compose.prompt.value !== "") return;
    this.compose.setPrompt(draft.prompt);
    this.compose.system.value = draft.system;
    if (draft.seed) this.compose.seed.value = draft.seed;
    if (run) this.compose.before.set(draft.parent, draft.history);
    if (new URLSearchParams(location.search).has("lanes")) return; // those of the address are wanted
    if (!this.lanes.run && draft.lanes.length > 0) this.lanes.setLanes(draft.lanes);
  }

  keep(run: string): void {
    const draft: Draft = {
      prompt: this.compose.prompt.value, system: this.compose.system.value, seed: this.compose.seed.value,
      lanes: this.lanes.draft, parent: this.compose.before.parent, history: this.compose.before.history, at: Date.now(),
    };
    save(localStorage, run, draft);
    saveSettings(localStorage, this.compose.settings);
  }
}
