// Lanes side by side: the draft's columns, and the run that is decoded on them.

import { one } from "../dom/dom";
import { same } from "../lambda/lambda";
import type { Column } from "../lanes/column";
import { Stage, type StageEvents } from "../lanes/lanes";
import { type LaneSpec, type Spec, vector } from "../protocol/protocol";
import type { Run } from "../run/run";
import type { Connection } from "../socket/socket";
import type { Asked, Asking } from "./asking";
import { type DraftLane, laneSpec, lanesAt, mixOf, sameLanes, sameRequest, wrongLanes } from "./draftlanes";
import { type GoingOnHost, replyTo, writeOn } from "./goingon";
import { LanesRun } from "./lanesrun";
import { Moves } from "./moves";

/** What the lanes need of the page around them. */
export interface LanesHost extends GoingOnHost {
  readonly asking: Asking;
  readonly connection: Connection;
  changed(): void; // what the next run is of
  keep(): void; // the draft is kept; what was run stands for it
  refresh(): void;
}

export class LanesView implements StageEvents {
  readonly stage: Stage;
  readonly shown: LanesRun;
  private readonly moves = new Moves((column) => this.sendLambda(column), (column) => this.rested(column));

  constructor(
    private readonly page: HTMLElement,
    private readonly host: LanesHost,
  ) {
    this.stage = new Stage(page, this, this.betas, this.bounds);
    this.shown = new LanesRun(this.stage, host, { moving: (column) => this.moves.has(column), added: () => this.models() });
    this.models();
    const add = one(page, "[data-lane-add]");
    add.hidden = false;
    add.addEventListener("click", () => this.addLane());
  }

  get run(): Run | null {
    return this.shown.run;
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
    const can = this.host.compose.canWeigh;
    for (const column of this.stage.columns) column.offerWeights(can);
    one(this.page, "[data-preset-both]").hidden = !can;
  }

  get draft(): DraftLane[] {
    return this.stage.columns.map(({ lambda, sample, weights }) => ({ lambda, sample, ...mixOf(weights) }));
  }

  setLanes(lanes: readonly DraftLane[]): void {
    this.leave();
    for (const column of [...this.stage.columns]) this.stage.remove(column);
    for (const { lambda, sample, mix } of lanes) this.stage.add(lambda, sample, undefined, mix === "weights");
    this.models();
    this.host.refresh();
  }

  /** Sets lanes unless they are as wanted: what is decoded on them stays then. */
  retake(lanes: readonly DraftLane[]): void {
    if (!sameLanes(lanes, this.draft) && lanes.length > 0) this.setLanes(lanes);
  }

  /** Sets the lanes. Those that a run has decoded at one of these λ stay, and the others are decoded under it. */
  preset(lambdas: number[], both = false): void {
    const wanted = lanesAt(lambdas, this.betas.length, both);
    if (!this.current) {
      this.setLanes(wanted);
      this.host.changed();
      return;
    }
    const kept = wanted.map((lane) => this.stage.columns.find((c) => c.sample === 0 && same(c.lambda, lane.lambda) && c.weights === "mix" in lane));
    if (!this.roomFor(kept.filter((c) => c === undefined).length)) return;
    for (const column of this.stage.columns) if (!kept.includes(column)) this.take(column);
    const added = wanted.map((lane, i) => kept[i] ?? this.stage.add(lane.lambda, 0, undefined, "mix" in lane));
    this.stage.arrange(added);
    this.models();
    this.shown.add(added.filter((_, i) => !kept[i])); // together: a run takes one addition at a time
    this.host.keep();
  }

  addLane(): void {
    if (!this.roomFor(1)) return;
    const last = this.stage.columns[this.stage.columns.length - 1];
    const lambda = last ? last.lambda.map((x, i) => (i === 0 ? Math.min(this.bounds.max, Math.round((x + 0.5) * 1000) / 1000) : x)) : [1];
    this.begin(this.stage.add(lambda, 0));
  }

  /** A new column: under a run of what the form says it is decoded at once. */
  private begin(column: Column): void {
    this.models();
    if (this.current) {
      this.shown.add([column]);
      this.host.keep();
    } else this.host.changed();
    column.focusLambda();
  }

