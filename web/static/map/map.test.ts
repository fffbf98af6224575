import assert from "node:assert/strict";
import { test } from "node:test";
import { all, one } from "../dom/dom";
import { openPage } from "../dom/page";
import { type MapData, between, branchAt, mixtureAt, mixtureWords, pieces } from "./along";
import { MapSection } from "./map";
import { words } from "./written";

function open(): { section: HTMLElement; data: MapData } {
  const section = one(openPage("map"), "[data-map]");
  const data = JSON.parse(section.dataset.map ?? "null") as MapData;
  new MapSection(section);
  return { section, data };
}

test("the text at a λ is cut and marked as the server does it", () => {
  const { section, data } = open();
  const rows = all(section, "[data-map-row] .map-said");
  assert.equal(rows.length, data.branches.length);
  for (const [i, branch] of data.branches.entries()) {
    const built = document.createElement("td");
    built.append(...words(branch));
    assert.equal(built.innerHTML, rows[i]?.innerHTML);
    assert.equal(pieces(branch).map((p) => p.text).join(""), branch.pieces.join(""));
  }
});

test("a λ finds its text, at a fork the one above, at either end the last one", () => {
  const { data } = open();
  for (const [i, { from, to }] of data.branches.entries()) {
    assert.equal(branchAt(data, from), i);
    assert.equal(branchAt(data, between({ from, to })), i);
  }
  assert.equal(branchAt(data, data.to), data.branches.length - 1);
  assert.equal(between({ from: 0.7275, to: 1.6596 }), 1);
});

test("slider, number, steps and keys move along the map", () => {
  const { section, data } = open();
  const text = () => one(section, "[data-map-text]").textContent;
  const slider = one<HTMLInputElement>(section, "[data-map-slider]");
  const number = one<HTMLInputElement>(section, "[data-map-number]");
  const event = (type: string) => new (window as unknown as { Event: typeof Event }).Event(type);
  assert.equal(number.value, "1");
  assert.equal(text(), "A good day!");

  slider.value = "0.2";
  slider.dispatchEvent(event("input"));
  assert.equal(text(), "A <b>bad</b> film.");
  assert.equal(number.value, String(Number(slider.value)));
  assert.equal(one(section, "[data-map-beta-value]").textContent, "0.5");
  assert.match(one<HTMLAnchorElement>(section, "[data-map-lane]").href, /lanes=0\.2$/);
  assert.equal(all(section, "[data-map-row][data-on]").length, 1);
  assert.equal(one(section, "[data-map-cursor]").getAttribute("x1"), "10.000%");

  number.value = "0.70";
  number.dispatchEvent(event("input"));
  assert.equal(text(), "A good film, too long");
  assert.equal(number.value, "0.70", "what is typed is left alone");
  number.value = "3";
  number.dispatchEvent(event("input"));
  assert.equal(text(), "A good film, too long", "what is no λ of the map changes nothing");
  assert.match(one(section, "[data-map-error]").textContent ?? "", /from 0 to 2/);
  assert.equal(number.getAttribute("aria-invalid"), "true");

  const steps = all<HTMLButtonElement>(section, "[data-map-step]");
  assert.match(steps[1]?.textContent ?? "", /^above 0.8: “day” →$/);
  steps[1]?.click();
  assert.equal(text(), "A good day!");
  assert.ok(steps[1]?.disabled);
  assert.equal(number.getAttribute("aria-invalid"), null);
  for (const _ of [1, 2]) steps[0]?.click();
  assert.equal(text(), "A <b>bad</b> one… not followed further");
  assert.equal(data.branches[branchAt(data, Number(number.value))]?.reason, "budget");

  const { KeyboardEvent } = window as unknown as { KeyboardEvent: typeof globalThis.KeyboardEvent };
  const press = (key: string, shiftKey = false, at = slider) => {
    const pressed = new KeyboardEvent("keydown", { key, shiftKey, cancelable: true });
    at.dispatchEvent(pressed);
    return pressed.defaultPrevented ? number.value : "";
  };
  number.value = "0.7";
  number.dispatchEvent(event("input"));
  assert.deepEqual([press("ArrowRight"), press("ArrowLeft", true), press("PageDown"), press("PageUp", false, number)], ["0.75", "0.745", "0.495", "0.745"]);
  assert.deepEqual([press("Home"), press("ArrowLeft", false, number)], ["", ""], "the browser's own");
  press("PageUp", true);
  assert.equal(text(), "A good day!", "with Shift to the text above");
});

