import assert from "node:assert/strict";
import { test } from "node:test";
import { pause, pick, worthAnother } from "./rate";

test("answers are sent again after pauses that grow up to eight seconds", () => {
  const pauses = [0, 1, 2, 3, 4, 5, 50].map(pause);
  assert.deepEqual(pauses, [500, 1000, 2000, 4000, 8000, 8000, 8000]);
});

test("only what the server may take later is sent again", () => {
  for (const status of [429, 500, 502, 503]) assert.ok(worthAnother(status), String(status));
  for (const status of [400, 403, 404, 409, 413]) assert.ok(!worthAnother(status), String(status));
});

test("the first pick is the best, the second the worst, and nothing is picked twice", () => {
  assert.deepEqual(pick([], 2), [2]);
  assert.deepEqual(pick([2], 2), [2]);
  assert.deepEqual(pick([2], 0), [2, 0]);
  assert.deepEqual(pick([2, 0], 1), [2, 0]);
});
