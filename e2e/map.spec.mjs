// A λ-map on the real pair: asked for, read, walked along by keyboard, explained, opened as a lane, shared, verified.

import assert from "node:assert/strict";
import { test } from "node:test";
import { check } from "./accessible.mjs";
import { browser, decoded, ended, freshPage, lanes, openSettings, screenshot, server, set, sideBySide, texts, until, withServer } from "./server.mjs";

withServer();

const prompt = "Tell me about the best holiday you ever had, and what you did there.";
const seed = 7;

/** Asks for the map of a prompt and waits for its end. */
async function mapped(page, settings = {}, text = prompt) {
  await page.goto(server.base);
  await page.locator('.connection[data-state="open"]').waitFor();
  await page.fill("[data-prompt]", text);
  await set(page, { seed, max_tokens: 60, ...settings });
  await page.click("[data-run-button]");
  await finished(page);
}

/** Waits until the map that was asked for is drawn whole. */
async function finished(page, state = "stop") {
  await page.locator("[data-runs] .run").first().waitFor();
  await page.locator(`[data-map][data-map-state="${state}"] [data-map-row]`).first().waitFor();
}

const text = (page) => page.locator("[data-map-text]").textContent();
const lambda = (page) => page.inputValue("[data-map-number]");

test("a map is walked along by keyboard, says what decode says, and tells why it forks", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await mapped(page);
  const rows = await page.locator("[data-map-row]").count();
  assert.ok(rows >= 5, `${rows} texts`);
  assert.equal(await page.locator("[data-map-mark]").count(), rows - 1);
  assert.ok(!(await page.locator("[data-stage]").isVisible()), "the lanes are the other view");
  assert.match(await page.locator("[data-runs] .run").first().textContent(), /slider, λ 0 to 2/);

  // From one end to the other by keyboard; what is read at each stop is what a lane says there.
  await page.locator("[data-map-slider]").focus();
  await page.keyboard.press("Home");
  const read = [];
  const note = async () => read.push([await lambda(page), await text(page)]);
  await note();
  for (let i = 1; i < rows; i++) {
    await page.keyboard.press("Shift+PageUp");
    await note();
  }
  assert.equal(new Set(read.map(([, said]) => said)).size, rows, "every text is reached");
  await page.keyboard.press("End");
  await note();
  for (const [keys, at] of [[["ArrowLeft"], "1.95"], [["PageDown", "ArrowDown"], "1.65"], [["Shift+ArrowRight"], "1.655"], [["PageUp"], "1.905"]]) {
    for (const key of keys) await page.keyboard.press(key);
    await note();
    assert.equal(read.at(-1)[0], at);
  }
  await page.fill("[data-map-number]", "0.58");
  await note();
  assert.deepEqual(read.map(([, said]) => said), await decoded(prompt, seed, 60, read.map(([at]) => at)), JSON.stringify(read));
  assert.equal(await page.locator("[data-map-beta-value]").textContent(), "0.0862");
  assert.equal(await page.locator(".map-last").first().isVisible(), true);

  // A fork, by keyboard and by pointer.
  const marks = page.locator("[data-map-mark]");
  await marks.first().focus();
  const why = page.locator("[data-map-why]");
  assert.match(await why.textContent(), /overtakes.*nats/s);
  const first = await why.locator(".map-sentence").textContent();
  await page.keyboard.press("ArrowRight");
  await until(async () => (await why.locator(".map-sentence").textContent()) !== first, "the next fork is explained");
  await page.keyboard.press("Escape");
  assert.ok(!(await why.isVisible()));
  await marks.last().locator(".map-dot").click();
  await why.locator('button:text("Text above it")').click();
  assert.equal(await text(page), read[rows - 1][1]);
  // Its numbers add up.
  const [reference, aligned, noise] = (await why.locator("tbody tr").nth(2).locator("td").allTextContents()).map((x) => Number(x.replace("−", "-")));
  const at = Number(await page.locator("[data-map-fork]").last().getAttribute("data-lambda"));
  assert.ok(Math.abs((1 - at) * reference + at * aligned + noise) < 0.005, `${at}: ${reference} ${aligned} ${noise}`);

  // A press on the river leads there, too.
  await page.locator("[data-map-river]").scrollIntoViewIfNeeded();
  const river = await page.locator("[data-map-river]").boundingBox();
  await page.mouse.click(river.x + river.width * 0.25, river.y + river.height - 3);
  assert.ok(Math.abs(Number(await lambda(page)) - 0.5) < 0.01, await lambda(page));

  // A band tells its words while it is pointed at, also where it is too narrow for them.
  const band = page.locator(".map-band").last();
  await band.locator(".map-water").hover({ force: true });
  assert.equal(await page.locator("[data-map-band]").textContent(), await band.locator("title").textContent());

  // As a lane: the same text under the same seed.
  const want = await text(page);
  const here = Number(await lambda(page));
  await page.click("[data-map-lane]");
  await page.locator('.connection[data-state="open"]').waitFor();
  assert.equal(await lanes(page).count(), 1);
  assert.ok(await lanes(page).first().isVisible(), "side by side");
  await until(async () => (await page.locator("[data-runs] .run").count()) === 2, "it is decoded at once");
  await ended(page);
  assert.deepEqual(await texts(page), [want]);
  const tip = lanes(page).first().locator("[data-duplicate] .tip");
  assert.equal(await tip.evaluate((words) => getComputedStyle(words).position), "static", "a wide lane has words beside its icons");
  assert.equal(Number(await lanes(page).first().getAttribute("data-lambda")), here);
  assert.equal(await page.locator("[data-runs] .run").count(), 2, "in the same session");

  // And back, by the list of runs.
  await page.locator("[data-runs] .run a").nth(1).click();
  await page.locator("[data-map-river]").waitFor();
  await page.waitForLoadState();
  assert.equal(await page.locator("[data-map-row]").count(), rows);
  assert.deepEqual(troubles, []);
  await context.close();
});

