// Lanes as they are asked for: from columns of the page to what the server is sent.

import { same } from "../lambda/lambda";
import type { Column } from "../lanes/column";
import { type LaneSpec, type Mix, type Spec, vector } from "../protocol/protocol";
import type { Lane, Run } from "../run/run";

/** A lane as it is set before it runs. */
export interface DraftLane {
  lambda: number[];
  sample: number;
  mix?: Mix; // the logits, where it is not said
}

/** Lanes at these λ, each of which n models share; both: in the logits and in the weights. */
export function lanesAt(lambdas: readonly number[], n: number, both: boolean): DraftLane[] {
  const models = Math.max(1, n);
  const lanes = lambdas.map((x) => ({ lambda: Array<number>(models).fill(Math.round((x / models) * 1e6) / 1e6), sample: 0 }));
  return both ? lanes.flatMap((lane) => [lane, { ...lane, ...mixOf(true) }]) : lanes;
}

/** Whether lanes have the same λ and samples. */
export function sameLanes(a: readonly DraftLane[], b: readonly DraftLane[]): boolean {
  return a.length === b.length && a.every((lane, i) => same(lane.lambda, b[i]?.lambda ?? []) && lane.sample === b[i]?.sample);
}

/** Why lanes cannot be decoded as they are set, and where that is to be put right; "" where they can. */
export function wrongLanes(columns: readonly Column[]): { words: string; at?: Column } {
  if (columns.length === 0) return { words: "Add a lane first." };
  const wrong = columns.filter((column) => !column.check());
  if (!wrong[0]) return { words: "" };
  return { words: `${wrong.length === 1 ? "One lane has" : `${wrong.length} lanes have`} a λ that cannot be used: it is marked there.`, at: wrong[0] };
}

/** Whether two specs ask for the same but for their lanes, so that a lane of one may be added to a run of the other. */
export function sameRequest(a: Spec, b: Spec): boolean {
  const what = ({ pair, aligned, prompt, mode, seed, system, sampling }: Spec) =>
    JSON.stringify([pair, aligned, prompt, mode, seed, system ?? "", sampling.max_tokens, sampling.temperature]);
  return what(a) === what(b);
}

/** The lane of a column as it is asked for under a run. */
export function laneAsked({ lambda, sample, weights, prefix }: Column): Omit<LaneSpec, "lane"> {
  return { lambda: vector(lambda), sample, ...mixOf(weights), ...(prefix.length > 0 ? { prefix } : {}) };
}

/** The lane of a column. It keeps the tokens it was given as long as what comes before them is the same. */
export function laneSpec(column: Column, lane: number, spec: Spec, run: Run | null): LaneSpec {
  const made: LaneSpec = { lane, lambda: vector(column.lambda), sample: column.sample, ...mixOf(column.weights) };
  const before = run?.spec;
  const kept =
    column.lane && before && before.pair === spec.pair && before.prompt === spec.prompt && before.mode === spec.mode &&
    (before.system ?? "") === (spec.system ?? "") && before.parent?.run === spec.parent?.run && before.parent?.lane === spec.parent?.lane
      ? column.lane.tokens.slice(0, column.lane.prefix).map((t) => t.id)
      : column.prefix;
  if (kept.length > 0) made.prefix = kept;
  return made;
}

/** What λ mixes, as a lane says it: nothing where it is the logits. */
export function mixOf(weights: boolean): { mix?: Mix } {
  return weights ? { mix: "weights" } : {};
}

/** What a column shows as a lane; one that has not run is a lane without tokens. */
export function laneOf(column: Column): Lane {
  const { lambda, sample, weights } = column;
  return column.lane ?? { index: -1, start: lambda, lambda, sample, weights, prefix: 0, tokens: [], tail: "", reason: "", kl: 0, traced: false };
}
