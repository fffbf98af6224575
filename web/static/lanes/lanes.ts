// The lanes beside each other: what of them is drawn when, and where neighbours part. The playground and a comparison both use it.

import { all, make, one } from "../dom/dom";
import { Inspector } from "../inspect/inspect";
import { formatLambda } from "../lambda/lambda";
import { KLChart } from "../chart/chart";
import { type Run, Partings } from "../run/run";
import { Column, type ColumnEvents } from "./column";
import { Copies } from "./copies";
import type { Bounds } from "./lambdainputs";
import { scrollTogether } from "./scroll";
import { Tokens } from "./tokens";
import { View } from "./view";

export interface StageEvents extends ColumnEvents {
  /** Continue a lane from another token than the one it chose. */
  branch(column: Column, index: number, id: number): void;
}

/** So many columns are drawn in one frame: the next one has the others. */
const perFrame = 3;

export class Stage {
  columns: Column[] = [];
  run: Run | null = null;
  readonly box: HTMLElement;
  readonly inspector: Inspector;
  readonly view: View;
  private readonly tokens: Tokens;
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
    this.tokens = new Tokens(this);
    const branch = (span: HTMLElement, id: number) => {
      const column = this.columnOf(span);
      if (column) bench?.branch(column, Number(span.dataset.i), id);
    };
    this.inspector = new Inspector(one(root, "[data-inspector]"), branch, (span) => this.tokens.focus(span));
    this.view = new View(root, this.box, () => this.columns);
    new Copies(root, () => this.columns);
    this.tokens.wire();
    scrollTogether(this.box);
    for (const column of this.columns) this.tokens.wireColumn(column);
  }

  /** Makes a column from the page's template, after another or at the end. */
  add(lambda: readonly number[], sample: number, after?: Column, weights = after?.weights ?? false): Column {
    const template = one<HTMLTemplateElement>(this.root, "[data-lane-template]");
    const element = (template.content.firstElementChild as HTMLElement).cloneNode(true) as HTMLElement;
    const column = new Column(element, this.bench, this.betas, this.bounds);
    column.most = this.run?.spec.sampling.max_tokens ?? 0;
    column.setLambda(lambda);
    column.setSample(sample);
    column.setWeights(weights);
    column.bind(null);
    this.tokens.wireColumn(column);
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
    this.dirty.delete(column);
    column.element.remove();
    this.draw();
  }

  /** Puts its columns into an order. */
  arrange(columns: readonly Column[]): void {
    this.columns = [...columns];
    this.box.append(...columns.map((column) => column.element));
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
    for (const column of this.columns) column.most = run?.spec.sampling.max_tokens ?? 0;
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
      this.some([...this.dirty].slice(0, perFrame));
      if (this.dirty.size > 0) this.draw();
    });
  }

  /** Draws now what draw would draw later. */
  flush(): void {
    this.some([...this.dirty]);
  }

  /** First everything is written, then read: a frame lays the page out once. */
  private some(columns: readonly Column[]): void {
    for (const column of columns) {
      this.dirty.delete(column);
      column.update();
    }
    const parted = this.part();
    for (const column of columns) column.text.follow();
    this.view.drew([...columns, ...parted]);
    this.chart.draw(this.columns.flatMap((column) => (column.lane ? [column.lane] : [])));
  }

  /** Marks where neighbours part. Those where that is another place than before are returned. */
  private part(): Column[] {
    const at = (a?: Column, b?: Column) => (a?.lane && b?.lane ? this.partings.between(a.lane, b.lane) : -1);
    return this.columns.filter((column, i) => {
      const left = this.columns[i - 1];
      const before = column.text.parts;
      column.setPartings(at(left, column), at(column, this.columns[i + 1]), left?.lane ? formatLambda(left.lane.lambda) : "");
      return column.text.parts !== before;
    });
  }
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