test("a map is shared, read without scripts in a fresh profile, and verified", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await mapped(page);
  const want = await page.locator("[data-map-row] .map-said").allTextContents();
  await page.click("[data-share] > summary");
  await page.click("[data-share-submit]");
  await page.locator("[data-share-url]").waitFor();
  const url = await page.inputValue("[data-share-url]");

  const guest = await freshPage(browser, { javaScriptEnabled: false });
  await guest.page.goto(url);
  assert.deepEqual(await guest.page.locator("[data-map-row] .map-said").allTextContents(), want);
  assert.ok(await guest.page.locator("[data-map-river]").isVisible());
  assert.ok(!(await guest.page.locator("[data-map-slider]").isVisible()), "nothing is offered that does not work");
  await guest.page.locator(".map-forks summary").first().click();
  assert.match(await guest.page.locator("#fork-1").textContent(), /overtakes/);
  assert.match(await guest.page.locator("main").textContent(), /SHA-256/);
  await guest.page.click('button:text("Verify")');
  assert.match(await guest.page.locator(".verdict").textContent(), new RegExp(`Identical.*of ${want.length} texts`));
  await guest.context.close();

  const reader = await freshPage(browser);
  await reader.page.goto(url);
  await reader.page.locator("[data-map-slider]").focus();
  await reader.page.keyboard.press("Home");
  assert.equal(await text(reader.page), want[0]);
  await reader.page.click("[data-verify] button");
  await reader.page.locator(".verdict-good").waitFor();
  await check(reader.page, "a shared map");
  await reader.page.click("[data-map-lane]");
  assert.equal(await reader.page.inputValue("[data-prompt]"), prompt);
  assert.equal(await reader.page.locator("[data-lane]").first().getAttribute("data-lambda"), "0");
  await ended(reader.page);
  assert.deepEqual(await texts(reader.page), [want[0]], "its text at once");
  assert.deepEqual([...troubles, ...reader.troubles], []);
  await reader.context.close();
  await context.close();
});

