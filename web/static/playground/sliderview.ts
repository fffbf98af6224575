// One text under a slider: from the λ-map of a prompt where there is one, else decoded again when the slider is let go.

import type { Compose } from "../compose/compose";
import { one } from "../dom/dom";
import { MapRun } from "../map/live";
import type { MapSpec, RunEvent, ServerFrame, Spec } from "../protocol/protocol";
import { vector } from "../protocol/protocol";
import type { Connection } from "../socket/socket";
import type { Asking } from "./asking";
import type { Status } from "./status";
import { ThumbRun } from "./thumb";

export interface SliderHost {
  readonly compose: Compose;
  readonly asking: Asking;
  readonly status: Status;
  readonly connection: Connection;
  refresh(): void;
}

/** Why sampling parameters have no λ-map; "" where they have one. */
export function noMap(spec: Pick<Spec, "sampling" | "aligned">): string {
  const { temperature, top_k, top_p, repeat_penalty } = spec.sampling;
  const why =
    spec.aligned.length > 1 ? "Several aligned models have one λ each, and no map along one slider" :
    temperature > 0 && top_k > 0 ? "Top-k has no exact map: a token may enter and leave the k most likely ones several times as λ grows" :
    temperature > 0 && top_p < 1 ? "Top-p has no exact map: where a token enters its set has no closed form in λ" :
    repeat_penalty !== 0 && repeat_penalty !== 1 ? "The repeat penalty has no exact map: it makes scores curved in λ" : "";
  return why && `${why}. The text is decoded again when the slider is let go.`;
}

export class SliderView {
  readonly map: MapRun;
  readonly thumb = new ThumbRun();
  private range: { from: number; to: number } = { from: 0, to: 2 };
  private section: ReturnType<MapRun["show"]> | null = null; // of the thumb's text

  constructor(
    private readonly page: HTMLElement,
    private readonly host: SliderHost,
  ) {
    this.map = new MapRun(one(page, "[data-map-place]"), one<HTMLTemplateElement>(page, "[data-map-template]"), {
      failed: (message) => host.status.alert(message),
      focus: (run, lambda) => host.connection.send({ type: "lambda", run, lane: 0, lambda }),
      settled: (lambda) => this.settled(lambda),
    });
  }

  /** Something is being decoded for it. */
  get running(): boolean {
    return !this.map.ended || (this.thumb.run !== null && !this.thumb.run.ended);
  }

  /** λ that the slider would start from, in an interval. */
  private lambda({ from, to }: Pick<MapSpec, "from" | "to">): number {
    return Math.min(Math.max(this.map.lambda, from), to);
  }

  /** Completes a spec for what the slider shows: a live map, or a lane at the slider's λ. */
  complete(spec: Spec, map: MapSpec): Spec {
    this.range = { from: map.from, to: map.to };
    if (noMap(spec) === "") return { ...spec, map: { ...map, live: true, focus: this.lambda(map) } };
    const lambda = [this.lambda(map), ...Array<number>(spec.aligned.length - 1).fill(0)];
    return { ...spec, lanes: [{ lane: 0, lambda: vector(lambda), sample: 0 }] };
  }

  startedMap(id: string, spec: Spec, session: string): void {
    this.leave();
    one(this.page, "[data-slider-empty]").hidden = true;
    this.map.begin(id, spec, this.betas, `/s/${session}?run=${id}&lanes=`);
  }

  startedThumb(id: string, spec: Spec): void {
    this.leave();
    one(this.page, "[data-slider-empty]").hidden = true;
    this.thumb.begin(id, spec);
    this.section = this.map.show(this.betas, "/?lanes=", this.range);
    this.section.release(noMap(spec));
    this.draw();
  }

  private get betas(): number[] {
    return this.host.compose.models.map((m) => m.beta);
  }

  /** What was decoded for it is left: it stays in the list of runs. */
  leave(): void {
    this.stop();
    for (const id of [this.map.id, this.thumb.run?.id ?? ""]) if (id) this.host.connection.unwatch(id);
    this.map.leave();
    this.thumb.leave();
    this.section = null;
    this.page.querySelector<HTMLElement>("[data-example-label]")?.remove();
  }

  stop(): void {
    if (!this.map.ended && this.map.id) this.host.connection.send({ type: "stop", run: this.map.id });
    const { run } = this.thumb;
    if (run && !run.ended) this.host.connection.send({ type: "stop", run: run.id });
  }

  /** Takes a frame that is about what it shows. */
  take(frame: ServerFrame): boolean {
    if (this.map.take(frame)) return true;
    const { run } = this.thumb;
    if (!run || !("run" in frame) || frame.run !== run.id) return false;
    if (frame.type === "events") this.events(frame.first, frame.events);
    else if (frame.type === "error" && frame.code === "unavailable" && !frame.ref && !run.ended) run.breakOff({ code: frame.code, message: frame.message });
    else return frame.type === "caught_up";
    this.draw();
    return true;
  }

  private events(first: number, events: readonly RunEvent[]): void {
    this.thumb.take(first, events);
    if (this.thumb.next()) this.ask();
  }

  private settled(lambda: number): void {
    if (this.thumb.settle(lambda)) this.ask();
    this.draw();
  }

  /** One more lane, at the λ that was let go. */
  private ask(): void {
    const { run } = this.thumb;
    if (!run) return;
    if (run.lanes.length >= this.host.compose.limits.lanes) {
      this.host.status.alert(`A run has at most ${this.host.compose.limits.lanes} lanes: press Run to go on from here.`);
      return;
    }
    const lambda = [this.thumb.wanted, ...Array<number>(run.spec.aligned.length - 1).fill(0)];
    const ref = this.host.asking.add("thumb", []);
    this.host.connection.send({ type: "lanes", ref, run: run.id, lanes: [{ lambda: vector(lambda), sample: 0 }] });
    this.host.refresh();
  }

  private draw(): void {
    if (!this.thumb.run || !this.section) return;
    const { data, growing } = this.thumb.data(this.range, this.betas);
    this.section.take(data, growing);
  }
}
