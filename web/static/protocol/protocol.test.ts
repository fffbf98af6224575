import assert from "node:assert/strict";
import { test } from "node:test";
import { numbers, readFrame, vector } from "./protocol";

test("frames of this version are read, all else is null", () => {
  assert.equal(readFrame('{"type":"caught_up","run":"r","seq":3}')?.type, "caught_up");
  for (const bad of ["", "{", "[]", "3", "null", '{"type":3}', '{"type":"tomorrow"}']) assert.equal(readFrame(bad), null);
});

test("λ is a number or a list", () => {
  assert.deepEqual([0.5, [0.5, 1], [null, 1], null, undefined].map(numbers), [[0.5], [0.5, 1], [Number.NEGATIVE_INFINITY, 1], [], []]);
  assert.equal(vector([0.5]), 0.5);
  assert.deepEqual(vector([0.5, 1]), [0.5, 1]);
});
