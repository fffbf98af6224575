// A pair of encoder–decoder models on every page: the slider, lanes, a comparison link, a study, a sweep and the pair's own.

import assert from "node:assert/strict";
import { test } from "node:test";
import { check } from "./accessible.mjs";
import { studied, swept } from "./experiment.mjs";
import { browser, decoded, ended, freshPage, lanes, server, set, sideBySide, texts, withServer } from "./server.mjs";

const pair = "demo-t5";
const prompt = "What did you think of the film?";

withServer({ pair });

test("the slider and the lanes say what decode says, and the comparison verifies", { timeout: 120_000 }, async () => {
  const { page, context, troubles } = await freshPage(browser);
  await page.goto(server.base);
  await page.locator('.connection[data-state="open"]').waitFor();
  await page.fill("[data-prompt]", prompt);
  await set(page, { seed: 11, max_tokens: 32 });
  await page.click("[data-run-button]");
  await page.locator("[data-runs] .run").first().waitFor(); // an example's map is of no run
  await page.locator('[data-map][data-map-state="stop"] [data-map-row]').first().waitFor();
  const places = [0, 0.35, 1, 1.62, 2];
  const want = await decoded(prompt, 11, 32, places, pair);
  assert.ok(new Set(want).size > 2, `λ is of no consequence: ${want}`);
  for (const [i, lambda] of places.entries()) {
    await page.fill("[data-map-number]", String(lambda));
    assert.equal(await page.locator("[data-map-text]").textContent(), want[i]);
  }
  await sideBySide(page);
  await ended(page);
  const said = await texts(page);
  const lambdas = await page.locator("[data-lambda-number]").evaluateAll((all) => all.map((input) => Number(input.value)));
  assert.deepEqual(said, await decoded(prompt, 11, 32, lambdas, pair));

  await lanes(page).last().locator(".t[data-i]").first().click();
  assert.match(await page.locator("[data-inspector]").innerText(), /Reference[^]*Aligned/);
  await check(page, "lanes of an encoder–decoder pair");
  await page.click("[data-share] > summary");
  await page.click("[data-share-submit]");
  await page.locator("[data-share-url]").waitFor();
  await page.goto(await page.inputValue("[data-share-url]"));
  for (const text of said) assert.ok((await page.locator("main").innerText()).includes(text.trim()));
  await page.click("[data-verify] button");
  await page.locator(".verdict-good").waitFor();
  await page.goto(`${server.base}/pairs/${pair}`);
  assert.match(await page.locator("main").innerText(), /encoder/);
  assert.deepEqual(troubles, []);
  await context.close();
});

test("a study of it is decoded, opened and rated", { timeout: 180_000 }, () => studied(pair, "length-b0.1", pair));

test("a sweep of it ends with its report", { timeout: 240_000 }, async () => {
  assert.match(await swept(pair, "length-b0.1"), /best λ/i);
});
