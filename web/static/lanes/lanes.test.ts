import assert from "node:assert/strict";
import { test } from "node:test";
import { one } from "../dom/dom";
import { openPage } from "../dom/page";
import type { RunEvent, Spec } from "../protocol/protocol";
import { Run } from "../run/run";
import type { Column } from "./column";
import { Stage, type StageEvents } from "./lanes";

const bounds = { min: -5, max: 20 };

function bench(page: Document) {
  const told: [string, ...unknown[]][] = [];
  const tell = (name: string) => (column: Column, ...more: unknown[]) => void told.push([name, [...column.lambda], ...more]);
  const events: StageEvents = {
    lambda: tell("lambda"), duplicate: tell("duplicate"), beside: tell("beside"), remove: tell("remove"), decode: tell("decode"),
    stop: tell("stop"), reply: tell("reply"), writeOn: tell("writeOn"), branch: tell("branch"),
  };
  return { stage: new Stage(one(page, "main"), events, [0.1], bounds), told };
}

const traced = (lane: number, id: number, text: string, lambda: number, aligned = -0.8): RunEvent => ({
  type: "token", lane, id, text, lambda, kl_reference: 0.1, logp: { reference: -1, aligned, mixture: -0.9 },
  top: { reference: [{ id: 10, name: "Hi", logp: -1 }], aligned: [[{ id: 99, name: " Hey", logp: -0.5 }]], mixture: [] },
});

function runOf(page: Document): Run {
  const spec = JSON.parse(one(page, "[data-compose]").dataset.spec ?? "") as Spec;
  return new Run("run1", spec);
}

test("a run looks the same whether the server or the script drew it", () => {
  const page = openPage("session");
  const drawn = () => [...page.querySelectorAll("[data-text]")].map((text) => text.innerHTML);
  const before = drawn();
  const { stage } = bench(page);
  const run = runOf(page);
  run.take(1, [
    traced(0, 10, "Hi", 0), traced(0, 11, " there", 0, -3),
    { type: "end", lane: 0, reason: "stop" },
    { ...traced(1, 10, "Hi", 0.5) },
    { type: "lambda", lane: 1, index: 1, lambda: 0.9 },
    { ...traced(1, 12, "<script>alert(1)</script>", 0.9), logp: { reference: -3, aligned: -1, mixture: -2 } },
    { type: "end", lane: 1, reason: "length", text: "!" },
  ]);
  stage.setRun(run);
  const lanes = stage.columns.map((column) => run.lanes[column.drawnIndex] ?? null);
  const spans = [...page.querySelectorAll("[data-text] .t")];
  for (const [i, column] of stage.columns.entries()) column.bind(lanes[i] ?? null);
  stage.flush();
  assert.deepEqual(drawn(), before);
  assert.deepEqual([...page.querySelectorAll("[data-text] .t")].filter((span, i) => span !== spans[i]), [], "what the server drew is not made anew");
  // The script draws it the same way.
  for (const [i, column] of stage.columns.entries()) {
    column.bind(null);
    column.bind(lanes[i] ?? null);
  }
  stage.flush();
  assert.deepEqual(drawn(), before);
  assert.notEqual(page.querySelector("[data-text] .t"), spans[0]);
  assert.equal(page.querySelectorAll("[data-text] script").length, 0);
});

test("tokens are added as they come, and partings marked", () => {
  const { spec } = runOf(openPage("session"));
  const page = openPage("playground");
  const { stage } = bench(page);
  const run = new Run("r", spec);
  stage.setRun(run);
  stage.columns.forEach((column, i) => void column.bind(run.lanes[i] ?? null));
  run.take(1, [traced(0, 10, "Hi", 0), traced(1, 10, "Hi", 0.5)]);
  for (const column of stage.columns) stage.draw(column);
  assert.equal(page.querySelectorAll("[data-part]").length, 0);
  run.take(3, [traced(0, 11, " a", 0), traced(1, 12, " b", 0.5)]);
  for (const column of stage.columns) stage.draw(column);
  assert.deepEqual([...page.querySelectorAll("[data-part]")].map((t) => [t.textContent, t.getAttribute("data-part")]), [[" a", "right"], [" b", "left"]]);
  assert.equal(one(stage.columns[1]?.element as HTMLElement, "[data-parting-at]").textContent, "2");
  assert.equal(stage.columns[0]?.element.dataset.state, "running");
});

