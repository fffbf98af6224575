import assert from "node:assert/strict";
import { test } from "node:test";
import { ending } from "./foot";

test("a text that was cut off says by what", () => {
  assert.equal(ending("length", 32, 32), "cut off at the token limit");
  assert.equal(ending("length", 31, 32), "cut off: the context is full");
  assert.equal(ending("length", 31, 0), "cut off at the token limit");
  assert.equal(ending("stop", 5, 32), "ended by itself");
});
