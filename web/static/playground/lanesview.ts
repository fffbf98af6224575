// Lanes side by side: the draft's columns, and the run that is decoded on them.

import type { Compose } from "../compose/compose";
import { one } from "../dom/dom";
import { formatLambda, same } from "../lambda/lambda";
import type { Column } from "../lanes/column";
import { Stage, type StageEvents } from "../lanes/lanes";
import { type ErrorFrame, type LaneSpec, type Message, type RunEvent, type Spec, vector } from "../protocol/protocol";
import { Run, laneText } from "../run/run";
import type { Connection } from "../socket/socket";
import { said } from "../thought/thought";
import { trust } from "../trust/trust";
import type { Asked, Asking } from "./asking";
import type { Status } from "./status";

/** What the lanes need of the page around them. */
export interface LanesHost {
  readonly compose: Compose;
  readonly asking: Asking;
  readonly status: Status;
  readonly connection: Connection;
  changed(): void; // the draft did
  refresh(): void;
}

export class LanesView implements StageEvents {
  readonly stage: Stage;
  run: Run | null = null;
  catchingUp = false; // what the server drew stands until its log has been read
  private trusted = ""; // what trust was asked for last
  private readonly moving = new Map<Column, number>(); // timers of λ frames

  constructor(
    private readonly page: HTMLElement,
    private readonly host: LanesHost,
  ) {
    this.stage = new Stage(page, this, this.betas, this.bounds);
    this.models();
    const add = one(page, "[data-lane-add]");
    add.hidden = false;
    add.addEventListener("click", () => this.addLane());
  }

  /** Takes over the run that the page came with: its log is read again, for what the page cannot hold. */
  adopt(id: string, spec: Spec): void {
    this.run = new Run(id, spec);
    this.stage.setRun(this.run);
    this.catchingUp = true;
  }

  /** Says at each lane of a run that has ended how far its reply may be from a whole reply, once for what it has become. */
  async tellTrust(): Promise<void> {
    const { run } = this;
    if (!run || run.id === "" || run.lanes.length === 0 || !run.ended || this.catchingUp) return;
    const what = `${run.id} ${run.lanes.length} ${run.seq}`;
    if (this.trusted === what) return;
    this.trusted = what;
    const words = await trust(run.id);
    if (this.run !== run || this.trusted !== what) return;
    for (const [i, text] of words.entries()) this.stage.columnFor(i)?.setTrust(text);
  }

  get running(): boolean {
    return this.run !== null && !this.run.ended && !this.catchingUp;
  }

  // Lanes of the draft.

  private get betas(): number[] {
    return this.host.compose.models.map((m) => m.beta);
  }

  private get bounds() {
    return { min: this.host.compose.limits.lambda_min, max: this.host.compose.limits.lambda_max };
  }

  models(): void {
    this.stage.setModels(this.betas, this.bounds, this.host.compose.models.map((m) => m.name));
  }

  get draft(): { lambda: number[]; sample: number }[] {
    return this.stage.columns.map(({ lambda, sample }) => ({ lambda, sample }));
  }

  setLanes(lanes: readonly { lambda: readonly number[]; sample: number }[]): void {
    this.leave();
    for (const column of [...this.stage.columns]) this.stage.remove(column);
    for (const { lambda, sample } of lanes) this.stage.add(lambda, sample);
    this.models();
    this.host.refresh();
  }

  preset(lambdas: number[]): void {
    const n = Math.max(1, this.betas.length);
    this.setLanes(lambdas.map((x) => ({ lambda: Array<number>(n).fill(Math.round((x / n) * 1e6) / 1e6), sample: 0 })));
    this.host.changed();
  }

  addLane(): void {
    if (!this.roomFor(1)) return;
    const last = this.stage.columns[this.stage.columns.length - 1];
    const lambda = last ? last.lambda.map((x, i) => (i === 0 ? Math.min(this.bounds.max, Math.round((x + 0.5) * 1000) / 1000) : x)) : [1];
    const column = this.stage.add(lambda, 0);
    this.models();
    this.host.changed();
    column.focusLambda();
  }

