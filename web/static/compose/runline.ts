// The line under the prompt: the buttons that run and stop, and how far what is decoded has come.

import { one, write } from "../dom/dom";

export class RunLine {
  constructor(private readonly form: HTMLElement) {}

  /** Words, and how far it has come from 0 to 1 (null: no bar). */
  progress(text: string, part: number | null): void {
    write(one(this.form, "[data-progress-words]"), text);
    const bar = one<HTMLProgressElement>(this.form, "[data-progress-bar]");
    bar.hidden = part === null;
    if (part !== null) bar.value = part;
  }

  /** Whether something is decoded, and whether the run button would ask for the same again. */
  running(running: boolean, again: boolean): void {
    one(this.form, "[data-stop-all]").hidden = !running;
    write(one(this.form, "[data-run-words]"), again ? "Again" : "Run");
    one(this.form, "[data-run-more]").hidden = !again;
  }
}
