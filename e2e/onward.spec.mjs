// Going on: a reply in the conversation, a text that was cut off, and lanes that an address asks for.

import assert from "node:assert/strict";
import { test } from "node:test";
import { check } from "./accessible.mjs";
import { browser, decoded, ended, freshPage, lanes, run, server, set, sideBySide, texts, until, withServer } from "./server.mjs";

withServer();

const runs = (page) => page.locator("[data-runs] .run").count();

test("Continue writing goes on with lanes that were cut off, as a higher limit would have", async () => {
  const { page, context, troubles } = await freshPage(browser);
  const prompt = "Tell me about the best holiday you ever had, and what you did there.";
  await page.goto(`${server.base}/?lanes=0,1,2`);
  await run(page, prompt, { seed: 2, max_tokens: 12 });
  await ended(page);
  const before = await texts(page);
  const button = page.locator("[data-write-on]:visible").first();
  assert.match(await button.textContent(), /Continue writing/);
  await check(page, "cut off");
  await button.focus();
  await page.keyboard.press("Enter");
  await until(async () => (await runs(page)) === 2, "a second run");
  await ended(page);
  const after = await texts(page);
  for (const [i, text] of after.entries()) assert.ok(text.startsWith(before[i].trimEnd()), `${before[i]} → ${text}`);
  assert.deepEqual(after, await decoded(prompt, 2, 24, [0, 1, 2]));
  assert.equal(await page.inputValue("[data-sampling=max_tokens]"), "24");
  assert.match(await page.locator("[data-announce]").textContent(), /24 tokens|All lanes have ended/);
  assert.deepEqual(troubles, []);
  await context.close();
});

test("under the slider: Continue writing lengthens every text, and Reply takes the one that is read into the conversation", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await page.goto(server.base);
  await page.locator('.connection[data-state="open"]').waitFor();
  assert.ok(!(await page.locator("[data-map-reply]").isVisible()), "nobody replies to the example");
  await page.fill("[data-prompt]", "What did you think of the film?");
  await set(page, { seed: 2, max_tokens: 4 });
  await page.click("[data-run-button]");
  await until(async () => (await runs(page)) === 1, "a run");
  await page.locator('[data-map][data-map-state="stop"]').waitFor();
  const text = () => page.locator("[data-map-text]").textContent();
  const short = await text();
  await page.click("[data-map-write-on]");
  await until(async () => (await runs(page)) === 2, "a second run");
  await page.locator('[data-map][data-map-state="stop"]').waitFor();
  const longer = await text();
  assert.ok(longer.startsWith(short.replace(/…? ?token limit$/, "").trimEnd().slice(0, 20)) && longer.length > short.length, `${short} → ${longer}`);
  await page.click("[data-map-reply]");
  assert.equal(await page.locator("[data-before] .turn-of").count(), 2);
  assert.equal(await page.locator("[data-before] .turn-text").nth(1).textContent(), longer);
  assert.equal(await page.evaluate(() => document.activeElement?.matches("[data-prompt]")), true);
  await page.fill("[data-prompt]", "Why is that?");
  await page.keyboard.press("Control+Enter");
  await until(async () => (await runs(page)) === 3, "a third run");
  await page.reload();
  assert.equal(await page.locator("[data-before] .turn-of").count(), 2, "it is kept");
  assert.deepEqual(troubles, []);
  await context.close();
});

test("an address with lanes and no run shows lanes", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await page.goto(`${server.base}/?lanes=0,1,2`);
  await page.locator("[data-stage]:not([hidden])").waitFor();
  assert.deepEqual(await lanes(page).evaluateAll((all) => all.map((lane) => lane.dataset.lambda)), ["0", "1", "2"]);
  assert.ok(await page.locator("[data-view-lanes]").isChecked());
  assert.equal((await page.goto(`${server.base}/?lanes=x`)).status(), 400);
  await page.goto(server.base);
  await sideBySide(page);
  assert.equal(await lanes(page).count(), 5);
  assert.deepEqual(troubles, []);
  await context.close();
});
