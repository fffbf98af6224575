// The run that the lanes show: it is begun, added to, stopped and left, and what the server says of it reaches its columns.

import { same } from "../lambda/lambda";
import type { Column } from "../lanes/column";
import type { Stage } from "../lanes/lanes";
import type { ErrorFrame, RunEvent, Spec } from "../protocol/protocol";
import { Run } from "../run/run";
import type { Connection } from "../socket/socket";
import { trust } from "../trust/trust";
import type { Asking } from "./asking";
import { laneAsked } from "./draftlanes";

/** What the run needs of the page around the lanes. */
export interface LanesRunHost {
  readonly asking: Asking;
  readonly connection: Pick<Connection, "send" | "unwatch">;
  refresh(): void;
}

/** What the run needs of the lanes that it is on. */
export interface LanesRunEvents {
  moving(column: Column): boolean; // somebody is moving its λ
  added(): void; // there are more columns
}

export class LanesRun {
  run: Run | null = null;
  catchingUp = false; // what the server drew stands until its log has been read
  private trusted = ""; // what trust was asked for last

  constructor(
    private readonly stage: Stage,
    private readonly host: LanesRunHost,
    private readonly lanes: LanesRunEvents,
  ) {}

  get running(): boolean {
    return this.run !== null && !this.run.ended && !this.catchingUp;
  }

  /** Shows a run that was just begun. */
  begin(id: string, spec: Spec): Run {
    this.run = new Run(id, spec);
    this.stage.setRun(this.run);
    return this.run;
  }

  /** Takes over the run that the page came with: its log is read again, for what the page cannot hold. */
  adopt(id: string, spec: Spec): void {
    this.begin(id, spec);
    this.catchingUp = true;
  }

  /** Asks for the lanes of columns to be decoded under the run. */
  add(columns: readonly Column[]): void {
    if (!this.run || columns.length === 0) return;
    for (const column of columns) {
      column.waiting = true;
      column.asked = [...column.lambda];
      column.update();
    }
    const ref = this.host.asking.add("lanes", [...columns]);
    this.host.connection.send({ type: "lanes", ref, run: this.run.id, lanes: columns.map(laneAsked) });
    this.host.refresh();
  }

  stop(): void {
    if (this.run && !this.run.ended) this.host.connection.send({ type: "stop", run: this.run.id });
  }

  stopLane(column: Column): void {
    if (this.run && column.lane) this.host.connection.send({ type: "stop", run: this.run.id, lane: column.lane.index });
  }

  /** The run is stopped and not shown any more; the columns are for something else. */
  leave(): void {
    if (!this.run) return;
    this.stop();
    this.host.connection.unwatch(this.run.id);
    this.run = null;
    this.catchingUp = false;
    this.host.asking.left();
    this.stage.setRun(null);
  }

  // What the server says.

  events(first: number, events: readonly RunEvent[]): void {
    const { run, stage } = this;
    if (!run) return;
    const known = run.lanes.length;
    const change = run.take(first, events);
    if (this.catchingUp) return;
    if (change.added) for (const lane of run.lanes.slice(known)) this.added(lane.index);
    for (const index of change.lanes) {
      const column = stage.columnFor(index);
      if (!column) continue;
      const moved = events.some((e) => e.type === "lambda" && e.lane === index);
      if (moved && column.running && !this.lanes.moving(column) && !column.element.contains(document.activeElement)) {
        const lane = column.lane;
        if (lane && !same(column.lambda, lane.lambda)) column.setLambda(lane.lambda);
      }
      stage.draw(column);
    }
  }

  /** A lane was added to the run: by one of our columns, or in another window. */
  private added(index: number): void {
    const { stage } = this;
    const { asking } = this.host;
    const lane = this.run?.lanes[index];
    if (!lane) return;
    const waits = asking.waiting.find((c) => c.waiting && same(c.asked, lane.start) && c.sample === lane.sample && c.weights === lane.weights && c.prefix.length === lane.prefix);
    const column = waits ?? stage.add(lane.start, lane.sample, undefined, lane.weights);
    if (waits) asking.arrived(waits);
    const set = [...column.lambda];
    column.bind(lane);
    this.lanes.added();
    stage.draw(column);
    if (waits && !same(set, lane.lambda)) column.move(set, true); // it was changed while the lane was on its way
  }

  /** All that is stored has been read: what the server drew gives way to columns that know every token. */
  caughtUp(): void {
    const { stage } = this;
    this.catchingUp = false;
    for (const lane of this.run?.lanes ?? []) {
      const column = stage.columns.find((c) => c.drawnIndex === lane.index) ?? stage.add(lane.start, lane.sample, undefined, lane.weights);
      column.bind(lane);
    }
    this.lanes.added();
    stage.flush();
  }

  /** The server cannot go on with the run. */
  breakOff(frame: ErrorFrame): void {
    const { stage } = this;
    for (const index of this.run?.breakOff({ code: frame.code, message: frame.message }) ?? []) {
      const column = stage.columnFor(index);
      if (column) stage.draw(column);
    }
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
}
