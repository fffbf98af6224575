// What the slider's text is decoded from: the λ-map of a prompt where there is one, else one lane at a time, when the slider is let go.
// map/map.ts shows the text.

import { at } from "../base/base";
import { extras } from "../base/extras";
import type { Compose } from "../compose/compose";
import { one } from "../dom/dom";
import { formatLambda } from "../lambda/lambda";
import { type Along, type Line, mixtureAt } from "../map/along";
import { MapRun } from "../map/live";
import type { MapSpec, RunEvent, ServerFrame, Spec } from "../protocol/protocol";
import { asLine, vector } from "../protocol/protocol";
import type { Connection } from "../socket/socket";
import type { Asking, Purpose } from "./asking";
import { turnsWith } from "./goingon";
import { said } from "../thought/thought";
import type { Status } from "./status";
import { ThumbRun } from "./thumb";

export interface SliderHost {
  readonly compose: Compose;
  readonly asking: Asking;
  readonly status: Status;
  readonly connection: Connection;
  refresh(): void;
  ask(spec: Spec, purpose: Purpose): void;
}

/** Tokens that a text of a map may have, as the server has it (run.MaxMapTokens). */
const mostMapTokens = 512;

/** Why sampling parameters have no λ-map; "" where they have one. */
export function noMap(spec: Pick<Spec, "sampling">): string {
  const { temperature, top_k, top_p, repeat_penalty } = spec.sampling;
  const why =
    temperature > 0 && top_k > 0 ? "Top-k has no exact map: a token may enter and leave the k most likely ones several times as λ grows" :
    temperature > 0 && top_p < 1 ? "Top-p has no exact map: where a token enters its set has no closed form in λ" :
    repeat_penalty !== 0 && repeat_penalty !== 1 ? "The repeat penalty has no exact map: it makes scores curved in λ" : "";
  return why && `${why}. The text is decoded again when the slider is let go.`;
}

/** Where a run's λ is decoded as a lane: λ follows. */
const lanesOf = (id: string, session: string) => at(`/s/${session}?run=${id}&lanes=`);

export class SliderView {
  readonly map: MapRun;
  readonly thumb = new ThumbRun();
  private range: { from: number; to: number; line?: Line } = { from: 0, to: 2 };
  private section: ReturnType<MapRun["show"]> | null = null; // of the thumb's text

  constructor(
    private readonly page: HTMLElement,
    private readonly host: SliderHost,
  ) {
    this.map = new MapRun(one(page, "[data-map-place]"), one<HTMLTemplateElement>(page, "[data-map-template]"), {
      failed: (message) => host.status.alert(message),
      focus: (run, lambda) => host.connection.send({ type: "lambda", run, lane: 0, lambda }),
      settled: (lambda) => this.settled(lambda),
      spec: () => this.spec,
      reply: (text) => this.reply(text),
      writeOn: () => void this.writeOn(),
    });
  }

  /** What is read was asked for by it; null of the example. */
  private get spec(): Spec | null {
    return (this.map as MapRun | undefined)?.spec ?? this.thumb.run?.spec ?? null;
  }

  /** Takes the text that is read into the conversation. */
  private reply(text: string): void {
    const { spec } = this;
    if (!spec) return;
    const { compose, status } = this.host;
    compose.mode = spec.mode;
    compose.reply(null, turnsWith(spec, spec.mode === "chat" ? said(text) : text));
    status.say(`The conversation goes on from the text at λ ${formatLambda([this.map.lambda])}.`);
  }

  /** Goes on with texts that were cut off: a map as a whole, a text at one λ from what it has said. */
  private async writeOn(): Promise<void> {
    const { spec, host } = this;
    if (!spec) return;
    if (!spec.map) {
      const { run } = this.thumb;
      const lane = this.thumb.shown;
      if (!run || !lane) return;
      const { onward } = await extras();
      const on = onward(spec, [lane], lane, host.compose.limits.max_tokens);
      if ("wrong" in on) return host.status.alert(on.wrong);
      host.compose.adopt(on.spec, spec.history ?? []);
      host.ask(on.spec, "thumb");
      return host.status.say(on.said);
    }
    const { max_tokens } = spec.sampling;
    if (max_tokens >= mostMapTokens) {
      return host.status.alert(`A text of a map has ${mostMapTokens} tokens at most: open it as a lane, and go on there.`);
    }
    const longer: Spec = { ...spec, map: { ...spec.map, focus: this.lambda(spec.map) }, sampling: { ...spec.sampling, max_tokens: Math.min(mostMapTokens, 2 * max_tokens) } };
    if (longer.parent) delete longer.history;
    host.compose.adopt(longer, spec.history ?? []);
    host.ask(longer, "map");
    host.status.say(`Going on to ${longer.sampling.max_tokens} tokens.`);
  }

  /** Something is being decoded for it. */
  get running(): boolean {
    return !this.map.ended || (this.thumb.run !== null && !this.thumb.run.ended);
  }

  /** λ that the slider would start from, in an interval. */
  private lambda({ from, to }: { from: number; to: number }): number {
    return Math.min(Math.max(this.map.lambda, from), to);
  }

  /** Completes a spec for what the slider shows: a live map, or a lane at the slider's λ. */
  complete(spec: Spec, map: MapSpec): Spec {
    this.range = { from: map.from, to: map.to, ...(map.line ? { line: asLine(map.line) } : {}) };
    if (noMap(spec) === "") return { ...spec, map: { ...map, live: true, focus: this.lambda(map) } };
    const lambda = mixtureAt(this.range.line, this.lambda(map));
    return { ...spec, lanes: [{ lane: 0, lambda: vector(lambda), sample: 0 }] };
  }

  startedMap(id: string, spec: Spec, session: string): void {
    this.leave();
    one(this.page, "[data-slider-empty]").hidden = true;
    this.map.begin(id, spec, this.models, lanesOf(id, session));
  }

  startedThumb(id: string, spec: Spec, session: string): void {
    this.leave();
    one(this.page, "[data-slider-empty]").hidden = true;
    this.thumb.begin(id, spec, this.lambda(this.range), this.range.line);
    this.section = this.map.show(this.along, lanesOf(id, session), this.range);
    this.section.release(noMap(spec));
    this.draw();
  }

  private get models(): Along {
    const { models } = this.host.compose;
    return { betas: models.map((m) => m.beta), names: models.map((m) => m.name) };
  }

  /** What the slider moves along where there is no map. */
  private get along(): Along {
    return { ...this.models, ...(this.range.line ? { line: this.range.line } : {}) };
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
    const lambda = mixtureAt(this.range.line, this.thumb.wanted);
    const ref = this.host.asking.add("thumb", []);
    this.host.connection.send({ type: "lanes", ref, run: run.id, lanes: [{ lambda: vector(lambda), sample: 0 }] });
    this.host.refresh();
  }

  private draw(): void {
    if (!this.thumb.run || !this.section) return;
    const { from, to } = this.range;
    const { data, growing } = this.thumb.data({ from, to }, this.along);
    this.section.take(data, growing);
  }
}
