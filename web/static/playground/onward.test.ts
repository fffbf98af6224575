import assert from "node:assert/strict";
import { test } from "node:test";
import type { Spec } from "../protocol/protocol";
import type { Lane } from "../run/run";
import { contextEnded, onward, secondHalf } from "./onward";

const lane = (words: string[], reason: string, more: Partial<Lane> = {}): Lane => ({
  index: 0, start: [1], lambda: [1], sample: 0, weights: false, prefix: 0, tail: "", reason, kl: 0, traced: false,
  tokens: words.map((text, id) => ({ id, text, name: "", lambda: [1] })), ...more,
});
const spec = (more: Partial<Spec> = {}): Spec => ({
  pair: "p", aligned: ["a"], prompt: "Say it.", mode: "chat", lanes: [], seed: "7", alternatives: 0,
  sampling: { max_tokens: 3 } as Spec["sampling"], ...more,
});

test("lanes that reached the token limit begin with what they said, under a higher limit", () => {
  const cut = lane(["a", " b", " c"], "length");
  const whole = lane(["x"], "stop", { start: [0], sample: 2 });
  const on = onward(spec({ parent: { run: "r", lane: 1 }, history: [] }), [whole, cut], cut, 4096);
  assert.ok("spec" in on);
  assert.equal(on.spec.sampling.max_tokens, 6);
  assert.deepEqual(on.spec.lanes, [
    { lane: 0, lambda: 0, sample: 2, changes: [{ at: 0, lambda: 1 }] }, // it ends by itself again
    { lane: 1, lambda: 1, sample: 0, prefix: [0, 1, 2] },
  ]);
  assert.deepEqual(on.spec.parent, { run: "r", lane: 1 });
  assert.equal(on.spec.history, undefined, "the server finds it again");
  assert.equal(on.said, "Going on to 6 tokens.");
});

test("the limit grows no further than a lane may have", () => {
  const cut = lane(["a", " b", " c"], "length");
  const on = onward(spec(), [cut], cut, 5);
  assert.ok("spec" in on && on.spec.sampling.max_tokens === 5);
});

test("where the context ended a text goes on from its second half", () => {
  const cut = lane(["one", " two"], "length", { lambda: [0.5] });
  assert.ok(contextEnded(cut, spec()));
  const on = onward(spec({ mode: "plain", prompt: "It was a long story that", parent: { run: "r", lane: 0 } }), [cut], cut, 4096);
  assert.ok("spec" in on);
  assert.equal(on.spec.prompt, "thatone two");
  assert.deepEqual(on.spec.lanes, [{ lane: 0, lambda: 0.5, sample: 0 }]);
  assert.equal(on.spec.parent, undefined);
  assert.match(on.said, /The context is full: it goes on from its second half/);
});

test("where the context ended a conversation goes on without its oldest turns, and one of a single turn says what to do", () => {
  const cut = lane(["one"], "length");
  const turns = [1, 2, 3].flatMap((n) => [{ role: "user", content: `q${n}` }, { role: "assistant", content: `a${n}` }]);
  const on = onward(spec({ history: turns }), [cut], cut, 4096);
  assert.ok("spec" in on);
  assert.deepEqual(on.spec.history?.map((m) => m.content), ["q3", "a3"]);
  assert.deepEqual(on.spec.lanes[0]?.prefix, [0]);
  const none = onward(spec(), [cut], cut, 4096);
  assert.ok("wrong" in none && /Begin a new conversation/.test(none.wrong));
});

test("the second half begins with a word", () => {
  assert.equal(secondHalf("alpha beta gamma delta"), "delta");
  assert.equal(secondHalf("unbroken"), "oken");
});
