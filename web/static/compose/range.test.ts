import assert from "node:assert/strict";
import { test } from "node:test";
import { one } from "../dom/dom";
import { openPage } from "../dom/page";
import type { Limits } from "../protocol/protocol";
import type { Fault } from "./faults";
import { Range } from "./range";

function open(from: string, to: string) {
  const form = one<HTMLFormElement>(openPage("playground"), "[data-compose]");
  const range = new Range(form, () => ({ lambda_min: -5, lambda_max: 20 }) as Limits);
  one<HTMLInputElement>(form, "[data-map-from]").value = from;
  one<HTMLInputElement>(form, "[data-map-to]").value = to;
  const read = (n: number) => {
    const faults: Fault[] = [];
    return { map: range.read(n, faults), faults: faults.map((f) => `${f.field}: ${f.message}`) };
  };
  return { form, range, read };
}

test("one model has an interval, several have a line between two mixtures", () => {
  assert.deepEqual(open("-1/2", "2").read(1), { map: { sample: 0, branches: 32, from: -0.5, to: 2 }, faults: [] });
  assert.deepEqual(open("0:0", "1.5:½").read(2), { map: { sample: 0, branches: 32, from: 0, to: 1, line: { from: [0, 0], to: [1.5, 0.5] } }, faults: [] });
});

test("what is wrong names the field and says what to write", () => {
  assert.match(open("2", "1").read(1).faults.join(), /^to: Above/);
  assert.match(open("0", "1:1").read(2).faults.join(), /^from: 1 λ, and 2 aligned models are ticked: write 0:0/);
  assert.match(open("0:0", "1:21").read(2).faults.join(), /^to: From -5 to 20/);
  assert.match(open("0:x", "1:1").read(2).faults.join(), /^from: λ is a number/);
  assert.match(open("1:1", "1:1").read(2).faults.join(), /^to: It is where the line begins/);
});

test("another number of models shares the sums out", () => {
  const { form, range } = open("0", "2");
  range.fit(2);
  assert.equal(one<HTMLInputElement>(form, "[data-map-to]").value, "1:1");
  assert.match(one(form, "[data-map-from-words]").textContent ?? "", /each model/);
  range.fit(3);
  assert.equal(one<HTMLInputElement>(form, "[data-map-to]").value, "0.666667:0.666667:0.666667");
  range.fit(1);
  assert.equal(one<HTMLInputElement>(form, "[data-map-from]").value, "0");
});
