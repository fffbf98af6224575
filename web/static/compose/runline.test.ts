import assert from "node:assert/strict";
import { test } from "node:test";
import { one } from "../dom/dom";
import { openPage } from "../dom/page";
import { RunLine } from "./runline";

test("the line says how far a run has come, and which buttons make sense", () => {
  const form = one(openPage("playground"), "[data-compose]");
  const line = new RunLine(form);
  const bar = one<HTMLProgressElement>(form, "[data-progress-bar]");
  line.running(true, false);
  line.progress("Decoding", 0.25);
  assert.equal(one(form, "[data-progress-words]").textContent, "Decoding");
  assert.deepEqual([bar.hidden, Number(bar.getAttribute("value") ?? bar.value)], [false, 0.25]);
  assert.ok(!one(form, "[data-stop-all]").hidden);
  assert.equal(one(form, "[data-run-words]").textContent, "Run");
  line.running(false, true);
  line.progress("", null);
  assert.ok(bar.hidden);
  assert.ok(one(form, "[data-stop-all]").hidden);
  assert.equal(one(form, "[data-run-words]").textContent, "Again");
  const more = one(form, "[data-run-more]");
  assert.equal(more.textContent, ", new seed");
  assert.ok(!more.hidden);
  line.running(false, false);
  assert.ok(more.hidden, "what was changed runs with the seed of the form");
});
