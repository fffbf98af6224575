import assert from "node:assert/strict";
import { test } from "node:test";
import { all, one } from "../dom/dom";
import { openPage } from "../dom/page";
import { LambdaInputs } from "./lambdainputs";

function open(lambda: number[]) {
  const page = openPage("playground");
  const element = one(page, "[data-lanes] > [data-lane]");
  const told: [number, number, boolean][] = [];
  const owner = {
    lambda,
    moved(model: number, to: number, settled: boolean) {
      lambda[model] = to;
      told.push([model, to, settled]);
    },
  };
  const inputs = new LambdaInputs(element, { min: -5, max: 20 }, owner);
  inputs.wire();
  inputs.draw([]);
  const view = page.defaultView as unknown as { Event: typeof Event; KeyboardEvent: typeof KeyboardEvent };
  const numbers = () => all<HTMLInputElement>(element, "[data-lambda-number]");
  const sliders = () => all<HTMLInputElement>(element, "[data-lambda-slider]");
  const set = (input: HTMLInputElement | undefined, value: string, type: string) => {
    if (!input) throw new Error("no such field");
    input.value = value;
    input.dispatchEvent(new view.Event(type, { bubbles: true }));
  };
  const press = (key: string, shiftKey = false) => numbers()[0]?.dispatchEvent(new view.KeyboardEvent("keydown", { key, shiftKey, bubbles: true, cancelable: true }));
  return { element, inputs, told, numbers, sliders, set, press };
}

test("while λ is typed only what can be used moves it, and nothing is called wrong before it is let go", () => {
  const { element, told, numbers, sliders, set } = open([0]);
  for (const text of ["-", "2", "25", "2.5"]) set(numbers()[0], text, "input");
  assert.deepEqual(told, [[0, 2, false], [0, 2.5, false]]);
  assert.equal(sliders()[0]?.value, "2.5");
  assert.ok(one(element, "[data-lambda-error]").hidden);
  set(numbers()[0], "25", "change");
  assert.match(one(element, "[data-lambda-error]").textContent ?? "", /from −5 to 20/);
  assert.equal(numbers()[0]?.getAttribute("aria-invalid"), "true");
  set(sliders()[0], "1", "input");
  assert.ok(one(element, "[data-lambda-error]").hidden, "the slider puts it right");
  assert.equal(numbers()[0]?.value, "1");
});

test("a slider that has not moved tells nothing until it is let go", () => {
  const { told, sliders, set } = open([1]);
  set(sliders()[0], "1", "input");
  assert.deepEqual(told, []);
  set(sliders()[0], "1", "change");
  assert.deepEqual(told, [[0, 1, true]]);
});

test("arrow keys step by 0.05, with Shift by 0.5, and stop at the bounds", () => {
  const { told, press } = open([19.9]);
  press("ArrowUp");
  press("ArrowDown", true);
  press("ArrowUp", true);
  press("ArrowUp", true);
  press("Enter");
  assert.deepEqual(told.map(([, to]) => to), [19.95, 19.45, 19.95, 20]);
});

test("there is a number and a slider for each model, named by it", () => {
  const { inputs, told, numbers, sliders, set } = open([0.5, 1 / 3]);
  inputs.draw(["warm", "short"]);
  assert.deepEqual(numbers().map((input) => [input.value, input.getAttribute("aria-label")]), [["0.5", "λ of warm"], ["0.3333", "λ of short"]]);
  assert.equal(sliders()[1]?.getAttribute("aria-label"), "λ of short, slider");
  set(sliders()[1], "2", "input");
  assert.deepEqual(told, [[1, 2, false]]);
  inputs.fix(true);
  assert.ok([...numbers(), ...sliders()].every((input) => input.disabled));
});
