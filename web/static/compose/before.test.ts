import assert from "node:assert/strict";
import { test } from "node:test";
import { all, one } from "../dom/dom";
import { openPage } from "../dom/page";
import type { Spec } from "../protocol/protocol";
import { Before } from "./before";

const said = [{ role: "user", content: "Who?" }, { role: "assistant", content: "<b>I</b>" }];

function open() {
  const form = one<HTMLFormElement>(openPage("playground"), "[data-compose]");
  const told: string[] = [];
  return { form, told, before: new Before(form, () => void told.push("cleared")) };
}

test("what was said before is shown as text, and may be cleared", () => {
  const { form, told, before } = open();
  const box = one(form, "[data-before]");
  assert.ok(box.hidden);
  before.set({ run: "r1", lane: 2 }, said);
  assert.ok(!box.hidden);
  assert.deepEqual(all(box, ".turn-text").map((turn) => turn.textContent), ["Who?", "<b>I</b>"]);
  one(form, "[data-before-clear]").click();
  assert.ok(box.hidden);
  assert.deepEqual([before.parent, before.history, told], [null, [], ["cleared"]]);
});

test("a spec names the lane that it goes on from, and messages only without one", () => {
  const { before } = open();
  const added = () => {
    const spec = {} as Spec;
    before.addTo(spec);
    return spec;
  };
  assert.deepEqual(added(), {});
  before.set(null, said);
  assert.deepEqual(added(), { history: said });
  before.set({ run: "r1", lane: 2 }, said);
  assert.deepEqual(added(), { parent: { run: "r1", lane: 2 } });
});

test("a page that was opened to go on from a lane says so", () => {
  const form = one<HTMLFormElement>(openPage("playground"), "[data-compose]");
  Object.assign(form.dataset, { parentRun: "r1", parentLane: "3", history: JSON.stringify(said) });
  const before = new Before(form, () => {});
  assert.deepEqual([before.parent, before.history], [{ run: "r1", lane: 3 }, said]);
  assert.ok(!one(form, "[data-before]").hidden);
});
