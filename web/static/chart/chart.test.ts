import assert from "node:assert/strict";
import { test } from "node:test";
import { spread, ticks } from "./chart";

test("ticks are round and few", () => {
  assert.deepEqual(ticks(10, 5), [0, 2, 4, 6, 8, 10]);
  assert.deepEqual(ticks(2.7, 4), [0, 1, 2]);
  assert.deepEqual(ticks(0, 4), [0]);
  for (const top of [1e-6, 0.3, 1, 7, 99, 12345]) {
    const marks = ticks(top, 4);
    assert.ok(marks.length >= 2 && marks.length <= 6, `${top}: ${marks}`);
    assert.ok(Math.max(...marks) <= top * (1 + 1e-9));
  }
});

test("labels keep apart, in order and inside", () => {
  const placed = spread([50, 51, 52, 10], 13, 0, 60);
  const order = [3, 0, 1, 2].map((i) => placed[i] as number);
  for (let i = 1; i < order.length; i++) assert.ok((order[i] as number) - (order[i - 1] as number) >= 13 - 1e-9, `${placed}`);
  assert.ok(Math.max(...placed) <= 60);
});

test("with many labels none climbs out of the plot", () => {
  const placed = spread(Array.from({ length: 23 }, (_, i) => 150 - i / 10), 13, 12, 158);
  assert.ok(Math.min(...placed) >= 12 && Math.max(...placed) <= 158, `${placed}`);
});
