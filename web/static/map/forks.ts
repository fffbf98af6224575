// Why a λ-map forks: the panel that explains one fork at a time.

import { all, make, one } from "../dom/dom";
import { type Branch, type MapData, between, branchAt } from "./along";

/** What the panel needs of the map around it. */
export interface ForksHost {
  readonly data: MapData;
  move(lambda: number): void;
  say(text: string): void;
}

export class Forks {
  private open = ""; // number of the fork that is explained; "" is none
  private quiet = false; // a mark gets the focus back, and its fork need not be explained again

  constructor(
    private readonly section: HTMLElement,
    private readonly host: ForksHost,
  ) {
    section.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.open !== "") {
        event.preventDefault();
        this.close();
      }
    });
  }

  private get panel(): HTMLElement {
    return one(this.section, "[data-map-why]");
  }

  /** λ of the fork that is explained, as the server drew it. */
  get explained(): string | undefined {
    return this.open === "" ? undefined : this.section.querySelector<HTMLElement>(`[data-map-fork="${this.open}"]`)?.dataset.lambda;
  }

  /** A mark got the focus. */
  focused(fork: string): void {
    if (!this.quiet) this.explain(fork);
  }

  /** The words of the panel get the focus. */
  enter(): void {
    this.panel.focus();
  }

  explain(fork: string): void {
    const source = this.section.querySelector<HTMLElement>(`[data-map-fork="${fork}"]`);
    if (!source || fork === this.open) return;
    this.open = fork;
    const lambda = Number(source.dataset.lambda);
    for (const mark of all(this.section, "[data-map-mark]")) {
      const on = mark.dataset.mapMark === fork;
      mark.toggleAttribute("data-on", on);
      mark.setAttribute("tabindex", on ? "0" : "-1");
    }
    const close = make("button", { type: "button", class: "button button-quiet button-small" }, "Close");
    close.addEventListener("click", () => this.close());
    const { branches } = this.host.data;
    const place = branchAt(this.host.data, lambda);
    const go = (to: Branch | undefined, label: string) => {
      const button = make("button", { type: "button", class: "button button-small" }, label);
      button.addEventListener("click", () => to && this.host.move(between(to)));
      return button;
    };
    const copy = [...source.childNodes].map((node) => node.cloneNode(true));
    const { panel } = this;
    panel.replaceChildren(
      make("div", { class: "map-why-head" }, make("h3", {}, "Why it forks"), close), ...copy,
      make("div", { class: "row" }, go(branches[place - 1], "Text below it"), go(branches[place], "Text above it")),
    );
    panel.hidden = false;
    this.host.say(panel.querySelector(".map-sentence")?.textContent ?? "");
  }

  /** The map was drawn anew: the fork that was explained, at a λ, is explained again. Its number may be another. */
  redrawn(lambda: string | undefined): void {
    if (this.open === "") return;
    const again = all<HTMLElement>(this.section, "[data-map-fork]").find((fork) => fork.dataset.lambda === lambda)?.dataset.mapFork;
    if (again === undefined) return this.close();
    if (this.panel.contains(document.activeElement)) {
      this.open = again; // somebody reads in it, or is about to press one of its buttons
      return;
    }
    this.open = "";
    this.explain(again);
  }

  private close(): void {
    const { panel } = this;
    const within = panel.contains(document.activeElement);
    panel.hidden = true;
    const mark = this.section.querySelector<HTMLElement>(`[data-map-mark="${this.open}"]`);
    this.open = "";
    mark?.removeAttribute("data-on");
    this.quiet = true;
    if (within) mark?.focus();
    this.quiet = false;
  }
}
