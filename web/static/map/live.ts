// A run that is a λ-map, while it grows: what is certain so far is read at once, and the drawing follows.

import { at } from "../base/base";
import { one } from "../dom/dom";
import { type RunError, type RunEvent, type ServerFrame, type Spec, asLine } from "../protocol/protocol";
import type { Along } from "./along";
import { GrowingMap } from "./growing";
import { MapSection } from "./map";
import { drawStops } from "./stops";

export interface MapRunEvents {
  failed(message: string): void;
  /** λ that somebody looks at while the map grows: it is decoded from there. */
  focus(run: string, lambda: number): void;
  /** λ was let go. */
  settled(lambda: number): void;
  /** What is read was asked for as this; null of an example, which nothing goes on from. */
  spec(): Spec | null;
  reply(text: string): void;
  writeOn(): void;
}

export class MapRun {
  id = "";
  spec: Spec | null = null;
  ended = true;
  error: RunError | undefined;
  drawn = false; // the page came with all of it
  lambda = 1; // of the thumb
  private seq = 0;
  private growing: GrowingMap | null = null;
  private section: MapSection | null = null;
  private drawing = false;
  private stale = false;
  private frame = false; // what has come is shown at the next frame
  private timer = 0; // of a move of the focus

  constructor(
    private readonly place: HTMLElement,
    private readonly template: HTMLTemplateElement,
    private readonly events: MapRunEvents,
  ) {
    const drawn = place.querySelector<HTMLElement>("[data-map]");
    if (drawn) this.section = this.wire(drawn); // the example, until a run begins
  }

  /** Takes over a map that the page came with. */
  adopt(id: string, spec: Spec): void {
    this.id = id;
    this.spec = spec;
    const drawn = this.place.querySelector<HTMLElement>("[data-map]");
    if (!drawn) return;
    this.drawn = this.ended = drawn.dataset.mapState !== "growing";
    this.section?.offer();
    if (!this.ended && this.section) this.grow(spec, this.section.along);
  }

  begin(id: string, spec: Spec, models: Along, lanesURL: string): void {
    this.leave();
    this.id = id;
    this.spec = spec;
    this.ended = false;
    const along = { ...models, ...(spec.map?.line ? { line: asLine(spec.map.line) } : {}) };
    this.show(along, lanesURL);
    this.grow(spec, along);
    this.section?.take((this.growing as GrowingMap).data(), true);
  }

  /** An empty section, for a map that begins or for a text that is decoded at one λ. */
  show(along: Along, lanesURL: string, range?: { from: number; to: number }): MapSection {
    const map = range ?? this.spec?.map ?? { from: 0, to: 2 };
    const element = (this.template.content.firstElementChild as HTMLElement).cloneNode(true) as HTMLElement;
    element.dataset.map = JSON.stringify({ from: map.from, to: map.to, ...along, branches: [{ from: map.from, to: map.to, reason: "", pieces: [], at: [], part: 0 }] });
    element.dataset.mapLanes = lanesURL;
    one(element, "[data-map-symbol]").textContent = along.line ? "place" : "λ";
    drawStops(one(element, ".map-stops"), { ...along, from: map.from, to: map.to });
    const slider = one<HTMLInputElement>(element, "[data-map-slider]");
    slider.min = String(map.from);
    slider.max = String(map.to);
    slider.step = String((map.to - map.from) / 400);
    one<HTMLInputElement>(element, "[data-map-number]").value = String(Math.min(Math.max(this.lambda, map.from), map.to));
    const focused = this.place.contains(document.activeElement) && (document.activeElement as HTMLElement).matches("[data-map-slider]");
    this.place.replaceChildren(element);
    this.section = this.wire(element);
    if (focused) one(element, "[data-map-slider]").focus();
    return this.section;
  }

  leave(): void {
    clearTimeout(this.timer);
    this.timer = 0;
    Object.assign(this, { id: "", spec: null, ended: true, drawn: false, error: undefined, seq: 0, growing: null, stale: false });
  }

  /** Takes a frame that is about it. */
  take(frame: ServerFrame): boolean {
    if (this.id === "" || !("run" in frame) || frame.run !== this.id) return false;
    if (frame.type === "events") {
      for (const [i, event] of frame.events.entries()) {
        if (frame.first + i <= this.seq) continue;
        this.seq = frame.first + i;
        this.event(event);
      }
      this.showSoon();
      void this.draw();
      return true;
    }
    if (frame.type === "error" && frame.code === "unavailable" && !frame.ref && !this.ended) {
      this.ended = true;
      this.error = { code: frame.code, message: frame.message };
      void this.draw();
      return true;
    }
    return frame.type === "caught_up";
  }

  private event(event: RunEvent): void {
    this.growing?.take(event);
    if (event.type !== "end") return;
    this.ended = true;
    this.error = event.error;
  }

  /** Words, and how far it has come from 0 to 1. */
  progress(): { text: string; part: number } {
    const texts = this.growing?.texts ?? 0;
    return { text: `Decoding along λ: ${texts} text${texts === 1 ? "" : "s"} so far`, part: Math.min(1, this.growing?.covered ?? 0) };
  }

  private grow(spec: Spec, along: Along): void {
    const { from, to } = spec.map ?? { from: 0, to: 2 };
    this.growing = new GrowingMap(from, to, along);
  }

  private wire(element: HTMLElement): MapSection {
    const section = new MapSection(element, {
      moved: (lambda) => this.moved(lambda),
      settled: (lambda) => this.events.settled(lambda),
      goesOn: () => this.events.spec() !== null,
      reply: (text) => this.events.reply(text),
      writeOn: () => this.events.writeOn(),
    });
    this.lambda = section.lambda;
    return section;
  }

  /** The focus follows the thumb, as often as the server takes it. */
  private moved(lambda: number): void {
    this.lambda = lambda;
    if (this.ended || !this.spec?.map?.live || this.timer !== 0) return;
    this.timer = window.setTimeout(() => {
      this.timer = 0;
      if (!this.ended && this.id) this.events.focus(this.id, this.lambda);
    }, 60);
  }

  private showSoon(): void {
    if (this.frame) return;
    this.frame = true;
    requestAnimationFrame(() => {
      this.frame = false;
      if (this.growing && this.section) this.section.take(this.growing.data(), !this.ended);
    });
  }

  /** Asks for the section as it is now: one request at a time, the last one after the end. */
  private async draw(): Promise<void> {
    this.stale = true;
    if (this.drawing) return;
    this.drawing = true;
    const { id } = this;
    while (this.stale && this.id === id) {
      this.stale = false;
      try {
        const answer = await fetch(at(`/runs/${id}/map`), { headers: { "X-Requested-With": "fetch" } });
        if (!answer.ok) throw new Error(`The server answered ${answer.status}.`);
        const drawn = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector<HTMLElement>("[data-map]");
        if (this.id === id && drawn) this.section?.update(drawn);
      } catch (error) {
        if (this.ended) this.events.failed(`The map could not be shown: ${error instanceof Error ? error.message : error} Load the page again.`);
      }
      if (this.stale) await new Promise((resolve) => setTimeout(resolve, 500));
    }
    this.drawing = false;
    if (this.stale) void this.draw();
  }
}
