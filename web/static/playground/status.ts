// What the page says of itself: alerts, announcements, and the line beside the settings.

import { one, tell } from "../dom/dom";
import type { Run } from "../run/run";

export class Status {
  private rate = { since: 0, from: 0 }; // of the tokens of a run: when the first was seen, and how many there were

  constructor(
    private readonly page: HTMLElement,
    again: () => void,
  ) {
    one(page, "[data-alert-close]").addEventListener("click", () => this.alert(""));
    one(page, "[data-alert-again]").addEventListener("click", again);
  }

  alert(text: string, again = false): void {
    const box = one(this.page, "[data-alert]");
    box.hidden = text === "";
    one(box, "[data-alert-words]").textContent = text;
    one(box, "[data-alert-again]").hidden = !again;
  }

  say(text: string): void {
    const place = one(this.page, "[data-announce]");
    tell(place, text);
    place.hidden = false;
  }

  /** Tells the error of what was decoded, once; a run that goes on after all takes it back. */
  failure(tale: string, error: { code: string; message: string } | undefined, running: boolean): void {
    const told = this.page.dataset.told;
    if (error && told !== tale) {
      this.page.dataset.told = tale;
      this.alert(error.code === "unavailable" ? `The run was broken off: ${sentence(error.message)}` : sentence(error.message), true);
    } else if (running && told !== undefined && told.split(" ")[0] === tale.split(" ")[0]) {
      delete this.page.dataset.told;
      this.alert("");
    }
  }

  begin(): void {
    this.rate = { since: 0, from: 0 };
  }

  /** Tokens a second since the first of them was shown; NaN for the first half second. */
  speed(run: Run): number {
    const tokens = run.lanes.reduce((sum, lane) => sum + lane.tokens.length, 0);
    const now = performance.now();
    if (tokens > 0 && this.rate.since === 0) this.rate = { since: now, from: tokens };
    const seconds = (now - this.rate.since) / 1000;
    return this.rate.since === 0 || seconds < 0.5 ? Number.NaN : (tokens - this.rate.from) / seconds;
  }
}

/** The server's words as a sentence. */
export function sentence(text: string): string {
  const said = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(said) ? said : `${said}.`;
}