  private roomFor(n: number): boolean {
    const most = this.host.compose.limits.lanes;
    const now = Math.max(this.stage.columns.length, this.run?.lanes.length ?? 0);
    if (now + n <= most) return true;
    this.host.status.alert(`A run has at most ${most} lanes.`);
    return false;
  }

  // What a column asks for (StageEvents).

  lambda(column: Column, settled: boolean): void {
    if (column.lane && column.running && this.run) {
      // A slider says a lot while it moves: every 80 ms is enough for an eye.
      const timer = this.moving.get(column);
      if (settled) {
        clearTimeout(timer);
        this.sendLambda(column);
      } else if (timer === undefined) this.moving.set(column, window.setTimeout(() => this.sendLambda(column), 80));
    }
    if (settled) this.host.changed();
  }

  private sendLambda(column: Column): void {
    this.moving.delete(column);
    if (!this.run || !column.lane || !column.running) return;
    this.host.connection.send({ type: "lambda", run: this.run.id, lane: column.lane.index, lambda: vector(column.lambda) });
  }

  duplicate(column: Column): void {
    if (!this.roomFor(1)) return;
    const taken = this.stage.columns.filter((c) => same(c.lambda, column.lambda)).map((c) => c.sample);
    const copy = this.stage.add(column.lambda, Math.max(...taken) + 1, column);
    this.models();
    this.host.changed();
    copy.focusLambda();
  }

  remove(column: Column): void {
    if (column.running) this.stop(column);
    const place = this.stage.columns.indexOf(column);
    this.stage.remove(column);
    const next = this.stage.columns[Math.min(place, this.stage.columns.length - 1)];
    if (next) next.focusLambda();
    else one(this.page, "[data-lane-add]").focus();
    this.host.changed();
  }

  /** Decodes one more lane under the run. */
  decode(column: Column): void {
    if (!this.run || !column.check() || !this.roomFor(column.lane ? 1 : 0)) return;
    if (column.lane) {
      const more = this.stage.add(column.lambda, column.sample, column);
      this.models();
      column.setLambda(column.lane.lambda);
      this.addToRun(more);
    } else this.addToRun(column);
  }

  branch(column: Column, index: number, id: number): void {
    const lane = column.lane;
    if (!lane || !this.run || !this.roomFor(1)) return;
    const token = lane.tokens[index];
    const branch = this.stage.add(token?.lambda ?? lane.lambda, lane.sample, column);
    branch.prefix = [...lane.tokens.slice(0, index).map((t) => t.id), id];
    this.models();
    this.addToRun(branch);
    branch.element.scrollIntoView({ block: "nearest", inline: "nearest" });
    branch.focusText();
  }

  stop(column: Column): void {
    if (this.run && column.lane) this.host.connection.send({ type: "stop", run: this.run.id, lane: column.lane.index });
  }

  continueFrom(column: Column): void {
    const { run } = this;
    const lane = column.lane;
    if (!run || !lane) return;
    const messages: Message[] = [
      ...(run.spec.history ?? []),
      { role: "user", content: run.spec.prompt },
      { role: "assistant", content: run.spec.mode === "chat" ? said(laneText(lane)) : laneText(lane) },
    ];
    this.host.compose.mode = run.spec.mode;
    this.host.compose.continueFrom(run.id, lane.index, messages);
    this.host.status.say(`The conversation goes on from the lane at λ ${formatLambda(lane.lambda)}.`);
  }

  stopAll(): void {
    if (this.run && !this.run.ended) this.host.connection.send({ type: "stop", run: this.run.id });
  }

  // Starting.

  /** Whether lanes can be decoded as they are set; says what is wrong where they cannot. */
  check(): boolean {
    if (this.stage.columns.length === 0) {
      this.host.status.alert("Add a lane first.");
      return false;
    }
    const wrong = this.stage.columns.filter((column) => !column.check());
    if (wrong[0]) {
      this.host.status.alert(`${wrong.length === 1 ? "One lane has" : `${wrong.length} lanes have`} a λ that cannot be used: it is marked there.`);
      wrong[0].focusLambda();
    }
    return wrong.length === 0;
  }

  /** The lanes of a run of a spec. */
  specs(spec: Spec): LaneSpec[] {
    return this.stage.columns.map((column, lane) => this.laneSpec(column, lane, spec));
  }