test("what has no exact map is refused at its field; a budget leaves parts open and says so; a map stops", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await page.goto(server.base);
  await page.locator('.connection[data-state="open"]').waitFor();
  await page.fill("[data-prompt]", prompt);
  await set(page, { seed, max_tokens: 60, top_k: 5 });
  await page.click("[data-run-button]");
  // The slider decodes again where it is let go, and says why.
  await page.locator("[data-map-release]:not([hidden])").waitFor();
  assert.match(await page.locator("[data-map-release]").textContent(), /several times as λ grows.*let go/);
  await set(page, { top_k: 0 });
  await page.fill("[data-map-to]", "-1");
  await page.click("[data-run-button]");
  assert.match(await page.locator('[data-error="to"]').textContent(), /Above/);

  await page.fill("[data-map-to]", "2");
  await page.fill("[data-map-branches]", "3");
  await page.evaluate(() => document.activeElement?.blur());
  await page.keyboard.press("r");
  await page.locator('[data-map][data-map-state="stop"] .map-missing:not([hidden])').waitFor();
  assert.match(await page.locator(".map-missing").textContent(), /% of λ, hatched, .*3 texts be followed at most/);
  const whole = await page.locator("[data-map-row]:not(:has(.map-rest))").count();
  const parts = await page.locator("[data-map-row] .map-rest").count();
  assert.ok(whole <= 3 && parts > 0);
  const noun = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
  assert.equal(await page.locator(".map-headline").textContent(), `${noun(whole, "whole text")} for λ from 0 to 2, and ${noun(parts, "part")} left open`);
  assert.ok((await page.locator('.map-band[data-kind="open"]').count()) > 0);
  await screenshot(page, "map-budget-1280-light");

  // Slowly, so that it can be seen growing, and stopped.
  const atFullSpeed = await server.slow();
  await openSettings(page);
  await page.fill("[data-map-branches]", "16");
  await set(page, { mode: "plain", ignore_end: true, max_tokens: 400, temperature: 1 });
  await page.click("[data-run-button]");
  await page.locator('[data-map][data-map-state="growing"] [data-map-mark]').first().waitFor();
  assert.match(await page.locator("[data-progress-words]").textContent(), /Decoding along λ: \d+ text/);
  await page.click("[data-stop-all]");
  await page.locator('[data-map][data-map-state="cancelled"]').waitFor();
  atFullSpeed();
  assert.match(await page.locator(".map-missing").textContent(), /the map was stopped/);
  await page.reload();
  assert.match(await page.locator(".map-missing").textContent(), /the map was stopped/);

  // Lanes of the same prompt are one press away. Slowly, so that they can be stopped.
  const fast = await server.slow();
  await sideBySide(page);
  await until(async () => (await lanes(page).first().isVisible()) && (await page.locator("[data-runs] .run").count()) > 3, "the lanes are decoded");
  await page.click("[data-stop-all]");
  await ended(page);
  fast();
  assert.deepEqual(troubles, []);
  await context.close();
});

for (const [width, colorScheme] of [[1280, "light"], [1280, "dark"], [390, "light"], [390, "dark"], [360, "light"]]) {
  test(`the map's page at ${width} px, ${colorScheme}`, async () => {
    const { page, context, troubles } = await freshPage(browser, { viewport: { width, height: 900 }, colorScheme, reducedMotion: "reduce" });
    await mapped(page);
    await check(page, "a map");
    await screenshot(page, `map-${width}-${colorScheme}`);
    await page.locator("[data-map-mark]").nth(3).locator(".map-dot").click({ force: true });
    await page.locator(".map-forks summary").first().click();
    await check(page, "a fork");
    await screenshot(page, `map-fork-${width}-${colorScheme}`);
    assert.deepEqual(troubles, []);
    await context.close();
  });
}

test("under the slider a text is read as Markdown, too, with the marks where it goes another way", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await page.goto(server.base);
  await page.locator("[data-map-slider]:not([hidden])").waitFor();
  const raw = page.locator("[data-map-text]");
  const rendered = page.locator("[data-map-markdown]");
  const words = async (place) => (await place.textContent()).replace(/\s+/g, " ").trim();
  assert.ok(await raw.isVisible());
  await page.locator('[data-map-written] input[value="rendered"]').check({ force: true });
  await rendered.waitFor();
  assert.ok(await raw.isHidden());
  assert.equal(await words(rendered), await words(raw));
  assert.equal((await rendered.locator(".map-last").textContent()).trim(), (await raw.locator(".map-last").textContent()).trim());
  await check(page, "a text as Markdown under the slider");

  // It follows the thumb at once: no frame is without a text, and none has that of another λ.
  const wrong = await page.evaluate(async () => {
    const slider = document.querySelector("[data-map-slider]");
    const said = (hook) => document.querySelector(hook).textContent.replace(/\s+/g, " ").trim();
    const wrong = [];
    for (let i = 0; i <= 40; i++) {
      slider.value = String(i / 20);
      slider.dispatchEvent(new Event("input", { bubbles: true }));
      if (said("[data-map-markdown]") === "" || said("[data-map-markdown]") !== said("[data-map-text]")) wrong.push(slider.value);
      await new Promise((resolve) => requestAnimationFrame(resolve));
    }
    return wrong;
  });
  assert.deepEqual(wrong, []);

  // The choice holds for the lanes, after a reload, and for a text that grows; raw is a press away.
  await page.fill("[data-prompt]", "What did you think of the film?");
  await page.click("[data-run-button]");
  await page.locator("[data-runs] .run").first().waitFor(); // the example, which stands there before, is of no session
  await until(async () => (await words(rendered)).length > 0, "the text of the run is rendered");
  await page.reload();
  await rendered.waitFor();
  await sideBySide(page);
  assert.ok(await page.locator('[data-view] input[value="rendered"]').isChecked());
  await page.locator("[data-view-slider]").check({ force: true });
  await page.locator('[data-map-written] input[value="plain"]').check({ force: true });
  assert.ok(await raw.isVisible());
  assert.deepEqual(troubles, []);
  await context.close();
});
