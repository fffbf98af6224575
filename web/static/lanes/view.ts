// How the texts of the lanes are shown: as they are, as Markdown, coloured, or token by token; and a mode for reading.

import { at } from "../base/base";
import { all, make, one } from "../dom/dom";
import { type Shown, keepShown, keptShown, onShown } from "../markup/shown";
import type { Column } from "./column";

type Markdown = typeof import("../markdown");

export class View {
  private markdown: Markdown | null = null; // once it is asked for
  private readonly stale = new Set<Column>();
  private timer = 0;

  constructor(
    private readonly root: HTMLElement,
    private readonly box: HTMLElement,
    private readonly columns: () => readonly Column[],
  ) {
    const choice = one(root, "[data-view]");
    choice.hidden = false;
    choice.addEventListener("change", (event) => keepShown((event.target as HTMLInputElement).value as Shown));
    const reading = one(root, "[data-reading-toggle]");
    reading.hidden = false;
    reading.addEventListener("click", () => this.read(!this.reading));
    one(root, "[data-together]").hidden = false;
    onShown(box, (view) => this.show(view));
    this.show(keptShown());
  }

  get shown(): Shown {
    return (this.box.dataset.shown ?? "plain") as Shown;
  }

  /** Chooses for all texts, and keeps the choice. */
  set(view: Shown): void {
    keepShown(view);
  }

  private show(view: Shown): void {
    this.box.dataset.shown = view;
    for (const radio of all<HTMLInputElement>(this.root, '[data-view] input[type="radio"]')) radio.checked = radio.value === view;
    if (view === "rendered") this.drew(this.columns());
  }

  get reading(): boolean {
    return "reading" in this.root.dataset;
  }

  /** Shows the texts alone, whole and in larger letters, or the bench again. False if it is so already. */
  read(on: boolean): boolean {
    if (on === this.reading) return false;
    this.root.toggleAttribute("data-reading", on);
    one(this.root, "[data-reading-toggle]").setAttribute("aria-pressed", String(on));
    return true;
  }

  /** Columns have news: they are rendered anew, a few times a second. */
  drew(columns: readonly Column[]): void {
    if (this.shown !== "rendered") return;
    for (const column of columns) this.stale.add(column);
    if (this.timer || this.stale.size === 0) return;
    this.timer = window.setTimeout(() => void this.render(), this.markdown ? 300 : 0);
  }

  private async render(): Promise<void> {
    try {
      this.markdown ??= (await import(at("/static/markdown.js"))) as Markdown;
      for (const column of this.stale) {
        const place = one(column.element, "[data-markdown]");
        const parts = column.text.rendered();
        place.innerHTML = this.markdown.render(parts.map(({ text }) => text).join("")); // markup in the text is text there
        this.markdown.highlight(place, parts, (kind) => make("span", { class: "t", "data-part": kind }));
      }
      this.stale.clear();
    } catch {
      keepShown("plain"); // the renderer could not be fetched: the text is there as it is
    } finally {
      this.timer = 0;
    }
  }
}
