import assert from "node:assert/strict";
import { test } from "node:test";
import type { RunEvent, Spec } from "../protocol/protocol";
import { Partings, Run, type Snapshot, fromSnapshot, klSeries, laneText, logRatio, turns } from "./run";

const spec: Spec = {
  pair: "demo", aligned: ["warm"], prompt: "Hello", mode: "chat", seed: "7", alternatives: 2,
  lanes: [{ lane: 0, lambda: 0, sample: 0 }, { lane: 1, lambda: 0.5, sample: 0 }],
  sampling: { max_tokens: 8, temperature: 0, top_k: 0, top_p: 1, min_p: 0, repeat_penalty: 0, presence_penalty: 0, frequency_penalty: 0, penalty_window: 0 },
};

const token = (lane: number, index: number, id: number, text: string, more: Partial<RunEvent> = {}): RunEvent => ({
  type: "token", lane, index, id, text, lambda: lane === 0 ? 0 : 0.5, kl_reference: 0.25, ...more,
});

const log: RunEvent[] = [
  { type: "start", prompt: { tokens: [1, 2], total: 2, done: 2 } },
  token(0, 0, 10, "A"),
  token(1, 0, 10, "A"),
  token(0, 1, 11, " b"),
  { type: "lambda", lane: 1, index: 1, lambda: 0.9 },
  token(1, 1, 12, " c", { lambda: 0.9 }),
  { type: "end", lane: 0, index: 2, reason: "stop", text: "." },
  { type: "lanes", lanes: [{ lane: 2, lambda: 2, sample: 1, prefix: [10] }] },
  token(2, 0, 10, "A", { lambda: 2 }),
  { type: "end", lane: 1, index: 2, reason: "error", error: { code: "unavailable", message: "it died" } },
  { type: "end", lane: 2, index: 1, reason: "cancelled" },
];

test("a log adds up, however it is cut into frames", () => {
  const whole = new Run("r", spec);
  whole.take(1, log);
  for (let cut = 0; cut <= log.length; cut++) {
    const run = new Run("r", spec);
    run.take(1, log.slice(0, cut));
    run.take(Math.max(1, cut - 2), log.slice(Math.max(0, cut - 3))); // frames may overlap after a reconnect
    assert.deepEqual(run.lanes, whole.lanes);
    assert.equal(run.seq, log.length);
  }
  assert.deepEqual(whole.lanes.map(laneText), ["A b.", "A c", "A"]);
  assert.deepEqual(whole.lanes.map((lane) => lane.kl), [0.5, 0.5, 0.25]);
  assert.deepEqual(whole.lanes.map((lane) => lane.prefix), [0, 0, 1]);
  assert.ok(whole.ended);
  assert.equal(whole.error?.message, "it died");
});

test("moves of λ are marked before the token they took effect at", () => {
  const run = new Run("r", spec);
  run.take(1, log);
  assert.deepEqual(turns(run.lanes[1] as (typeof run.lanes)[0]), [{ at: 1, lambda: [0.9] }]);
  assert.deepEqual(turns(run.lanes[0] as (typeof run.lanes)[0]), []);
});

test("a run that the server gives up has broken off, unless it goes on after all", () => {
  const run = new Run("r", spec);
  run.take(1, log.slice(0, 7)); // the first lane has ended
  const full = { code: "unavailable", message: "cannot save: the disk is full" };
  assert.deepEqual(run.breakOff(full), [1]);
  assert.ok(run.ended);
  assert.equal(run.error, full);
  assert.equal(run.lanes[0]?.reason, "stop");
  run.take(8, [token(1, 2, 13, " d")]);
  assert.ok(!run.ended);
  assert.equal(run.error, undefined);
  run.take(9, [{ type: "end", lane: 1, index: 3, reason: "length" }]);
  assert.equal(run.lanes[1]?.reason, "length");
});

test("a change names what to draw again", () => {
  const run = new Run("r", spec);
  const change = run.take(1, log.slice(0, 2));
  assert.deepEqual([...change.lanes], [0]);
  assert.ok(change.prompt);
  assert.ok(!change.added);
  assert.ok(run.take(3, log.slice(2)).added);
});

test("neighbours part at the first token that differs, found once", () => {
  const partings = new Partings();
  const run = new Run("r", spec);
  const between = () => partings.between(run.lanes[0] as never, run.lanes[1] as never);
  run.take(1, log.slice(0, 4));
  assert.equal(between(), -1); // one begins with the other
  run.take(5, log.slice(4, 6));
  assert.equal(between(), 1);
  assert.equal(between(), 1);
});

test("events for lanes that do not exist, and of unknown types, change nothing", () => {
  const run = new Run("r", spec);
  const before = JSON.stringify(run.lanes);
  run.take(1, [token(9, 0, 1, "x"), { type: "news" }, { type: "stats" }]);
  assert.equal(JSON.stringify(run.lanes), before);
  assert.equal(run.seq, 3);
});

test("a snapshot is the same run", () => {
  const tokens: RunEvent[] = [token(0, 0, 10, "A"), token(0, 1, 11, " b")];
  const { lanes: _, ...rest } = spec;
  const snapshot: Snapshot = { ...rest, lanes: [{ lane: 0, lambda: 0, sample: 0, text: "A b.", reason: "stop", tokens }] };
  const run = fromSnapshot(snapshot);
  assert.equal(laneText(run.lanes[0] as never), "A b.");
  assert.deepEqual(klSeries(run.lanes[0] as never), [0.25, 0.5]);
  assert.ok(run.ended);
});

test("log-ratios live with what JSON cannot hold", () => {
  const of = (reference: number | null, aligned: number | null) =>
    logRatio({ id: 1, text: "", name: "", lambda: [0], logp: { reference, aligned, mixture: -1 } });
  assert.equal(of(-2, -1), 1);
  assert.equal(of(null, -1), Number.POSITIVE_INFINITY);
  assert.equal(of(null, [null] as unknown as number), 0);
  assert.equal(logRatio({ id: 1, text: "", name: "", lambda: [0] }), null);
});

test("a lane knows that λ is in its weights, where no KL is known", () => {
  const run = new Run("r", { ...spec, lanes: [{ lane: 0, lambda: 0.5, sample: 0, mix: "weights" }] });
  run.take(1, [{ type: "token", lane: 0, index: 0, id: 3, text: "x", lambda: 0.5, logp: { reference: null, aligned: [], mixture: -1 } }]);
  assert.deepEqual(run.lanes.map((lane) => [lane.weights, lane.traced]), [[true, false]]);
  assert.equal(logRatio((run.lanes[0] as (typeof run.lanes)[0]).tokens[0] as Parameters<typeof logRatio>[0]), null);
});
