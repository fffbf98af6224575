import assert from "node:assert/strict";
import { test } from "node:test";
import { stepOf } from "./keys";

test("arrows go by 0.05 and with Shift by 0.005, pages by 0.25, and less where the range is narrow", () => {
  const step = (key: string, width = 2, shiftKey = false) => Number(stepOf({ key, shiftKey }, width).toFixed(6));
  assert.deepEqual(["ArrowRight", "ArrowUp", "ArrowLeft", "ArrowDown", "PageUp", "PageDown"].map((key) => step(key)), [0.05, 0.05, -0.05, -0.05, 0.25, -0.25]);
  assert.equal(step("ArrowLeft", 2, true), -0.005);
  assert.equal(step("ArrowRight", 20), 0.05);
  assert.equal(step("ArrowRight", 1), 0.025, "of places on a line, 0 to 1");
  for (const key of ["Home", "End", "Enter", "a"]) assert.equal(step(key), 0);
});
