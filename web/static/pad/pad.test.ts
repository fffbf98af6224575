import assert from "node:assert/strict";
import { test } from "node:test";
import { all } from "../dom/dom";
import { openPage } from "../dom/page";
import { Pad, padStep, padWords } from "./pad";

test("arrow keys move one λ or the other, Shift by more, and not past the edge", () => {
  assert.deepEqual(padStep("ArrowRight", false, [0.5, 1]), [0.55, 1]);
  assert.deepEqual(padStep("ArrowDown", true, [0.5, 1]), [0.5, 0.5]);
  assert.deepEqual(padStep("ArrowUp", true, [0, 2.9]), [0, 3]);
  assert.equal(padStep("Enter", false, [0, 0]), null);
  assert.equal(padWords(["Warmth", "Length"], [0.5, -0.25]), "Warmth 0.5, Length −0.25, sum 0.25");
});

test("each point is a slider that says both λ and their sum, and keeps the focus when it moves", () => {
  const page = openPage("playground");
  const box = page.createElementNS("http://www.w3.org/2000/svg", "svg") as unknown as SVGElement;
  page.body.append(box as unknown as Node);
  const values: [number, number][] = [[0, 0], [1, 0.5]];
  const moves: [number, [number, number], boolean][] = [];
  const draw = () => pad.draw(["Warmth", "Length"], values.map((value, i) => ({ label: `Lane ${i + 1}`, mark: String(i + 1), value, hue: "5" })), true);
  const pad = new Pad(box, {
    moved: (place, value, settled) => {
      moves.push([place, value, settled]);
      values[place] = value;
      draw();
    },
  });
  draw();
  const handles = () => all(box as unknown as ParentNode, "[data-pad-point]");
  assert.deepEqual(handles().map((h) => h.getAttribute("aria-valuetext")), ["Warmth 0, Length 0, sum 0", "Warmth 1, Length 0.5, sum 1.5"]);
  assert.equal(all(box as unknown as ParentNode, ".pad-line").length, 1);
  const Key = (window as unknown as { KeyboardEvent: typeof KeyboardEvent }).KeyboardEvent;
  handles()[1]?.focus();
  handles()[1]?.dispatchEvent(new Key("keydown", { key: "ArrowLeft", bubbles: true }));
  assert.deepEqual(moves, [[1, [0.95, 0.5], true]]);
  assert.equal(handles()[1]?.getAttribute("aria-valuenow"), "1.45");
});
