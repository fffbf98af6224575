import assert from "node:assert/strict";
import { test } from "node:test";
import type { RunEvent } from "../protocol/protocol";
import { branchAt } from "./along";
import { GrowingMap } from "./growing";

const step = (from: number, to: number, index: number, text: string): RunEvent => ({ type: "step", span: { from, to }, index, id: 1, text });
const fork = (lambda: number, index: number): RunEvent => ({ type: "fork", fork: { lambda, index } });
const ended = (from: number, to: number, pieces: string[], reason = "stop"): RunEvent => ({ type: "branch", branch: { from, to, reason, pieces } });

const along = { betas: [], names: [] };

const at = (map: GrowingMap, lambda: number) => {
  const data = map.data();
  return data.branches[branchAt(data, lambda)]?.pieces.join("");
};

test("words are read as soon as they are certain, on every λ that they are certain for", () => {
  const map = new GrowingMap(0, 2, along);
  assert.equal(at(map, 1), "");
  map.take(step(0, 2, 0, "I"));
  assert.equal(at(map, 0), "I");
  assert.equal(at(map, 1.7), "I");
  map.take(fork(0.8, 1));
  map.take(step(0, 0.8, 1, " like"));
  map.take(step(0.8, 2, 1, " love"));
  map.take(step(0.8, 2, 2, " it"));
  assert.equal(at(map, 0.5), "I like");
  assert.equal(at(map, 0.8), "I love it", "at a fork the text above");
  assert.equal(map.covered, 0);
  map.take(ended(0.8, 2, ["I", " love", " it", "."]));
  assert.equal(at(map, 2), "I love it.");
  assert.equal(map.texts, 1);
  assert.ok(Math.abs(map.covered - 0.6) < 1e-12);
});

test("the parts lie side by side, whatever the order of events", () => {
  const map = new GrowingMap(0, 1, along);
  map.take(step(0, 1, 0, "a"));
  map.take(fork(0.5, 1));
  map.take(ended(0, 0.5, ["a", "b"]));
  map.take(step(0.5, 1, 1, "c"));
  map.take(fork(0.7, 2));
  map.take(step(0.7, 1, 2, "e"));
  map.take(step(0.5, 0.7, 2, "d"));
  map.take(ended(0.7, 1, ["a", "c", "e"], "budget"));
  const { branches } = map.data();
  assert.deepEqual(branches.map((b) => [b.from, b.to, b.pieces.join(""), b.reason]), [
    [0, 0.5, "ab", "stop"], [0.5, 0.7, "acd", ""], [0.7, 1, "ace", "budget"],
  ]);
  assert.deepEqual(branches.map((b) => b.part), [0, 1, 2]);
  assert.deepEqual(branches.map((b) => b.at), [[1], [1, 2], [1, 2]]);
  assert.equal(map.texts, 1, "what was not followed to its end is not known");
});

test("events that are not of a map, or tell too little, change nothing", () => {
  const map = new GrowingMap(0, 1, along);
  const before = JSON.stringify(map.data());
  for (const event of [{ type: "start" }, { type: "step" }, { type: "fork" }, { type: "branch" }, { type: "stats" }]) assert.equal(map.take(event), false);
  assert.equal(JSON.stringify(map.data()), before);
});
