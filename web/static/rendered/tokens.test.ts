import assert from "node:assert/strict";
import { test } from "node:test";
import { promptWords, visible } from "./tokens";

test("a prompt is told with its length, and with its λ where there are two", () => {
  const prompt = { who: "system", tokens: [{ id: 1, text: "a" }] };
  assert.equal(promptWords(prompt, true), "1 token");
  assert.equal(promptWords(prompt, false), "λ = 1, system: 1 token");
  assert.equal(promptWords({ who: "reference", tokens: [] }, false), "λ = 0, the reference: 0 tokens");
});

test("white space can be seen", () => assert.equal(visible("a\n\tb"), "a↵\n→\tb"));
