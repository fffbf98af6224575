// λ in the logits and in the weights, side by side, in one run: shown, kept, inspected, continued and verified.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ended, freshPage, lanes, openSettings, set, startBrowser, startServer, texts } from "./server.mjs";

let server;
let browser;

before(async () => {
  server = await startServer();
  browser = await startBrowser();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

const labels = (page) => page.locator("[data-lane] [data-mix-label]").evaluateAll((all) => all.map((label) => !label.hidden));

test("lanes mix logits and weights side by side", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await page.goto(server.base);
  await page.locator('.connection[data-state="open"]').waitFor();
  await page.fill("[data-prompt]", "What did you think of the film?");
  await openSettings(page);
  await page.click("[data-preset-both]");
  assert.deepEqual(await labels(page), [false, true, false, true]);
  await lanes(page).nth(0).locator("[data-remove]").click();
  await lanes(page).nth(0).locator("[data-remove]").click();
  await page.click("[data-lane-add]");
  await page.locator("[data-lambda-number]").nth(2).fill("1");
  await lanes(page).nth(2).locator("[data-beside]").click();
  assert.deepEqual(await labels(page), [false, true, false, true]);
  assert.deepEqual(await page.locator("[data-lambda-number]").evaluateAll((all) => all.map((input) => input.value)), ["1.5", "1.5", "1", "1"]);

  await set(page, { max_tokens: 24, temperature: 0 });
  await page.click("[data-run-button]");
  await ended(page);
  const said = await texts(page);
  assert.equal(said.length, 4);
  assert.equal(said[2], said[3], "at λ = 1 both are the aligned model");
  assert.match(await lanes(page).nth(0).locator("[data-foot]").innerText(), /KL/);
  assert.doesNotMatch(await lanes(page).nth(1).locator("[data-foot]").innerText(), /KL/, "nobody knows it");

  await lanes(page).nth(1).locator(".t[data-i]").first().click();
  const inspector = page.locator("[data-inspector]");
  await inspector.waitFor();
  assert.match(await inspector.innerText(), /Model/);
  assert.doesNotMatch(await inspector.innerText(), /Reference|Aligned/);
  await inspector.locator("[data-id]").first().click(); // goes on from another token, in the weights, too
  await lanes(page).nth(4).waitFor();
  await ended(page);
  assert.deepEqual(await labels(page), [false, true, true, false, true]);

  const all = await texts(page);
  await page.reload();
  assert.deepEqual(await texts(page), [...said, all[2]], "it is kept, in the order of its lanes");
  assert.deepEqual(await labels(page), [false, true, false, true, true]);
  assert.deepEqual(troubles, []);
  await context.close();
});