  /** A lane keeps the tokens it was given as long as what comes before them is the same. */
  private laneSpec(column: Column, lane: number, spec: Spec): LaneSpec {
    const made: LaneSpec = { lane, lambda: vector(column.lambda), sample: column.sample };
    const before = this.run?.spec;
    const kept =
      column.lane && before && before.pair === spec.pair && before.prompt === spec.prompt && before.mode === spec.mode &&
      (before.system ?? "") === (spec.system ?? "") && before.parent?.run === spec.parent?.run && before.parent?.lane === spec.parent?.lane
        ? column.lane.tokens.slice(0, column.lane.prefix).map((t) => t.id)
        : column.prefix;
    if (kept.length > 0) made.prefix = kept;
    return made;
  }

  private addToRun(column: Column): void {
    if (!this.run) return;
    const { lane: _, ...lane } = { lane: 0, lambda: vector(column.lambda), sample: column.sample, ...(column.prefix.length > 0 ? { prefix: column.prefix } : {}) };
    column.waiting = true;
    column.update();
    const ref = this.host.asking.add("lanes", [column]);
    this.host.connection.send({ type: "lanes", ref, run: this.run.id, lanes: [lane] });
    this.host.refresh();
  }

  /** The run goes on by itself; the columns are for something else. */
  leave(): void {
    if (!this.run) return;
    this.stopAll();
    this.host.connection.unwatch(this.run.id);
    this.run = null;
    this.catchingUp = false;
    this.host.asking.left();
    for (const timer of this.moving.values()) clearTimeout(timer);
    this.moving.clear();
    this.stage.setRun(null);
  }

  /** Columns that waited for their run show it. */
  started(asked: Asked, id: string): Run {
    const run = new Run(id, asked.spec as Spec);
    this.run = run;
    this.stage.setRun(run);
    const lambdas = asked.columns.map((column) => [...column.lambda]);
    this.stage.box.scrollLeft = 0;
    for (const [i, column] of asked.columns.entries()) {
      column.bind(run.lanes[i] ?? null);
      const set = lambdas[i];
      // A slider that was moved while the server answered is not forgotten.
      if (set && column.lane && !same(set, column.lane.lambda)) {
        column.setLambda(set);
        this.lambda(column, true);
      }
    }
    return run;
  }

  // What the server says.

  take(first: number, events: readonly RunEvent[]): void {
    const run = this.run as Run;
    const known = run.lanes.length;
    const change = run.take(first, events);
    if (this.catchingUp) return;
    if (change.added) for (const lane of run.lanes.slice(known)) this.adoptLane(lane.index);
    for (const index of change.lanes) {
      const column = this.stage.columnFor(index);
      if (!column) continue;
      const moved = events.some((e) => e.type === "lambda" && e.lane === index);
      if (moved && column.running && !this.moving.has(column) && !column.element.contains(document.activeElement)) {
        const lane = column.lane;
        if (lane && !same(column.lambda, lane.lambda)) column.setLambda(lane.lambda);
      }
      this.stage.draw(column);
    }
  }

  /** A lane was added to the run: by one of our columns, or in another window. */
  private adoptLane(index: number): void {
    const lane = this.run?.lanes[index];
    if (!lane) return;
    const waits = this.host.asking.waiting.find((c) => c.waiting && same(c.lambda, lane.start) && c.sample === lane.sample && c.prefix.length === lane.prefix);
    const column = waits ?? this.stage.add(lane.start, lane.sample);
    if (waits) this.host.asking.arrived(waits);
    column.bind(lane);
    this.models();
    this.stage.draw(column);
  }

  /** All that is stored has been read: what the server drew gives way to columns that know every token. */
  caughtUp(): void {
    const run = this.run as Run;
    this.catchingUp = false;
    for (const lane of run.lanes) {
      const column = this.stage.columns.find((c) => c.drawnIndex === lane.index) ?? this.stage.add(lane.start, lane.sample);
      column.bind(lane);
    }
    this.models();
    this.stage.flush();
  }

  /** The server cannot go on with the run. */
  breakOff(frame: ErrorFrame): void {
    for (const index of this.run?.breakOff({ code: frame.code, message: frame.message }) ?? []) {
      const column = this.stage.columnFor(index);
      if (column) this.stage.draw(column);
    }
  }
}
