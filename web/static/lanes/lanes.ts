// The lanes beside each other: where neighbours part, how the text is shown, and moving through tokens by
// keyboard. The playground and a comparison both use it.

import { all, make, one } from "../dom/dom";
import { Inspector } from "../inspect/inspect";
import { formatLambda } from "../lambda/lambda";
import { KLChart } from "../chart/chart";
import { type Run, type Token, Partings, tokenName } from "../run/run";
import { type Bounds, Column, type ColumnEvents } from "./column";

export interface StageEvents extends ColumnEvents {
  /** Continue a lane from another token than the one it chose. */
  branch(column: Column, index: number, id: number): void;
}

export class Stage {
  columns: Column[] = [];
  run: Run | null = null;
  readonly box: HTMLElement;
  readonly inspector: Inspector;
  private readonly chart: KLChart;
  private partings = new Partings();
  private readonly dirty = new Set<Column>();
  private scheduled = false;

  constructor(
    private readonly root: HTMLElement,
    private readonly bench: StageEvents | null,
    private betas: readonly number[],
    private bounds: Bounds,
  ) {
    this.box = one(root, "[data-lanes]");
    this.columns = all(this.box, "[data-lane]").map((element) => new Column(element, bench, betas, bounds));
    this.chart = new KLChart(one(root, "[data-chart]"));
    const branch = (span: HTMLElement, id: number) => {
      const column = this.columnOf(span);
      if (column) bench?.branch(column, Number(span.dataset.i), id);
    };
    this.inspector = new Inspector(one(root, "[data-inspector]"), branch, (span) => this.focus(span));
    this.wireView();
    this.wireTokens();
    for (const column of this.columns) this.wireColumn(column);
  }

  /** Makes a column from the page's template, after another or at the end. */
  add(lambda: readonly number[], sample: number, after?: Column): Column {
    const template = one<HTMLTemplateElement>(this.root, "[data-lane-template]");
    const element = (template.content.firstElementChild as HTMLElement).cloneNode(true) as HTMLElement;
    const column = new Column(element, this.bench, this.betas, this.bounds);
    column.setLambda(lambda);
    column.setSample(sample);
    column.bind(null);
    this.wireColumn(column);
    if (after) {
      after.element.after(element);
      this.columns.splice(this.columns.indexOf(after) + 1, 0, column);
    } else {
      this.box.append(element);
      this.columns.push(column);
    }
    this.draw();
    return column;
  }

  remove(column: Column): void {
    this.inspector.close();
    this.columns = this.columns.filter((other) => other !== column);
    column.element.remove();
    this.draw();
  }

  setModels(betas: readonly number[], bounds: Bounds, labels: readonly string[]): void {
    this.betas = betas;
    this.bounds = bounds;
    for (const column of this.columns) column.setModels(betas, bounds, labels);
  }

  /** Another run, or none, is on the bench. */
  setRun(run: Run | null): void {
    this.run = run;
    this.partings = new Partings();
    this.inspector.close();
    this.inspector.names = run?.spec.aligned ?? [];
  }

  columnOf(node: Node | null): Column | undefined {
    const element = node instanceof Element ? node.closest("[data-lane]") : null;
    return this.columns.find((column) => column.element === element);
  }

  columnFor(index: number): Column | undefined {
    return this.columns.find((column) => column.lane?.index === index);
  }

