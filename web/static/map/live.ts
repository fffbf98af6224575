// A run that is a λ-map, while it grows: how far it has come, and the section that shows it.

import { at } from "../base/base";
import type { RunError, RunEvent, ServerFrame, Spec } from "../protocol/protocol";
import { MapSection } from "./map";

export class MapRun {
  id = "";
  spec: Spec | null = null;
  ended = true;
  error: RunError | undefined;
  drawn = false; // the page came with all of it
  private seq = 0;
  private forks = 0;
  private texts = 0;
  private covered = 0; // of the interval, 0 to 1
  private section: MapSection | null = null;
  private drawing = false;
  private stale = false;

  constructor(
    private readonly place: HTMLElement,
    private readonly failed: (message: string) => void,
  ) {}

  /** Takes over a map that the page came with. */
  adopt(id: string, spec: Spec): void {
    this.id = id;
    this.spec = spec;
    const drawn = this.place.querySelector<HTMLElement>("[data-map]");
    if (!drawn) return;
    this.section = new MapSection(drawn);
    this.drawn = this.ended = drawn.dataset.mapState !== "growing";
  }

  begin(id: string, spec: Spec): void {
    this.leave();
    this.id = id;
    this.spec = spec;
    this.ended = false;
  }

  leave(): void {
    Object.assign(this, { id: "", spec: null, ended: true, drawn: false, error: undefined, seq: 0, forks: 0, texts: 0, covered: 0, section: null, stale: false });
    this.place.replaceChildren();
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
    const width = this.spec?.map ? this.spec.map.to - this.spec.map.from : 1;
    switch (event.type) {
      case "fork":
        this.forks++;
        break;
      case "branch":
        this.texts++;
        if (event.branch && (event.branch.reason === "stop" || event.branch.reason === "length")) {
          this.covered += (event.branch.to - event.branch.from) / width;
        }
        break;
      case "end":
        this.ended = true;
        this.error = event.error;
        break;
    }
  }

  /** Words, and how far it has come from 0 to 1. */
  progress(): { text: string; part: number } {
    const many = (n: number, noun: string) => `${n} ${noun}${n === 1 ? "" : "s"}`;
    return { text: `Mapping λ: ${many(this.forks, "fork")}, ${many(this.texts, "text")} known`, part: Math.min(1, this.covered) };
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
        if (this.id === id && drawn) this.show(drawn);
      } catch (error) {
        if (this.ended) this.failed(`The map could not be shown: ${error instanceof Error ? error.message : error} Load the page again.`);
      }
      if (this.stale) await new Promise((resolve) => setTimeout(resolve, 250));
    }
    this.drawing = false;
    if (this.stale) void this.draw();
  }

  private show(drawn: HTMLElement): void {
    if (this.section) {
      this.section.update(drawn);
      return;
    }
    this.place.replaceChildren(drawn);
    this.section = new MapSection(drawn);
  }
}
