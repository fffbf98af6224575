// The text at one λ where there is no map: a lane, decoded when the slider is let go. No DOM here.

import { same } from "../lambda/lambda";
import { type Along, type Line, type MapData, mixtureAt } from "../map/along";
import { type RunEvent, type Spec, numbers } from "../protocol/protocol";
import { type Lane, Run } from "../run/run";

export class ThumbRun {
  run: Run | null = null;
  wanted = Number.NaN; // λ that was let go last
  private asked = Number.NaN; // λ of the lane that was asked for last
  private first = Number.NaN; // λ of the first lane
  private line: Line | undefined; // of which all these λ are places

  begin(id: string, spec: Spec, place = numbers(spec.lanes[0]?.lambda)[0] ?? Number.NaN, line?: Line): void {
    this.first = place;
    this.run = new Run(id, spec);
    this.asked = this.wanted = place;
    this.line = line;
  }

  leave(): void {
    this.run = null;
  }

  take(first: number, events: readonly RunEvent[]): void {
    this.run?.take(first, events);
  }

  /** λ was let go: true if a lane has to be asked for, because there is none at it. */
  settle(lambda: number): boolean {
    this.wanted = lambda;
    return this.next();
  }

  /** Whether a lane is to be asked for now; one at a time. */
  next(): boolean {
    const { run } = this;
    if (!run || this.lane(this.wanted) || this.asked === this.wanted || this.lane(this.asked) === undefined) return false;
    this.asked = this.wanted;
    return true;
  }

  /** A lane could not be had: another may be asked for. */
  refused(): void {
    this.asked = this.first;
  }

  /** The lane that is read: the one at the λ that was let go, or the last one until that has come. */
  get shown(): Lane | undefined {
    return this.lane(this.wanted) ?? this.run?.lanes[this.run.lanes.length - 1];
  }

  private lane(lambda: number) {
    const mixture = mixtureAt(this.line, lambda);
    return this.run?.lanes.find((lane) => same(lane.start, mixture));
  }

  /** What is read at the slider: one text, whatever the λ, until it is let go. */
  data(range: { from: number; to: number }, along: Along): { data: MapData; growing: boolean } {
    const lane = this.shown;
    const pieces = lane ? [...lane.tokens.map((token) => token.text), ...(lane.tail ? [lane.tail] : [])] : [];
    const reason = lane?.reason ?? "";
    return { data: { ...range, ...along, branches: [{ ...range, reason, pieces, at: [], part: 0 }] }, growing: reason === "" };
  }
}
