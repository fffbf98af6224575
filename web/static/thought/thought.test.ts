import assert from "node:assert/strict";
import { test } from "node:test";
import { said, thoughtLength } from "./thought";

test("a reply is cut behind its thought", () => {
  const cases: [string, string][] = [
    ["", ""], ["Hello.", "Hello."], ["<think>\nHm.\n</think>\n\nHello.", "Hello."], ["\n<think></think>Hello.", "Hello."],
    ["Hm, well.\n</think>\n\nHello.", "Hello."], ["<think>Hm", ""], ["I <think> so.", "I <think> so."], ["<think>a</think>b</think>c", "b</think>c"],
    ["  Hello.", "  Hello."], ["<think>\nHm.\n</think>", ""],
  ];
  for (const [text, want] of cases) assert.equal(said(text), want, text);
  assert.equal(thoughtLength("<think>Hm"), 9);
});
