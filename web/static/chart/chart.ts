// The running KL to the reference, a line for each lane, with the same numbers as a table.

import { make, one, svg } from "../dom/dom";
import { formatLambda, formatNumber, hue } from "../lambda/lambda";
import { type Lane, klSeries, logRatio } from "../run/run";

const shortest = 180;
const label = 13; // px from one name at the end of a line to the next
const margin = { left: 40, right: 56, top: 8, bottom: 22 };

/** Round steps that cut a range into at most so many parts: 1, 2 or 5 times a power of ten. */
export function ticks(top: number, most: number): number[] {
  if (!(top > 0)) return [0];
  const raw = top / most;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = ([1, 2, 5, 10].find((m) => m * power >= raw * (1 - 1e-9)) ?? 10) * power;
  const marks: number[] = [];
  for (let i = 0; i * step <= top * (1 + 1e-9); i++) marks.push(i * step);
  return marks;
}

/** Heights for labels that would lie on each other: in order, so far apart where there is room for all, within the plot. */
export function spread(wanted: readonly number[], apart: number, low: number, high: number): number[] {
  const gap = Math.min(apart, (high - low) / Math.max(1, wanted.length - 1));
  const order = wanted.map((y, i) => ({ y, i })).sort((a, b) => a.y - b.y);
  let last = Number.NEGATIVE_INFINITY;
  for (const item of order) {
    item.y = Math.max(item.y, last + gap, low);
    last = item.y;
  }
  let next = high + gap;
  for (const item of order.reverse()) {
    item.y = Math.max(low, Math.min(item.y, next - gap));
    next = item.y;
  }
  const placed = [...wanted];
  for (const item of order) placed[item.i] = item.y;
  return placed;
}

export class KLChart {
  private last = "";
  private lanes: readonly Lane[] = [];
  private width = 0;
  private drawn = 0; // when, ms
  private timer = 0;
  private seen = true; // nothing is drawn out of sight

  constructor(private readonly box: HTMLElement) {
    new ResizeObserver(() => this.draw(this.lanes)).observe(box);
    if (typeof IntersectionObserver === "undefined") return;
    new IntersectionObserver((entries) => {
      this.seen = entries[entries.length - 1]?.isIntersecting ?? true;
      if (this.seen) this.draw(this.lanes);
    }, { rootMargin: "200px" }).observe(box);
    window.addEventListener("beforeprint", () => {
      this.seen = true;
      this.drawNow();
    });
  }

  /** Draws at most five times a second: a long run has thousands of points. */
  draw(lanes: readonly Lane[]): void {
    this.lanes = lanes;
    if (this.timer) return;
    const wait = this.drawn + 200 - performance.now();
    if (wait <= 0) this.drawNow();
    else {
      this.timer = window.setTimeout(() => {
        this.timer = 0;
        this.drawNow();
      }, wait);
    }
  }

  private drawNow(): void {
    const { lanes } = this;
    this.drawn = performance.now();
    const traced = lanes.filter((lane) => lane.traced);
    this.box.hidden = traced.length === 0;
    if (!this.seen) return;
    this.width = Math.max(280, one(this.box, "[data-chart-plot]").clientWidth);
    const state = `${this.width} ${traced.map((lane) => `${lane.index}:${lane.tokens.length}`).join(" ")}`;
    if (state === this.last) return;
    this.last = state;
    if (traced.length === 0) return;
    this.plot(traced);
    one(this.box, "[data-chart-rows]").replaceChildren(...lanes.map(row));
  }

  private plot(lanes: readonly Lane[]): void {
    const { width } = this;
    const height = Math.max(shortest, margin.top + margin.bottom + label * lanes.length); // every line has room for its name
    const series = lanes.map(klSeries);
    const tokens = Math.max(2, ...series.map((s) => s.length));
    const top = Math.max(1e-6, ...series.flatMap((s) => s.slice(-1)), ...series.map((s) => Math.max(...s)));
    const x = (i: number) => margin.left + ((width - margin.left - margin.right) * i) / (tokens - 1);
    const y = (v: number) => height - margin.bottom - ((height - margin.top - margin.bottom) * v) / top;
    const parts: Node[] = [];
    for (const v of ticks(top, 4)) {
      parts.push(svg("line", { class: "grid", x1: margin.left, x2: width - margin.right, y1: y(v), y2: y(v) }));
      parts.push(svg("text", { class: "tick", x: margin.left - 6, y: y(v) + 4, "text-anchor": "end" }, formatNumber(v, 3)));
    }
    for (const t of ticks(tokens, 8).slice(1)) {
      parts.push(svg("text", { class: "tick", x: x(t - 1), y: height - 6, "text-anchor": "middle" }, formatNumber(t, 0)));
    }
    const ends = spread(series.map((s) => y(s[s.length - 1] ?? 0)), label, margin.top + 4, height - margin.bottom);
    for (const [k, lane] of lanes.entries()) {
      const s = series[k] ?? [];
      const every = Math.ceil(s.length / 600);
      const points = s.flatMap((v, i) => (i % every === 0 || i === s.length - 1 ? [`${x(i).toFixed(1)},${y(v).toFixed(1)}`] : [])).join(" ");
      const step = hue(lane.lambda);
      parts.push(svg("polyline", { class: "line", "data-hue": step, points }));
      const last = s.length - 1;
      parts.push(svg("circle", { class: "dot", "data-hue": step, cx: x(last), cy: y(s[last] ?? 0), r: 2.5 }));
      parts.push(svg("text", { class: "name", "data-hue": step, x: Math.min(x(last) + 8, width - margin.right + 8), y: (ends[k] ?? 0) + 4 }, `λ ${formatLambda(lane.lambda)}`));
    }
    const title = `Running KL of ${lanes.length} lanes; the table below has the numbers`;
    const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title }, ...parts);
    one(this.box, "[data-chart-plot]").replaceChildren(drawing);
  }
}

function row(lane: Lane): HTMLElement {
  const n = lane.tokens.length;
  const ratio = lane.tokens.reduce((sum, token) => sum + (logRatio(token) ?? 0), 0);
  const cell = (text: string) => make("td", {}, text);
  return make(
    "tr", {},
    make("th", { scope: "row" }, formatLambda(lane.lambda)),
    cell(String(n)),
    cell(lane.traced ? formatNumber(lane.kl, 2) : "–"),
    cell(lane.traced && n > 0 ? formatNumber(lane.kl / n, 3) : "–"),
    cell(lane.traced ? formatNumber(ratio, 2) : "–"),
  );
}
