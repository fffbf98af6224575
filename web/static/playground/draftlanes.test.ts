import assert from "node:assert/strict";
import { test } from "node:test";
import type { Column } from "../lanes/column";
import type { Spec } from "../protocol/protocol";
import { laneAsked, lanesAt, sameLanes, sameRequest, wrongLanes } from "./draftlanes";

const column = (more: Partial<Column>): Column => ({ lambda: [1], sample: 0, weights: false, prefix: [], check: () => true, ...more }) as unknown as Column;

test("λ of a preset is shared out among the models", () => {
  assert.deepEqual(lanesAt([0, 1], 1, false), [{ lambda: [0], sample: 0 }, { lambda: [1], sample: 0 }]);
  assert.deepEqual(lanesAt([1], 3, false), [{ lambda: [0.333333, 0.333333, 0.333333], sample: 0 }]);
  assert.deepEqual(lanesAt([1], 0, false), [{ lambda: [1], sample: 0 }], "a pair whose models are not known yet has one");
  assert.deepEqual(lanesAt([0.5], 1, true), [{ lambda: [0.5], sample: 0 }, { lambda: [0.5], sample: 0, mix: "weights" }]);
});

test("lanes are the same with the same λ and samples in the same order", () => {
  const lanes = lanesAt([0, 1], 1, false);
  assert.ok(sameLanes(lanes, lanesAt([0, 1], 1, false)));
  assert.ok(!sameLanes(lanes, lanesAt([1, 0], 1, false)));
  assert.ok(!sameLanes(lanes, lanesAt([0], 1, false)));
  assert.ok(!sameLanes(lanes, lanes.map((lane) => ({ ...lane, sample: 1 }))));
});

test("a lane may be added to a run of the same request", () => {
  const spec = { pair: "p", aligned: ["a"], prompt: "Hi", mode: "chat", seed: "7", alternatives: 0, lanes: [], sampling: { max_tokens: 3, temperature: 0 } } as unknown as Spec;
  assert.ok(sameRequest(spec, { ...spec, system: "", alternatives: 5 }));
  for (const other of [{ seed: "8" }, { prompt: "Ho" }, { aligned: [] }, { mode: "plain" as const }, { system: "Be kind." }]) assert.ok(!sameRequest(spec, { ...spec, ...other }));
});

test("what is wrong with lanes is said once, at the first of them", () => {
  const bad = column({ check: () => false });
  assert.equal(wrongLanes([]).words, "Add a lane first.");
  assert.equal(wrongLanes([column({})]).words, "");
  assert.deepEqual(wrongLanes([column({}), bad]), { words: "One lane has a λ that cannot be used: it is marked there.", at: bad });
  assert.match(wrongLanes([bad, column({}), column({ check: () => false })]).words, /^2 lanes have/);
});

test("a lane that is added says only what is not usual", () => {
  assert.deepEqual(laneAsked(column({})), { lambda: 1, sample: 0 });
  assert.deepEqual(laneAsked(column({ lambda: [1, 2], sample: 3, weights: true, prefix: [4, 5] })), { lambda: [1, 2], sample: 3, mix: "weights", prefix: [4, 5] });
});
