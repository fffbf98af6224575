// One history: runs and sessions searched, named, pinned, deleted and brought back; settings under a name.

import assert from "node:assert/strict";
import { test } from "node:test";
import { check } from "./accessible.mjs";
import { browser, ended, freshPage, openSettings, run, screenshot, server, set, texts, until, withServer } from "./server.mjs";

withServer();

const runs = (page) => page.locator("[data-runs] .run");
const sessions = (page) => page.locator("[data-sessions-beside] .run");

/** Runs prompts in one session, each with few tokens. */
async function session(page, prompts) {
  await page.goto(server.base);
  for (const [i, prompt] of prompts.entries()) {
    await run(page, prompt, { seed: i + 1, max_tokens: 4 });
    await until(async () => (await runs(page).count()) === i + 1, `run ${i + 1}`);
    await ended(page);
  }
}

test("runs are numbered and named, pinned to the top, and show their pair and λ", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await session(page, ["First prompt", "Second prompt", "Third prompt"]);
  await until(async () => /3\.\s*demo\s*λ 0 · 0\.5 · 1 · 1\.5 · 2\s*seed 3/.test(await runs(page).first().textContent()), "the newest is the first");
  // Named by keyboard.
  const second = runs(page).nth(1);
  await second.locator("[data-item-rename]").focus();
  await page.keyboard.press("Enter");
  await page.keyboard.type("A <b>name</b>");
  await page.keyboard.press("Enter");
  await until(async () => (await runs(page).nth(1).locator("[data-item-title]").textContent()) === "A <b>name</b>", "it is named");
  await until(async () => page.evaluate(() => document.activeElement?.hasAttribute("data-item-rename")), "the focus is where it was");
  // Esc leaves a name as it is.
  await page.keyboard.press("Enter");
  await page.keyboard.type("Never mind");
  await page.keyboard.press("Escape");
  assert.equal(await runs(page).nth(1).locator("[data-item-title]").textContent(), "A <b>name</b>");
  // Pinned.
  await runs(page).nth(2).locator('[data-item-does="pin"]').click();
  await until(async () => /First prompt/.test(await runs(page).first().textContent()), "the pinned one is the first");
  assert.equal(await runs(page).first().locator('[data-item-does="pin"]').getAttribute("aria-pressed"), "true");
  await page.reload();
  assert.match(await runs(page).first().textContent(), /First prompt/);
  assert.match(await runs(page).nth(2).textContent(), /A <b>name<\/b>/);
  await check(page, "history");
  assert.deepEqual(troubles, []);
  await context.close();
});

test("many are deleted at once and come back; deleting what is shown leads on", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await session(page, ["Alpha", "Beta", "Gamma"]);
  const shown = await texts(page);
  for (const place of [1, 2]) await runs(page).nth(place).locator('input[type="checkbox"]').check();
  assert.equal(await page.locator("[data-history-delete]").textContent(), "Delete 2 chosen");
  await page.click("[data-history-delete]");
  await until(async () => (await runs(page).count()) === 1, "two are gone");
  assert.deepEqual(await texts(page), shown, "what is shown stays");
  await page.click("[data-toast-undo]");
  await until(async () => (await runs(page).count()) === 3, "they are back");
  // The one that is shown.
  await runs(page).first().locator('[data-item-does="delete"]').click();
  await page.locator('.toast:has-text("Deleted: 1 run.")').waitFor();
  await page.waitForLoadState();
  assert.equal(await page.inputValue("[data-prompt]"), "Beta");
  await page.click('.toast button:text("Undo")');
  await page.locator('.toast:has-text("is back")').waitFor();
  await page.waitForLoadState();
  assert.equal(await page.inputValue("[data-prompt]"), "Gamma");
  // And the session.
  await sessions(page).first().locator('[data-item-does="delete"]').click();
  await page.locator('.toast:has-text("The session is deleted")').waitFor();
  await page.waitForLoadState();
  assert.equal(new URL(page.url()).pathname, "/");
  assert.equal(await sessions(page).count(), 0);
  assert.deepEqual(troubles, []);
  await context.close();
});

test("the history is searched by title and prompt, and leads from session to session", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await session(page, ["About the harbour", "Something else"]);
  await session(page, ["The mountains"]);
  assert.equal(await sessions(page).count(), 2);
  await page.fill('[data-history-search] input', "harbour");
  await until(async () => (await sessions(page).count()) === 1 && (await runs(page).count()) === 0, "one session is found");
  await sessions(page).first().locator("a").click();
  await until(async () => (await runs(page).count()) === 2, "its runs");
  await page.waitForLoadState(); // the search needs the script
  await page.fill('[data-history-search] input', "nothing of the kind");
  await page.locator('[data-history-lists] :text("Nothing found")').waitFor();
  await check(page, "nothing found");
  assert.deepEqual(troubles, []);
  await context.close();
});

