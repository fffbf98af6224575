// The text at one λ where there is no map: a lane, decoded when the slider is let go. No DOM here.

import type { MapData } from "../map/along";
import { type RunEvent, type Spec, numbers } from "../protocol/protocol";
import { Run } from "../run/run";

export class ThumbRun {
  run: Run | null = null;
  wanted = Number.NaN; // λ that was let go last
  private asked = Number.NaN; // λ of the lane that was asked for last

  begin(id: string, spec: Spec): void {
    this.run = new Run(id, spec);
    this.asked = this.wanted = numbers(spec.lanes[0]?.lambda)[0] ?? Number.NaN;
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
    this.asked = this.run?.lanes[0]?.start[0] ?? Number.NaN;
  }

  private lane(lambda: number) {
    return this.run?.lanes.find((lane) => lane.start[0] === lambda);
  }

  /** What is read at the slider: one text, whatever the λ, until it is let go. */
  data(range: { from: number; to: number }, betas: number[]): { data: MapData; growing: boolean } {
    const lane = this.lane(this.wanted) ?? this.run?.lanes[this.run.lanes.length - 1];
    const pieces = lane ? [...lane.tokens.map((token) => token.text), ...(lane.tail ? [lane.tail] : [])] : [];
    const reason = lane?.reason ?? "";
    return { data: { ...range, betas, branches: [{ ...range, reason, pieces, at: [], part: 0 }] }, growing: reason === "" };
  }
}
