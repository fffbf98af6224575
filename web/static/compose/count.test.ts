import assert from "node:assert/strict";
import { test } from "node:test";
import { countWords } from "./count";

test("the length of a prompt, and of a contrast's two", () => {
  assert.equal(countWords([12]), "12 prompt tokens");
  assert.equal(countWords([1]), "1 prompt token");
  assert.equal(countWords([12, 40]), "12 or 40 prompt tokens");
  assert.equal(countWords([12, 12]), "12 prompt tokens");
  assert.equal(countWords([]), "");
});
