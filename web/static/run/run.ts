// A run as its log adds up to it. No DOM here.

import { same } from "../lambda/lambda";
import {
  type LaneSpec, type Logp, type RunError, type RunEvent, type Sampling, type Spec, type Top, numbers,
} from "../protocol/protocol";

export interface Token {
  id: number;
  text: string;
  name: string;
  lambda: number[];
  logp?: Logp;
  top?: Top;
  kl?: number;
}

export interface Lane {
  index: number;
  start: number[]; // λ it was started with
  lambda: number[]; // λ in force
  sample: number;
  weights: boolean; // λ is in the weights
  prefix: number; // how many of its first tokens were given
  tokens: Token[];
  tail: string; // text that only its end released
  reason: string; // "" while it runs
  error?: RunError;
  kl: number; // Σ KL to the reference, nats
  traced: boolean;
}

/** What an event changed, for whoever shows the run. */
export interface Change {
  lanes: Set<number>; // lanes with new tokens, another λ or an end
  added: boolean; // there are new lanes
  prompt: boolean; // reading the prompt went on
}

export class Run {
  readonly lanes: Lane[] = [];
  seq = 0;
  prompt: { total: number; done: number } | null = null;
  promptTokens: number[] = [];

  constructor(
    readonly id: string,
    readonly spec: Spec,
  ) {
    for (const lane of spec.lanes) this.add(lane);
  }

  /** Takes consecutive events, the first of which has this number. Those already taken are skipped. */
  take(first: number, events: readonly RunEvent[]): Change {
    const change: Change = { lanes: new Set(), added: false, prompt: false };
    for (const [i, event] of events.entries()) {
      const seq = first + i;
      if (seq <= this.seq) continue;
      this.seq = seq;
      this.apply(event, change);
    }
    return change;
  }

  /** True once every lane has ended. */
  get ended(): boolean {
    return this.lanes.every((lane) => lane.reason !== "");
  }

  /** The error that broke a lane off, if one did. */
  get error(): RunError | undefined {
    return this.lanes.find((lane) => lane.reason === "error")?.error;
  }

  /**
   * The server cannot go on with the run and could not save how its lanes end: those that ran have broken off. A token
   * that comes for one all the same takes that back.
   */
  breakOff(error: RunError): number[] {
    const cut = this.lanes.filter((lane) => lane.reason === "");
    for (const lane of cut) {
      lane.reason = "error";
      lane.error = error;
    }
    return cut.map((lane) => lane.index);
  }

  private add(spec: LaneSpec): void {
    const lambda = numbers(spec.lambda);
    this.lanes.push({
      index: this.lanes.length, start: lambda, lambda, sample: spec.sample ?? 0, weights: spec.mix === "weights", prefix: spec.prefix?.length ?? 0,
      tokens: [], tail: "", reason: "", kl: 0, traced: false,
    });
  }

  private apply(event: RunEvent, change: Change): void {
    switch (event.type) {
      case "lanes":
        for (const lane of event.lanes ?? []) this.add(lane);
        change.added = true;
        return;
      case "start":
      case "prompt":
        if (event.prompt) {
          this.prompt = { total: event.prompt.total, done: event.prompt.done };
          if (event.prompt.tokens && this.promptTokens.length === 0) this.promptTokens = event.prompt.tokens;
          change.prompt = true;
        }
        return;
    }
    const lane = this.lanes[event.lane ?? -1];
    if (!lane) return;
    switch (event.type) {
      case "token":
        this.token(lane, event);
        break;
      case "lambda":
        lane.lambda = numbers(event.lambda);
        break;
      case "end":
        lane.tail += event.text ?? "";
        lane.reason = event.reason ?? "stop";
        if (event.error) lane.error = event.error;
        break;
      default:
        return;
    }
    change.lanes.add(lane.index);
  }

