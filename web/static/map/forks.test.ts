import assert from "node:assert/strict";
import { test } from "node:test";
import { all, one } from "../dom/dom";
import { openPage } from "../dom/page";
import type { MapData } from "./along";
import { Forks } from "./forks";

function open() {
  const page = openPage("map");
  const section = one(page, "[data-map]");
  const data = JSON.parse(section.dataset.map ?? "null") as MapData;
  const moved: number[] = [];
  const said: string[] = [];
  const forks = new Forks(section, { data, move: (lambda) => moved.push(lambda), say: (text) => said.push(text) });
  const buttons = () => all<HTMLButtonElement>(one(section, "[data-map-why]"), "button");
  return { page, section, data, forks, moved, said, why: one(section, "[data-map-why]"), buttons };
}

test("the texts on both sides of a fork are one press away", () => {
  const { data, forks, moved, said, buttons } = open();
  forks.explain("1");
  const lambda = Number(forks.explained);
  assert.match(said[0] ?? "", new RegExp(`At λ = ${lambda} `));
  for (const label of ["Text below it", "Text above it"]) buttons().find((button) => button.textContent === label)?.click();
  const [below = Number.NaN, above = Number.NaN] = moved;
  const inside = (x: number) => data.branches.findIndex((b) => b.from <= x && x <= b.to);
  assert.ok(below < lambda && above > lambda);
  assert.equal(inside(above), inside(below) + 1);
});

test("a map that is drawn anew explains the same fork again under its new number, or closes the panel where it is gone", () => {
  const { section, forks, why } = open();
  forks.explain("1");
  const { explained } = forks;
  const drawn = all(section, "[data-map-fork]");
  for (const fork of drawn) fork.dataset.mapFork = String(Number(fork.dataset.mapFork) + 5);
  forks.redrawn(explained);
  assert.ok(!why.hidden);
  assert.equal(forks.explained, explained);
  for (const fork of drawn) fork.remove();
  forks.redrawn(explained);
  assert.ok(why.hidden);
  assert.equal(forks.explained, undefined);
});

test("closing gives the focus back to the mark, which is not explained once more", () => {
  const { section, forks, why, said, page } = open();
  const mark = one(section, '[data-map-mark="1"]');
  mark.setAttribute("tabindex", "0");
  mark.addEventListener("focus", () => forks.focused("1"));
  forks.explain("1");
  const close = all<HTMLButtonElement>(why, "button").find((button) => button.textContent === "Close");
  close?.focus();
  close?.click();
  assert.ok(why.hidden);
  assert.equal(page.activeElement, mark);
  assert.equal(said.length, 1);
});
