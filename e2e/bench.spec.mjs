// The bench by pointer: its lanes, its seed, its presets, and a choice between pairs, one of them broken.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { copyFile, mkdtemp, rm, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { ended, freshPage, lanes, openSettings, program, run, set, sideBySide, startBrowser, startServer, states, texts, until } from "./server.mjs";

let data;
let server;
let browser;

before(async () => {
  data = await mkdtemp(join(tmpdir(), "realign-e2e-"));
  const demo = (name) => join(process.cwd(), "models/demo", name);
  const add = (name, reference) =>
    promisify(execFile)(program, ["pairs", "add", name, "--data", data, "--title", `The ${name} one`, "--reference", reference,
      "--adapter", `terse=${demo("length-b0.1.lora.gguf")},beta=0.1`, "--adapter", `warm=${demo("warmth-b0.1.lora.gguf")},default=true`]);
  await add("second", demo("reference-q8_0.gguf"));
  // A file that was cut off after its pair was added.
  const cut = join(data, "cut.gguf");
  await copyFile(demo("reference-q8_0.gguf"), cut);
  await add("broken", cut);
  await truncate(cut, 3_000_000);
  server = await startServer({ data });
  browser = await startBrowser();
});

after(async () => {
  await browser?.close();
  await server?.stop();
  await rm(data, { recursive: true, force: true });
});

const lambdas = (page) => page.locator("[data-lambda-number]").evaluateAll((all) => all.map((input) => input.value));

test("lanes are duplicated, removed, added and set; presets and the dice", async () => {
  const { page, context, troubles } = await freshPage(browser, { permissions: ["clipboard-read", "clipboard-write"] });
  await page.goto(server.base);
  await page.locator('.connection[data-state="open"]').waitFor();
  await page.fill("[data-prompt]", "What did you think of the film?");
  await openSettings(page);
  const seed = await page.inputValue("[data-seed]");
  for (let rolls = 0; rolls < 3 && (await page.inputValue("[data-seed]")) === seed; rolls++) await page.click("[data-dice]");
  assert.notEqual(await page.inputValue("[data-seed]"), seed);

  await page.locator("[data-preset]").nth(1).click();
  assert.deepEqual((await lambdas(page)).map((text) => Number(Number(text).toFixed(2))), [0, 0.17, 0.67, 1, 3]);
  assert.match(await lanes(page).nth(4).textContent(), /Beyond/);
  await page.locator("[data-preset]").first().click();
  assert.deepEqual(await lambdas(page), ["0", "0.5", "1", "1.5", "2"]);
  await lanes(page).nth(1).locator("[data-lambda-slider]").fill("0.75");
  assert.equal(await lanes(page).nth(1).locator("[data-lambda-number]").inputValue(), "0.75");
  await lanes(page).nth(1).locator("[data-duplicate]").click();
  await lanes(page).nth(0).locator("[data-remove]").click();
  await page.click("[data-lane-add]");
  assert.deepEqual(await lambdas(page), ["0.75", "0.75", "1", "1.5", "2", "2.5"]);

  await set(page, { max_tokens: 24, temperature: 1 });
  await page.click("[data-run-button]");
  await ended(page);
  const said = await texts(page);
  assert.equal(said.length, 6);
  assert.match(await lanes(page).nth(1).textContent(), /sample/, "a duplicate is another sample");
  assert.match(await lanes(page).nth(2).textContent(), /β 0\.05/, "the effective β at λ 1");
  await lanes(page).nth(2).locator("[data-copy]").click();
  await until(async () => (await page.evaluate(() => navigator.clipboard.readText())) === said[2], "the lane's text is copied");

  // What is on the bench is what is kept.
  await page.reload();
  assert.deepEqual(await lambdas(page), ["0.75", "0.75", "1", "1.5", "2", "2.5"]);
  assert.deepEqual(await texts(page), said);
  assert.deepEqual(troubles, []);
  await context.close();
});

test("another pair has its own aligned models, and two of them have a λ each", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await page.goto(server.base);
  await page.locator('.connection[data-state="open"]').waitFor();
  await openSettings(page);
  await page.selectOption("[data-pair]", { label: "The second one" });
  const boxes = page.locator('[data-aligned] input[type="checkbox"]');
  assert.deepEqual(await boxes.evaluateAll((all) => all.map((box) => [box.value, box.checked])), [["warm", true], ["terse", false]]);
  await boxes.nth(1).check();
  await sideBySide(page);
  assert.deepEqual(await lanes(page).nth(2).locator("[data-lambda-number]").evaluateAll((all) => all.map((input) => input.value)), ["0.5", "0.5"], "λ is shared between them");
  assert.equal(await lanes(page).first().locator("[data-lambda-number]").count(), 2);
  await lanes(page).nth(2).locator("[data-lambda-number]").first().fill("0.25");
  await lanes(page).nth(2).locator("[data-lambda-number]").nth(1).fill("0.75");
  await run(page, "What did you think of the film?", { seed: 4, max_tokens: 16 });
  await until(async () => /loading|starting|ready/.test(await page.locator("[data-pair-state]").getAttribute("data-state")), "its worker starts");
  await ended(page);
  assert.ok((await texts(page)).every((text) => text.length > 0), String(await states(page)));
  await page.reload();
  assert.equal(await page.inputValue("[data-pair]"), "second");
  assert.equal(await lanes(page).nth(2).locator("[data-lambda-number]").nth(1).inputValue(), "0.75");
  assert.match(await page.locator(".about").textContent(), /second[\s\S]*warm[\s\S]*terse/);
  assert.deepEqual(troubles, []);
  await context.close();
});

test("a pair with a broken file says what is wrong with it, and the others decode on", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await page.goto(server.base);
  await page.locator('.connection[data-state="open"]').waitFor();
  await openSettings(page);
  await page.selectOption("[data-pair]", { label: "The broken one" });
  await run(page, "Are you there?", { seed: 4, max_tokens: 8 });
  await page.locator("[data-alert]").waitFor();
  const words = await page.locator("[data-alert-words]").textContent();
  assert.match(words, /cut\.gguf/);
  assert.equal(await page.locator("[data-runs] .run").count(), 0, "nothing was kept");
  await openSettings(page);
  await page.selectOption("[data-pair]", "demo");
  await page.click("[data-run-button]");
  await ended(page);
  assert.ok((await texts(page)).every((text) => text.length > 0));
  assert.deepEqual(troubles, []);
  await context.close();
});
