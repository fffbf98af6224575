// The text that is read under the slider: as the models wrote it, or as Markdown. Both say where texts at other λ go another way.

import { at } from "../base/base";
import { all, make, one } from "../dom/dom";
import { type Shown, keepShown, keptShown, onShown } from "../markup/shown";
import { thoughtLength } from "../thought/thought";
import { type Branch, type Piece, ending, known, pieces } from "./along";

type Markdown = typeof import("../markdown");

export class Written {
  private readonly raw: HTMLElement;
  private readonly rendered: HTMLElement;
  private markdown: Markdown | null = null; // once it is asked for
  private branch: Branch | null = null;
  private growing = false;
  private stands = ""; // what is in raw
  private renderedStands = "";

  constructor(private readonly section: HTMLElement) {
    this.raw = one(section, "[data-map-text]");
    this.rendered = one(section, "[data-map-markdown]");
    const choice = one(section, "[data-map-written]");
    choice.addEventListener("change", (event) => keepShown((event.target as HTMLInputElement).value as Shown));
    onShown(section, (view) => this.choose(view));
    this.choose(keptShown());
  }

  /** Names the text for those who hear it. */
  label(words: string): void {
    this.raw.setAttribute("aria-label", words);
    this.rendered.setAttribute("aria-label", `${words}, as Markdown`);
  }

  /** Shows a text. What stands there already is left alone: it may be selected. */
  show(branch: Branch, growing: boolean): void {
    this.branch = branch;
    this.growing = growing;
    const says = JSON.stringify([branch.pieces, branch.at, branch.reason, growing]);
    if (says !== this.stands) this.raw.replaceChildren(...words(branch, growing));
    this.stands = says;
    this.render();
  }

  private choose(view: Shown): void {
    const rendered = view === "rendered";
    for (const radio of all<HTMLInputElement>(this.section, "[data-map-written] input")) radio.checked = (radio.value === "rendered") === rendered;
    this.section.toggleAttribute("data-rendered", rendered && this.markdown !== null);
    if (!rendered) return;
    if (this.markdown) this.render();
    else void this.fetch();
  }

  /** The raw text stands until the renderer is here. */
  private async fetch(): Promise<void> {
    try {
      this.markdown = (await import(at("/static/markdown.js"))) as Markdown;
    } catch {
      return keepShown("plain"); // it could not be fetched: the text is there as it is
    }
    this.choose(keptShown());
  }

  private render(): void {
    const { branch, markdown, rendered } = this;
    if (!branch || !markdown || !this.section.hasAttribute("data-rendered") || this.renderedStands === this.stands) return;
    this.renderedStands = this.stands;
    const parts = afterThought(pieces(branch));
    rendered.innerHTML = markdown.render(parts.map(({ text }) => text).join("")); // markup in the text is text there
    markdown.highlight(rendered, parts, (kind) => (kind === "last" ? make("mark", { class: "map-last" }) : make("span", { "data-kind": kind })));
    const rest = after(branch, this.growing);
    if (rest) (rendered.lastElementChild instanceof HTMLParagraphElement ? rendered.lastElementChild : rendered).append(rest);
  }
}

/** The text of a branch as nodes, as the server writes it. */
export function words(branch: Branch, growing = false): HTMLElement[] {
  const list: HTMLElement[] = pieces(branch).map(({ text, kind }) =>
    kind === "last" ? make("mark", { class: "map-last" }, text) : make("span", { "data-kind": kind }, text));
  const rest = after(branch, growing);
  return rest ? [...list, rest] : list;
}

/** What stands after a text that is not whole: a caret while it grows, or why there is no more. */
function after(branch: Branch, growing: boolean): HTMLElement | null {
  if (growing && branch.reason === "") return make("span", { class: "map-more", "aria-hidden": "true" });
  return known(branch) ? null : make("span", { class: "map-rest" }, `… ${ending(branch)}`);
}

/** The pieces without what a thinking model considers first. */
function afterThought(list: readonly Piece[]): Piece[] {
  let left = thoughtLength(list.map(({ text }) => text).join(""));
  return list.map(({ text, kind }) => {
    const cut = Math.min(left, text.length);
    left -= cut;
    return { text: text.slice(cut), kind };
  });
}
