import assert from "node:assert/strict";
import { test } from "node:test";
import { all, one } from "../dom/dom";
import { openPage } from "../dom/page";
import { offerCarry } from "./starter";

test("a mixture of several aligned models goes on to no study and no sweep, and the menu says why", () => {
  const page = openPage("session");
  const shown = () => all(one(page, "[data-carry]"), "a").filter((link) => !link.hidden).map((link) => link.textContent);
  assert.deepEqual(shown(), ["Rate these…", "Sweep these…"]);
  assert.ok(one(page, "[data-carry-many]").hidden);
  offerCarry(page, 2);
  assert.deepEqual(shown(), []);
  assert.match(one(page, "[data-carry-many]").textContent ?? "", /one aligned model.*mixes several/);
  assert.ok(!one(page, "[data-carry-many]").hidden);
  offerCarry(page, 1);
  assert.equal(shown().length, 2);
});