  /** Whether the run is of what the form says, so that another λ belongs to it. */
  private get current(): boolean {
    const { run } = this;
    if (!run || this.shown.catchingUp) return false;
    const { spec, faults } = this.host.compose.read([]);
    return faults.length === 0 && sameRequest(spec, run.spec);
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
    if (column.lane && column.running && this.run && !column.weights) this.moves.steer(column, settled);
    else if (settled && this.current) this.moves.settle(column);
    if (!settled) {
      if (column.lambda.length > 1) this.host.refresh(); // the pad shows it, too
    } else if (this.current) this.host.keep();
    else this.host.changed();
  }

  private sendLambda(column: Column): void {
    if (!this.run || !column.lane || !column.running) return;
    this.host.connection.send({ type: "lambda", run: this.run.id, lane: column.lane.index, lambda: vector(column.lambda) });
  }

  /** λ of a lane that has ended is another: its text follows. What was there stays in the run. */
  private rested(column: Column): void {
    if (this.stage.columns.includes(column) && this.current && !column.waiting && (column.lane === null || column.outdated)) this.decode(column);
  }

  duplicate(column: Column): void {
    if (!this.roomFor(1)) return;
    const taken = this.stage.columns.filter((c) => same(c.lambda, column.lambda) && c.weights === column.weights).map((c) => c.sample);
    this.begin(this.stage.add(column.lambda, Math.max(...taken) + 1, column));
  }

  beside(column: Column): void {
    if (this.roomFor(1)) this.begin(this.stage.add(column.lambda, column.sample, column, true));
  }

  /** Takes a column off the bench. */
  private take(column: Column): void {
    if (column.running) this.stop(column);
    this.stage.remove(column);
  }

  remove(column: Column): void {
    const place = this.stage.columns.indexOf(column);
    this.take(column);
    const next = this.stage.columns[Math.min(place, this.stage.columns.length - 1)];
    if (next) next.focusLambda();
    else one(this.page, "[data-lane-add]").focus();
    this.host.changed();
  }

  /** Decodes one more lane under the run, in place of the one that the column shows. */
  decode(column: Column): void {
    if (!this.run || !column.check() || !this.roomFor(column.lane ? 1 : 0)) return;
    this.shown.add([column]);
  }

  branch(column: Column, index: number, id: number): void {
    const lane = column.lane;
    if (!lane || !this.run || !this.roomFor(1)) return;
    const token = lane.tokens[index];
    const branch = this.stage.add(token?.lambda ?? lane.lambda, lane.sample, column);
    branch.prefix = [...lane.tokens.slice(0, index).map((t) => t.id), id];
    this.models();
    this.shown.add([branch]);
    branch.element.scrollIntoView({ block: "nearest", inline: "nearest" });
    branch.focusText();
  }

  stop(column: Column): void {
    this.shown.stopLane(column);
  }

  reply(column: Column): void {
    if (this.run) replyTo(this.host, this.run, column);
  }

  writeOn(column: Column): void {
    if (this.run) void writeOn(this.host, this.run, this.stage.columns, column, ({ lambda, sample }) => this.setLanes([{ lambda, sample }]));
  }

  // Starting.

  /** Whether lanes can be decoded as they are set; says what is wrong where they cannot. */
  check(): boolean {
    const { words, at } = wrongLanes(this.stage.columns);
    if (words) this.host.status.alert(words);
    at?.focusLambda();
    return words === "";
  }

  /** The lanes of a run of a spec. */
  specs(spec: Spec): LaneSpec[] {
    return this.stage.columns.map((column, lane) => laneSpec(column, lane, spec, this.run));
  }

  /** The run goes on by itself; the columns are for something else. */
  leave(): void {
    this.shown.leave();
    this.moves.clear();
  }

  /** Columns that waited for their run show it. */
  started(asked: Asked, id: string): void {
    const run = this.shown.begin(id, asked.spec as Spec);
    const lambdas = asked.columns.map((column) => [...column.lambda]);
    this.stage.box.scrollLeft = 0;
    for (const [i, column] of asked.columns.entries()) {
      column.bind(run.lanes[i] ?? null);
      const set = lambdas[i];
      // A slider that was moved while the server answered is not forgotten. Where λ changes on the way it was not moved.
      if (set && column.lane && !asked.spec?.lanes[i]?.changes && !same(set, column.lane.lambda)) {
        column.setLambda(set);
        this.lambda(column, true);
      }
    }
  }
}
