// The conversation before a prompt: what a lane of another run said with all before it, or messages of its own.

import { one } from "../dom/dom";
import { turnsList } from "../lanes/lanes";
import type { Message, Spec } from "../protocol/protocol";

/** The lane that a conversation goes on from. */
export type Parent = { run: string; lane: number } | null;

export class Before {
  parent: Parent = null;
  history: Message[] = []; // to be shown; with a parent the server finds it again

  constructor(
    private readonly form: HTMLFormElement,
    cleared: () => void,
  ) {
    this.history = JSON.parse(form.dataset.history ?? "[]");
    if (form.dataset.parentRun) this.parent = { run: form.dataset.parentRun, lane: Number(form.dataset.parentLane) };
    const clear = one(form, "[data-before-clear]");
    clear.hidden = false;
    clear.addEventListener("click", () => {
      this.set(null, []);
      cleared();
    });
    this.draw();
  }

  set(parent: Parent, history: readonly Message[]): void {
    this.parent = parent;
    this.history = [...history];
    this.draw();
  }

  /** Adds it to a spec of what the form asks for. */
  addTo(spec: Spec): void {
    if (this.parent) spec.parent = this.parent;
    else if (this.history.length > 0) spec.history = this.history;
  }

  private draw(): void {
    const box = one(this.form, "[data-before]");
    box.hidden = this.history.length === 0 && !this.parent;
    one(box, "[data-before-turns]").replaceChildren(turnsList(this.history));
  }
}