test("a fork is explained, and Escape closes it", () => {
  const { section } = open();
  const why = one(section, "[data-map-why]");
  const marks = all(section, "[data-map-mark]");
  assert.equal(marks.length, 3);
  assert.equal(marks.filter((mark) => mark.getAttribute("tabindex") === "0").length, 1);
  marks[1]?.dispatchEvent(new (window as unknown as { Event: typeof Event }).Event("click", { cancelable: true }));
  assert.ok(!why.hidden);
  assert.match(why.textContent ?? "", /At λ = 0\.6 .*overtakes/);
  assert.equal(marks[1]?.getAttribute("tabindex"), "0");
  why.dispatchEvent(new (window as unknown as { KeyboardEvent: typeof KeyboardEvent }).KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
  assert.ok(why.hidden);
});

test("what the server draws anew takes its place, and λ stays", () => {
  const { section, data } = open();
  const view = new MapSection(section);
  view.move(0.7);
  const drawn = section.cloneNode(true) as HTMLElement;
  drawn.dataset.map = JSON.stringify({ ...data, branches: data.branches.map((b) => (b.from === 0.6 ? { ...b, pieces: ["B"], at: [] } : b)) });
  one(drawn, ".map-headline").textContent = "more";
  view.update(drawn);
  assert.equal(one(section, "[data-map-text]").textContent, "B");
  assert.equal(one(section, ".map-headline").textContent, "more");
  assert.equal(one<HTMLInputElement>(section, "[data-map-number]").value, "0.7");
});

test("a step to a text that ends where they part says so", () => {
  const { section, data } = open();
  const view = new MapSection(section);
  for (const [reason, says] of [["stop", "the end"], ["length", "another text"]] as const) {
    const drawn = section.cloneNode(true) as HTMLElement;
    const last = data.branches.length - 1;
    drawn.dataset.map = JSON.stringify({ ...data, branches: data.branches.map((b, i) => (i === last ? { ...b, reason, pieces: [...b.pieces.slice(0, b.part), ""], at: [] } : b)) });
    view.update(drawn);
    view.move(0.7);
    assert.equal(all(section, "[data-map-step]")[1]?.textContent, `above 0.8: ${says} →`);
  }
});

test("along a line the place stands for λ of each model, with their sum, as the server has it", () => {
  const line = { from: [-0.5, 0.5], to: [1.5, 0] };
  assert.deepEqual(mixtureAt(line, 0), [-0.5, 0.5]);
  assert.deepEqual(mixtureAt(line, 1), [1.5, 0]);
  assert.deepEqual(mixtureAt(line, 0.5), [0.5, 0.25]);
  assert.deepEqual(mixtureAt(undefined, 0.7), [0.7]);
  assert.equal(mixtureWords(["Warm"], [0.5, 0.25]), "Warm: λ 0.5 · model 2: λ 0.25 · sum 0.75");
  const { section, data } = open();
  const along = new MapSection(section);
  along.take({ ...data, names: ["Warm", "Short"], betas: [0.1, 0.2], line, from: 0, to: 1 }, false);
  along.move(0.5);
  assert.equal(one(section, "[data-map-mix]").textContent, "Warm: λ 0.5 · Short: λ 0.25 · sum 0.75");
  assert.match(one<HTMLAnchorElement>(section, "[data-map-lane]").href, /lanes=0\.5:0\.25$/);
  assert.ok(one(section, "[data-map-beta]").hidden, "there is no effective β of a mixture");
});