test("the history lies beside where there is room, if it is wanted", async () => {
  for (const [width, rtl, colorScheme] of [[390, false, "light"], [1024, false, "dark"], [1280, true, "light"], [1920, false, "dark"]]) {
    const { page, context, troubles } = await freshPage(browser, { viewport: { width, height: 900 }, colorScheme });
    await session(page, ["What did you think of the film?"]);
    if (rtl) await page.evaluate(() => document.documentElement.setAttribute("dir", "rtl"));
    const toggle = page.locator("[data-history-toggle]");
    if (width === 1280) await toggle.click();
    const beside = await page.evaluate(() => {
      const [bench, history] = [".bench", "[data-past]"].map((hook) => document.querySelector(hook).getBoundingClientRect());
      return history.top < bench.bottom;
    });
    assert.equal(beside, width >= 1280, `${width}`);
    await screenshot(page, `history-${width}`);
    await check(page, `history at ${width}`);
    if (width === 1280) {
      await page.reload();
      assert.equal(await toggle.getAttribute("aria-pressed"), "true", "it is remembered");
    }
    assert.deepEqual(troubles, []);
    await context.close();
  }
});

test("settings are saved under a name, used, and deleted with undo", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await page.goto(`${server.base}/?lanes=0,0.25`);
  await set(page, { temperature: 0.3, system: "Be brief." });
  await page.fill("[data-preset-name]", "Cool");
  await page.press("[data-preset-name]", "Enter");
  await page.locator('[data-preset-words]:text("Saved as Cool.")').waitFor();
  await page.goto(`${server.base}/?lanes=1`);
  await set(page, { temperature: 1, system: "" });
  await page.selectOption("[data-preset-list]", "Cool");
  await check(page, "presets");
  await page.click("[data-preset-use]");
  assert.equal(await page.inputValue("[data-sampling=temperature]"), "0.3");
  assert.equal(await page.inputValue("[data-system]"), "Be brief.");
  assert.deepEqual(await page.locator("[data-lanes] > [data-lane] [data-lambda-number]").evaluateAll((all) => all.map((i) => i.value)), ["0", "0.25"]);
  await openSettings(page);
  await page.click("[data-preset-drop]");
  await page.click('[data-preset-words] button:text("Undo")');
  assert.equal(await page.inputValue("[data-preset-list]"), "Cool");
  assert.deepEqual(troubles, []);
  await context.close();
});

test("Rate these… and Sweep these… carry prompts and λ over", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await session(page, ["What did you think of the film?", "And the music?"]);
  await page.click("[data-carry] > summary");
  await check(page, "going on with a run");
  await page.click('[data-carry] a:text("Rate these…")');
  assert.equal(await page.inputValue('[name="prompts"]'), "What did you think of the film?\nAnd the music?");
  assert.equal(await page.inputValue('[name="grid"]'), "0, 0.5, 1, 1.5, 2");
  assert.equal(await page.inputValue('[name="max_tokens"]'), "4");
  await page.goBack();
  await page.click("[data-carry] > summary");
  await page.click('[data-carry] a:text("Sweep these…")');
  await page.waitForURL(/sweeps\/new\?run=/);
  assert.equal(await page.inputValue('[name="prompts"]'), "What did you think of the film?\nAnd the music?");
  assert.deepEqual(await page.evaluate(() => ["from", "to", "points", "pair"].map((name) => document.querySelector(`[name="${name}"]`).value)), ["0", "2", "5", "demo:warmth-b0.05"]);
  assert.deepEqual(troubles, []);
  await context.close();
});

test("on a phone Rate these… and Sweep these… are reached, by keyboard too", async () => {
  const { page, context, troubles } = await freshPage(browser, { viewport: { width: 390, height: 844 } });
  await session(page, ["What did you think of the film?"]);
  const menu = page.locator("[data-carry] > summary");
  const box = await menu.boundingBox();
  assert.ok(box && box.x >= 0 && box.x + box.width <= 390, JSON.stringify(box));
  for (const [words, address] of [["Rate these…", /studies\/new\?run=/], ["Sweep these…", /sweeps\/new\?run=/]]) {
    await menu.focus();
    await page.keyboard.press("Enter");
    await check(page, "going on with a run, on a phone");
    for (let i = 0; i < 3 && (await page.evaluate(() => document.activeElement.textContent.trim())) !== words; i++) await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await page.waitForURL(address);
    await page.goBack();
  }
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 390);
  assert.deepEqual(troubles, []);
  await context.close();
});
