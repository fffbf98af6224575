// What every page must pass: axe finds nothing, and nothing is wider than the window.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

export async function check(page, name) {
  await page.waitForLoadState(); // a press that led here did not wait for all of it
  await page.evaluate(axe);
  // What is still fading in has not got its colours yet. What never ends, or is taken away, is not waited for.
  await page.evaluate(() => Promise.allSettled(
    document.getAnimations().filter((a) => Number.isFinite(a.effect?.getComputedTiming().endTime)).map((a) => a.finished),
  ));
  const found = await page.evaluate((only) => globalThis.axe.run(document, { runOnly: only }), tags);
  const told = found.violations.map((v) => `${v.id}: ${v.help}\n  ${v.nodes.map((n) => n.html.slice(0, 200)).join("\n  ")}`);
  assert.deepEqual(told, [], name);
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.ok(overflow <= 0, `${name} is ${overflow} px wider than its window`);
}
