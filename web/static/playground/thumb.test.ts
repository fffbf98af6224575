import assert from "node:assert/strict";
import { test } from "node:test";
import type { Spec } from "../protocol/protocol";
import { ThumbRun } from "./thumb";

const spec = { lanes: [{ lane: 0, lambda: 1, sample: 0 }] } as unknown as Spec;
const range = { from: 0, to: 2 };
const along = { betas: [0.1], names: ["Warm"] };

test("a λ that was let go is asked for once, and one at a time", () => {
  const thumb = new ThumbRun();
  assert.equal(thumb.settle(1), false, "there is no run yet");
  thumb.begin("r", spec);
  assert.equal(thumb.settle(1), false, "its lane is there");
  assert.equal(thumb.settle(0.5), true);
  assert.equal(thumb.settle(0.7), false, "the lane at 0.5 has not come");
  thumb.take(1, [{ type: "lanes", lanes: [{ lane: 1, lambda: 0.5, sample: 0 }] }]);
  assert.equal(thumb.next(), true, "now the one at 0.7 is asked for");
  assert.equal(thumb.next(), false);
  thumb.take(2, [{ type: "lanes", lanes: [{ lane: 2, lambda: 0.7, sample: 0 }] }]);
  assert.equal(thumb.settle(0.5), false, "it was decoded before");
});

test("what is read is the lane at the λ that was let go", () => {
  const thumb = new ThumbRun();
  thumb.begin("r", spec);
  const token = (lane: number, index: number, text: string) => ({ type: "token", lane, index, id: 1, text, lambda: 1 });
  thumb.take(1, [token(0, 0, "A"), { type: "lanes", lanes: [{ lane: 1, lambda: 0.5, sample: 0 }] }, token(1, 0, "B")]);
  assert.deepEqual(thumb.data(range, along).data.branches[0]?.pieces, ["A"]);
  thumb.settle(0.5);
  const { data, growing } = thumb.data(range, along);
  assert.deepEqual(data.branches, [{ from: 0, to: 2, reason: "", pieces: ["B"], at: [], part: 0 }]);
  assert.ok(growing);
  thumb.take(4, [{ type: "end", lane: 1, index: 1, reason: "stop", text: "." }]);
  assert.deepEqual(thumb.data(range, along).data.branches[0]?.pieces, ["B", "."]);
  assert.ok(!thumb.data(range, along).growing);
});

test("after a refusal another λ may be asked for", () => {
  const thumb = new ThumbRun();
  thumb.begin("r", spec);
  assert.equal(thumb.settle(0.5), true);
  thumb.refused();
  assert.equal(thumb.settle(0.6), true);
});