  /** Draws again at the next frame: a column whose lane has news, or only what lies between columns. */
  draw(column?: Column): void {
    if (column) this.dirty.add(column);
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      this.flush();
    });
  }

  /** Draws now what draw would draw later. */
  flush(): void {
    for (const column of this.dirty) column.update();
    this.dirty.clear();
    for (const [i, column] of this.columns.entries()) {
      const left = this.columns[i - 1];
      const right = this.columns[i + 1];
      const at = (a?: Column, b?: Column) => (a?.lane && b?.lane ? this.partings.between(a.lane, b.lane) : -1);
      column.setPartings(at(left, column), at(column, right), left?.lane ? formatLambda(left.lane.lambda) : "");
    }
    this.chart.draw(this.columns.flatMap((column) => (column.lane ? [column.lane] : [])));
  }

  setView(view: string): void {
    this.box.dataset.shown = view;
    for (const radio of all<HTMLInputElement>(this.root, '[data-view] input[type="radio"]')) radio.checked = radio.value === view;
    try {
      localStorage.setItem("realign.view", view);
    } catch {
      // A browser that keeps nothing shows the text plain next time.
    }
  }

  get view(): string {
    return this.box.dataset.shown ?? "plain";
  }

  private wireView(): void {
    const box = one(this.root, "[data-view]");
    box.hidden = false;
    box.addEventListener("change", (event) => this.setView((event.target as HTMLInputElement).value));
    let kept: string | null = null;
    try {
      kept = localStorage.getItem("realign.view");
    } catch {
      kept = null;
    }
    if (kept === "ratio" || kept === "tokens") this.setView(kept);
  }

  private wireColumn(column: Column): void {
    one(column.element, "[data-parting-button]").addEventListener("click", () => {
      const span = column.span(column.partsLeft);
      if (span) this.focusToken(span);
    });
  }

  private wireTokens(): void {
    const tokenAt = (target: EventTarget | null) =>
      target instanceof Element ? target.closest<HTMLElement>(".t[data-i]") : null;
    this.box.addEventListener("pointerover", (event) => {
      const span = tokenAt(event.target);
      if (span && event.pointerType === "mouse") this.inspector.hover(span, () => this.describe(span));
    });
    this.box.addEventListener("pointerout", (event) => {
      if (event.pointerType === "mouse" && tokenAt(event.target)) this.inspector.leave();
    });
    this.box.addEventListener("click", (event) => {
      const span = tokenAt(event.target);
      if (span && (getSelection()?.isCollapsed ?? true)) {
        this.focusToken(span);
        this.inspector.pin(span, this.describe(span));
      }
    });
    this.box.addEventListener("keydown", (event) => this.key(event));
    this.box.addEventListener("focusout", (event) => {
      const span = tokenAt(event.target);
      if (span) unmark(span);
    });
  }

  private describe(span: HTMLElement) {
    const column = this.columnOf(span);
    const index = Number(span.dataset.i);
    const token = column?.lane?.tokens[index];
    return token ? { token, index } : null;
  }

  private focusToken(span: HTMLElement): void {
    this.focus(span);
    span.scrollIntoView({ block: "nearest" });
    this.inspector.show(span, this.describe(span));
  }

  private focus(span: HTMLElement): void {
    const about = this.describe(span);
    if (!about) return;
    mark(span, about.token, about.index, this.inspector.id);
    span.focus();
  }

  /** Keys inside the text of a lane. */
  private key(event: KeyboardEvent): void {
    const target = event.target as HTMLElement;
    if (!target.closest("[data-text]") || event.ctrlKey || event.metaKey || event.altKey) return;
    const column = this.columnOf(target);
    const tokens = column?.lane?.tokens ?? [];
    if (!column || tokens.length === 0) return;
    const here = target.matches(".t") ? Number(target.dataset.i) : -1;
    let to: number;
    switch (event.key) {
      case "ArrowRight":
        to = here + 1;
        break;
      case "ArrowLeft":
        to = here - 1;
        break;
      case "Home":
        to = 0;
        break;
      case "End":
        to = tokens.length - 1;
        break;
      case "d":
        to = column.partsLeft >= 0 ? column.partsLeft : column.partsRight;
        break;
      case "Enter":
      case " ":
        if (here < 0) return;
        event.preventDefault();
        this.inspector.pin(target, this.describe(target));
        this.inspector.focus();
        return;
      case "Escape":
        if (this.inspector.close()) {
          event.preventDefault();
          event.stopPropagation();
        }
        return;
      default:
        return;
    }
    event.preventDefault();
    event.stopPropagation();
    const span = column.span(Math.max(0, Math.min(tokens.length - 1, to)));
    if (span && to >= 0) this.focusToken(span);
  }
}

/** A token is text until it has the focus: only then is it a button, so that text reads as text. */
function mark(span: HTMLElement, token: Token, index: number, controls: string): void {
  span.tabIndex = -1;
  span.setAttribute("role", "button");
  span.setAttribute("aria-haspopup", "dialog");
  span.setAttribute("aria-controls", controls);
  span.setAttribute("aria-label", `Token ${index + 1}: ${tokenName(token).trim() || "white space"}`);
}

function unmark(span: HTMLElement): void {
  for (const name of ["tabindex", "role", "aria-haspopup", "aria-controls", "aria-label"]) span.removeAttribute(name);
}

/** The messages before a prompt, as the page shows them. */
export function turnsList(messages: readonly { role: string; content: string }[]): HTMLElement {
  return make(
    "ol",
    { class: "turns" },
    ...messages.map((m) =>
      make("li", { class: "turn-of", "data-role": m.role },
        make("span", { class: "turn-role" }, m.role), make("p", { class: "turn-text", dir: "auto" }, m.content)),
    ),
  );
}
