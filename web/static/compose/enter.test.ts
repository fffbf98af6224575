import assert from "node:assert/strict";
import { test } from "node:test";
import { runs } from "./enter";

const prompt = new EventTarget();
let coarse = false;
Object.assign(globalThis, { matchMedia: () => ({ matches: coarse }) });
const key = (more: Partial<KeyboardEvent> = {}) => ({ key: "Enter", target: prompt, ...more }) as KeyboardEvent;

test("Enter runs the prompt, and Shift+Enter does not", () => {
  assert.ok(runs(key(), prompt));
  assert.ok(!runs(key({ shiftKey: true }), prompt));
  assert.ok(!runs(key({ key: "a" }), prompt));
  assert.ok(!runs(key({ target: new EventTarget() }), prompt), "in another field Enter is a new line");
});

test("Ctrl+Enter and Cmd+Enter run in every field", () => {
  assert.ok(runs(key({ ctrlKey: true }), prompt));
  assert.ok(runs(key({ metaKey: true, target: new EventTarget() }), prompt));
});

test("Enter that chooses a word of an input method runs nothing", () => {
  assert.ok(!runs(key({ isComposing: true }), prompt));
  assert.ok(!runs(key({ isComposing: true, ctrlKey: true }), prompt));
  assert.ok(!runs(key({ keyCode: 229 }), prompt));
});

test("where thumbs type, Enter is a new line", () => {
  coarse = true;
  assert.ok(!runs(key(), prompt));
  assert.ok(runs(key({ ctrlKey: true }), prompt), "a keyboard beside the screen");
  coarse = false;
});
