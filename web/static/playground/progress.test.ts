import assert from "node:assert/strict";
import { test } from "node:test";
import type { PairStatus, Spec } from "../protocol/protocol";
import { Run } from "../run/run";
import { type Moment, progress } from "./progress";

const spec = { lanes: [{ lane: 0, lambda: 0, sample: 0 }, { lane: 1, lambda: 1, sample: 0 }] } as Spec;
const pair = (state: PairStatus["state"], part = 0): PairStatus => ({ name: "demo", state, progress: part, message: "no file", restarts: 0 });
const moment = (more: Partial<Moment>): Moment => ({ pair: pair("ready"), connected: true, starting: false, run: null, rate: Number.NaN, ...more });

test("every stage of a run has its words", () => {
  const run = new Run("r", spec);
  const at = (more: Partial<Moment> = {}) => progress(moment({ run, ...more }));
  assert.equal(progress(moment({})).text, "");
  assert.equal(progress(moment({ starting: true })).text, "Starting");
  assert.equal(progress(moment({ starting: true, connected: false })).text, "Waiting for the connection");
  assert.equal(at().text, "Waiting for its turn");
  run.take(1, [{ type: "start", prompt: { total: 900, done: 0 } }, { type: "prompt", prompt: { total: 900, done: 450 } }]);
  assert.deepEqual(at(), { text: "Reading the prompt, 450 of 900 tokens", part: 0.5 });
  run.take(3, [{ type: "prompt", prompt: { total: 900, done: 900 } }]);
  assert.equal(at().text, "Decoding");
  run.take(4, [{ type: "token", lane: 0, id: 1, text: "a" }, { type: "end", lane: 0, reason: "stop" }]);
  assert.equal(at({ rate: 12.4 }).text, "Decoding 1 of 2 lanes, 12 tokens/s");
});

test("a pair that is not ready comes first", () => {
  assert.deepEqual(progress(moment({ pair: pair("loading", 0.4) })), { text: "Loading demo", part: 0.4 });
  assert.equal(progress(moment({ pair: pair("restarting"), starting: true })).text, "Starting demo again");
  assert.equal(progress(moment({ pair: pair("failed") })).text, "demo cannot be loaded: no file");
  assert.equal(progress(moment({ pair: undefined })).text, "");
});
