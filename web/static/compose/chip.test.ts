import assert from "node:assert/strict";
import { test } from "node:test";
import { chip } from "./chip";

test("the settings in short", () => {
  assert.equal(chip("Demo: a small chat model", [{ title: "Warmth, β = 0.05", beta: 0.05 }], "0.7", "396220"), "Demo · Warmth β 0.05 · T 0.7 · seed 396220");
  assert.equal(chip("mine", [{ title: "warm", beta: 0.1 }, { title: "short", beta: 0 }], "0", ""), "mine · warm β 0.1 + short · T 0");
});
