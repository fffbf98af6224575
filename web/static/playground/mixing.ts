// Mixing models: the names and colours of those that are mixed, with a pad for two of them. Its points are the lanes, or the two
// ends of what the slider moves along.

import { extras } from "../base/extras";
import type { Compose } from "../compose/compose";
import { make, one } from "../dom/dom";
import { hue } from "../lambda/lambda";
import type { Column } from "../lanes/column";
import { mixtureWords } from "../map/along";
import type { Pad, PadPoint } from "../pad/pad";

export interface MixingHost {
  readonly compose: Compose;
  changed(): void;
}

interface Point {
  label: string;
  mark: string;
  value: number[];
  move(value: number[], settled: boolean): void;
}

export class Mixing {
  private readonly box: HTMLElement;
  private pad: Promise<Pad> | null = null; // once two models are mixed
  private points: Point[] = [];
  private drawn = "";

  constructor(
    private readonly page: HTMLElement,
    private readonly host: MixingHost,
  ) {
    this.box = one(page, "[data-mixing]");
  }

  /** Shows what is mixed: of lanes side by side, or of the slider where there are none. */
  draw(columns: readonly Column[] | null): void {
    const { models } = this.host.compose;
    this.box.hidden = models.length < 2;
    if (models.length < 2) return;
    this.points = columns ? columns.map((column, i) => this.lane(column, i)) : (["from", "to"] as const).map((end) => this.end(end));
    const key = JSON.stringify([models, this.points]);
    if (key === this.drawn) return;
    this.drawn = key;
    const names = models.map((m) => m.name);
    one(this.box, "[data-mixing-models]").replaceChildren(
      make("li", { class: "mixing-model", "data-model": "0" }, "Reference: 1 less the sum"),
      ...models.map(({ name, beta }, i) =>
        make("li", { class: "mixing-model", "data-model": String(i + 1) }, name, ...(beta > 0 && !name.includes("β") ? [make("span", { class: "faint num" }, `β ${beta}`)] : []))),
    );
    one(this.box, "[data-mixing-sums]").replaceChildren(
      ...this.points.flatMap(({ label, value }) => [make("dt", {}, label), make("dd", { class: "num" }, mixtureWords(names, value))]),
    );
    const two = models.length === 2;
    const svg = one(this.box, "[data-pad]");
    svg.toggleAttribute("hidden", !two);
    if (two) void this.drawPad(key, names, columns === null);
  }

  private async drawPad(key: string, names: readonly string[], line: boolean): Promise<void> {
    this.pad ??= extras().then(({ Pad }) => new Pad(one(this.page, "[data-pad]") as unknown as SVGElement, {
      moved: (place, value, settled) => this.points[place]?.move(value, settled),
    }));
    this.pad.catch(() => (this.pad = null)); // the next change tries again
    const pad = await this.pad;
    if (key === this.drawn) pad.draw(names, this.points.map(padPoint), line); // nothing has changed meanwhile
  }

  private lane(column: Column, i: number): Point {
    return { label: `Lane ${i + 1}`, mark: String(i + 1), value: [...column.lambda], move: (value, settled) => column.move(value, settled) };
  }

  private end(end: "from" | "to"): Point {
    const { range } = this.host.compose;
    return {
      label: end === "from" ? "A, where the slider begins" : "B, where it ends", mark: end === "from" ? "A" : "B", value: range.end(end),
      move: (value, settled) => {
        range.set(end, value);
        if (settled) this.host.changed();
        else this.draw(null);
      },
    };
  }
}

function padPoint({ label, mark, value }: Point): PadPoint {
  const [a = 0, b = 0] = value.map((x) => (Number.isNaN(x) ? 0 : x));
  return { label, mark, value: [a, b], hue: hue([a, b]) };
}