  private token(lane: Lane, event: RunEvent): void {
    const lambda = event.lambda === undefined ? lane.lambda : numbers(event.lambda);
    const token: Token = { id: event.id ?? 0, text: event.text ?? "", name: event.name ?? "", lambda };
    if (event.logp) token.logp = event.logp;
    if (event.top) token.top = event.top;
    if (typeof event.kl_reference === "number") {
      token.kl = event.kl_reference;
      lane.kl += event.kl_reference;
      lane.traced = true;
    }
    lane.tokens.push(token);
    lane.lambda = lambda;
    lane.reason = "";
    delete lane.error;
  }
}

/** A comparison's frozen form, as /c/{token}.json has it. */
export interface Snapshot {
  pair: string;
  aligned: string[];
  mode: "chat" | "plain";
  system?: string;
  history?: Spec["history"];
  prompt: string;
  sampling: Sampling;
  seed: string;
  alternatives: number;
  lanes: (LaneSpec & { text: string; reason: string; error?: RunError; tokens: RunEvent[] | null })[];
}

/** A run from a snapshot: every token, then every end. */
export function fromSnapshot(s: Snapshot): Run {
  const { lanes, ...rest } = s;
  const run = new Run("", { ...rest, aligned: s.aligned ?? [], lanes } as Spec);
  const events: RunEvent[] = [];
  for (const [i, lane] of lanes.entries()) {
    let text = "";
    for (const token of lane.tokens ?? []) {
      events.push({ ...token, type: "token", lane: i });
      text += token.text ?? "";
    }
    const tail = lane.text.startsWith(text) ? lane.text.slice(text.length) : "";
    const end: RunEvent = { type: "end", lane: i, text: tail, reason: lane.reason || "stop" };
    if (lane.error) end.error = lane.error;
    events.push(end);
  }
  run.take(1, events);
  return run;
}

export function laneText(lane: Lane): string {
  return lane.tokens.map((token) => token.text).join("") + lane.tail;
}

/** How a token is named where its text alone would not show. */
export function tokenName(token: Pick<Token, "text" | "name" | "id">): string {
  return token.name || token.text || `token ${token.id}`;
}

/** log π_al − log π_ref of a token for the mean of the aligned models, or null if it was not recorded. */
export function logRatio(token: Token): number | null {
  if (!token.logp) return null;
  const aligned = numbers(token.logp.aligned)[0];
  const reference = token.logp.reference ?? Number.NEGATIVE_INFINITY;
  if (aligned === undefined) return null;
  const ratio = aligned - reference;
  return Number.isNaN(ratio) ? 0 : ratio;
}

/**
 * Finds where pairs of neighbouring lanes first part. It remembers how far each pair was compared, so a
 * token costs one comparison.
 */
export class Partings {
  private readonly found = new Map<string, { compared: number; at: number }>();

  /** Index of the first token at which two lanes differ, or −1 while one begins with the other. */
  between(a: Lane, b: Lane): number {
    const key = `${a.index} ${b.index}`;
    const state = this.found.get(key) ?? { compared: 0, at: -1 };
    const n = Math.min(a.tokens.length, b.tokens.length);
    while (state.at < 0 && state.compared < n) {
      if (a.tokens[state.compared]?.id !== b.tokens[state.compared]?.id) state.at = state.compared;
      state.compared++;
    }
    this.found.set(key, state);
    return state.at;
  }
}

/** Running sums of KL to the reference: one point after each token. */
export function klSeries(lane: Lane): number[] {
  const series: number[] = [];
  let sum = 0;
  for (const token of lane.tokens) {
    sum += token.kl ?? 0;
    series.push(sum);
  }
  return series;
}

/** Fewer tokens than so many at one λ are on the way to another: λ is being dragged. The pages say so, too (web/templates/tokens.go). */
export const briefly = 8;

/** Where λ was moved in a lane: before which tokens it was another. */
export function turns(lane: Lane): { at: number; lambda: number[] }[] {
  const marks: { at: number; lambda: number[] }[] = [];
  let current = lane.start;
  for (const [at, token] of lane.tokens.entries()) {
    if (!same(token.lambda, current)) {
      current = token.lambda;
      marks.push({ at, lambda: current });
    }
  }
  return marks;
}