test("a λ that is dragged leaves one mark in the text", () => {
  const { spec } = runOf(openPage("session"));
  const page = openPage("playground");
  const { stage } = bench(page);
  const run = new Run("r", spec);
  stage.setRun(run);
  stage.columns[1]?.bind(run.lanes[1] ?? null);
  for (let i = 0; i < 12; i++) {
    run.take(i + 1, [traced(1, i, "x", i < 2 ? 0.5 : Math.round((0.5 + i / 10) * 100) / 100)]);
    stage.draw(stage.columns[1]);
  }
  assert.deepEqual([...page.querySelectorAll(".turn")].map((mark) => mark.textContent), ["λ 1.6"]);
});

test("a slider moves λ, and says what it means", () => {
  const page = openPage("playground");
  const { stage, told } = bench(page);
  const column = stage.columns[1] as Column;
  const slider = one<HTMLInputElement>(column.element, "[data-lambda-slider]");
  slider.value = "2";
  slider.dispatchEvent(event(page, "input"));
  assert.deepEqual(told, [["lambda", [2], false]]);
  assert.equal(one<HTMLInputElement>(column.element, "[data-lambda-number]").value, "2");
  assert.equal(one(column.element, "[data-beta-value]").textContent, "0.05");
  assert.match(one(column.element, "[data-words]").textContent ?? "", /^Beyond$/);
  assert.equal(column.element.dataset.hue, "13");
});

test("a λ that is none is refused at its field", () => {
  const page = openPage("playground");
  const { stage, told } = bench(page);
  const column = stage.columns[0] as Column;
  const input = one<HTMLInputElement>(column.element, "[data-lambda-number]");
  for (const [text, wrong] of [["x", /number/], ["21", /−5 to 20/], ["", /number/]] as const) {
    input.value = text;
    input.dispatchEvent(event(page, "change"));
    assert.match(one(column.element, "[data-lambda-error]").textContent ?? "", wrong);
    assert.ok(!column.check());
  }
  assert.deepEqual(told, []);
  assert.deepEqual(column.lambda, [0]);
  input.value = "1/4";
  input.dispatchEvent(event(page, "change"));
  assert.ok(column.check());
  assert.deepEqual(column.lambda, [0.25]);
});

test("columns are made from the page's template, one slider for each aligned model", () => {
  const page = openPage("playground");
  const { stage } = bench(page);
  const added = stage.add([1.5], 2);
  assert.equal(stage.columns.length, 3);
  assert.equal(one(added.element, "[data-sample-value]").textContent, "2");
  stage.setModels([0.1, 0], bounds, ["warm", "short"]);
  assert.deepEqual(added.lambda, [0.75, 0.75], "λ is shared out, and its sum stays");
  assert.equal(added.element.querySelectorAll("[data-lambda-slider]").length, 2);
  assert.equal(one(added.element, "[data-beta]").hidden, true);
  stage.remove(added);
  assert.equal(page.querySelectorAll("[data-lanes] > [data-lane]").length, 2);
});

test("arrow keys walk through tokens, and an alternative starts a branch", () => {
  const page = openPage("session");
  const { stage, told } = bench(page);
  const run = runOf(page);
  run.take(1, [traced(0, 10, "Hi", 0), traced(0, 11, " there", 0), { type: "end", lane: 0, reason: "stop" }]);
  stage.setRun(run);
  stage.columns[0]?.bind(run.lanes[0] ?? null);
  stage.flush();
  const text = one(stage.columns[0]?.element as HTMLElement, "[data-text]");
  text.focus();
  text.dispatchEvent(event(page, "keydown", "ArrowRight"));
  const first = page.activeElement as HTMLElement;
  assert.equal(first.getAttribute("aria-label"), "Token 1: Hi");
  first.dispatchEvent(event(page, "keydown", "End"));
  assert.equal((page.activeElement as HTMLElement).getAttribute("aria-label"), "Token 2:  there".replace("  ", " "));
  const box = one(page, "[data-inspector]");
  assert.equal(box.hidden, true, "arrows show one line");
  assert.match(one(page, "[data-token-line]").textContent ?? "", /there.*reference 37% · mixture 41% · aligned 45%/);
  (page.activeElement as HTMLElement).dispatchEvent(event(page, "keydown", "Enter"));
  assert.equal(box.hidden, false);
  assert.match(box.textContent ?? "", /Reference.*37%/);
  one(box, '[data-id="99"]').click();
  assert.deepEqual(told, [["branch", [0], 1, 99]]);
  assert.equal(box.hidden, true);
});

function event(page: Document, type: string, key?: string): Event {
  const view = page.defaultView as unknown as { Event: typeof Event; KeyboardEvent: typeof KeyboardEvent };
  return key ? new view.KeyboardEvent(type, { key, bubbles: true, cancelable: true }) : new view.Event(type, { bubbles: true });
}
