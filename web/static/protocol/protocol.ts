// The socket protocol, version 1, as docs/protocol.md has it. Types and the reading of frames only.

/** One number, or one for each aligned model. */
export type Vector = number | (number | null)[] | null;

/** What λ mixes: what the models say, or the weights of an adapter. */
export type Mix = "logits" | "weights";

export interface Message {
  role: string;
  content: string;
}

export interface LaneSpec {
  lane: number;
  lambda: Vector;
  sample: number;
  mix?: Mix; // what λ mixes; without, the logits
  changes?: { at: number; lambda: Vector }[];
  prefix?: number[];
}

/** The interval of a λ-map. */
export interface MapSpec {
  from: number;
  to: number;
  sample: number;
  branches: number;
  line?: { from: Vector; to: Vector }; // between two mixtures; from, to and focus are then places on it, 0 to 1
  live?: boolean; // every token is told, from focus outwards
  focus?: number;
}

export interface Sampling {
  max_tokens: number;
  temperature: number;
  top_k: number;
  top_p: number;
  min_p: number;
  repeat_penalty: number;
  presence_penalty: number;
  frequency_penalty: number;
  penalty_window: number;
  exact?: number;
  ignore_end?: boolean;
  stop?: string[];
}

export interface Spec {
  pair: string;
  aligned: string[];
  system?: string;
  prompt: string;
  mode: "chat" | "plain";
  parent?: { run: string; lane: number };
  history?: Message[];
  lanes: LaneSpec[];
  map?: MapSpec; // instead of lanes, which are then null
  sampling: Sampling;
  seed: string;
  alternatives: number;
  contrast?: { system?: string; context?: string }; // in place of the pair's own
  special?: boolean; // of a text: spellings of special tokens count as such
  rendering?: { date?: string; variables?: Record<string, string | number | boolean> };
}

export interface Logp {
  reference: number | null;
  aligned: Vector;
  mixture: number | null;
}

export interface Alternative {
  id: number;
  name: string;
  logp: number | null;
}

export interface Top {
  reference: Alternative[] | null;
  aligned: (Alternative[] | null)[] | null;
  mixture: Alternative[] | null;
}

export interface RunError {
  code: string;
  message: string;
}

/** An entry of a run's log. Which fields count depends on the type. */
export interface RunEvent {
  type: string;
  lane?: number;
  lambda?: Vector;
  sample?: number;
  index?: number;
  id?: number;
  text?: string;
  name?: string;
  logp?: Logp;
  top?: Top;
  kl_reference?: number | null;
  kl_aligned?: Vector;
  log_z?: number | null;
  reason?: string;
  error?: RunError;
  prompt?: { tokens?: number[]; total: number; done: number };
  lanes?: LaneSpec[];
  branch?: { from: number; to: number; reason: string; pieces?: string[] };
  fork?: { lambda: number; index: number };
  span?: { from: number; to: number };
}

export interface Limits {
  lanes: number;
  prompt_bytes: number;
  max_tokens: number;
  lambda_min: number;
  lambda_max: number;
  fields: readonly Bound[];
}

/** The range of a number field, as the server checks it. */
export interface Bound {
  field: keyof Sampling | "alternatives";
  low: number;
  high: number;
  whole?: boolean;
}

export interface PairStatus {
  name: string;
  state: "idle" | "starting" | "loading" | "ready" | "restarting" | "failed" | "not installed";
  progress: number;
  message: string;
  restarts: number;
}

export interface ErrorFrame {
  type: "error";
  ref?: string;
  run?: string;
  code: string;
  field?: string;
  message: string;
  retry_after?: number;
}

export type ServerFrame =
  | { type: "hello"; version: number; build: string; limits: Limits }
  | { type: "pairs"; pairs: PairStatus[] }
  | { type: "started"; ref?: string; session: string; run: string }
  | { type: "events"; run: string; first: number; events: RunEvent[] }
  | { type: "caught_up"; run: string; seq: number }
  | { type: "lanes_added"; ref?: string; run: string; lanes: number[] }
  | ErrorFrame;

export type ClientFrame =
  | { type: "start"; ref: string; session?: string; spec: Spec }
  | { type: "watch"; run: string; after: number }
  | { type: "unwatch"; run: string }
  | { type: "lanes"; ref: string; run: string; lanes: Omit<LaneSpec, "lane">[] }
  | { type: "lambda"; run: string; lane: number; lambda: Vector }
  | { type: "stop"; run: string; lane?: number };

const known = new Set(["hello", "pairs", "started", "events", "caught_up", "lanes_added", "error"]);

/** Reads a frame. What this version does not know is null: a newer server may say more. */
export function readFrame(data: string): ServerFrame | null {
  let frame: unknown;
  try {
    frame = JSON.parse(data);
  } catch {
    return null;
  }
  if (typeof frame !== "object" || frame === null) return null;
  const type = (frame as { type?: unknown }).type;
  return typeof type === "string" && known.has(type) ? (frame as ServerFrame) : null;
}

/** A λ as numbers, whatever form it came in. */
export function numbers(v: Vector | undefined): number[] {
  if (v === null || v === undefined) return [];
  if (typeof v === "number") return [v];
  return v.map((x) => x ?? Number.NEGATIVE_INFINITY);
}

/** A line as numbers. */
export function asLine(line: { from: Vector; to: Vector }): { from: number[]; to: number[] } {
  return { from: numbers(line.from), to: numbers(line.to) };
}

/** A λ as it is sent: a plain number where there is one aligned model. */
export function vector(v: readonly number[]): Vector {
  return v.length === 1 ? (v[0] as number) : [...v];
}
