// Mixing two models: the pad by keyboard and pointer, and the map along a line between two mixtures, which says what decode says.

import assert from "node:assert/strict";
import { test } from "node:test";
import { check } from "./accessible.mjs";
import { browser, decoded, ended, freshPage, lanes, openSettings, screenshot, server, set, sideBySide, texts, until, withServer } from "./server.mjs";

withServer();

const models = ["warmth-b0.05", "length-b0.1"];
const pair = `demo:${models.join(",")}`;
const points = (page) => page.locator("[data-pad-point]");
const words = (page, place) => points(page).nth(place).getAttribute("aria-valuetext");

/** Opens the playground with two aligned models ticked. */
async function mix(page) {
  await page.goto(server.base);
  await page.locator('.connection[data-state="open"]').waitFor();
  await openSettings(page);
  for (const name of models) await page.locator(`[data-aligned] input[value="${name}"]`).check();
  await page.locator("[data-mixing]:not([hidden])").waitFor();
}

test("a map along a line between two mixtures says what decode says at 40 places", async () => {
  const { page, context, troubles } = await freshPage(browser);
  const prompt = "Tell me about the best holiday you ever had, and what you did there.";
  await mix(page);
  assert.equal(await page.inputValue("[data-map-to]"), "1:1", "the sum is shared out");
  await page.fill("[data-map-from]", "-0.5:0.5");
  await page.fill("[data-map-to]", "1.5:0.25");
  await page.fill("[data-prompt]", prompt);
  await set(page, { seed: 2, max_tokens: 40 });
  await page.click("[data-run-button]");
  // The example has a map as well, until the run begins.
  await until(async () => (await page.locator("[data-map-symbol]").textContent()) === "place", "the map is along a line");
  await page.locator('[data-map][data-map-state="stop"] [data-map-row]').first().waitFor();
  const at = (t) => [-0.5, 0.5].map((x, i) => (t === 0 ? x : t === 1 ? [1.5, 0.25][i] : x + t * ([1.5, 0.25][i] - x)));
  let state = 4321;
  const random = () => (state = (state * 1103515245 + 12345) % 2 ** 31) / 2 ** 31;
  const places = [0, 1, ...Array.from({ length: 38 }, () => Number(random().toFixed(4)))];
  const read = [];
  for (const t of places) {
    await page.fill("[data-map-number]", String(t));
    read.push(await page.locator("[data-map-text]").textContent());
  }
  const want = await decoded(prompt, 2, 40, places.map(at), pair);
  assert.ok(new Set(want).size >= 4, `${new Set(want).size} texts`);
  const cut = (text) => text.replace(/… token limit$/, "");
  assert.deepEqual(read.map(cut), want);
  assert.match(await page.locator("[data-map-mix]").textContent(), /^Warmth.* · Length.* · sum /);
  await check(page, "a map along a line");
  await screenshot(page, "mixing-slider");

  // No study and no sweep is of a mixture: the menu says so, and leads to no refusal.
  await page.click("[data-carry] > summary");
  assert.match(await page.locator("[data-carry]").innerText(), /one aligned model, and this run mixes several/);
  assert.equal(await page.locator("[data-carry] a:visible").count(), 0);
  await page.keyboard.press("Escape");

  // As a lane: λ of both models.
  await page.fill("[data-map-number]", "1");
  await page.click("[data-map-lane]");
  await page.locator("[data-stage]:not([hidden])").waitFor();
  await page.waitForLoadState();
  assert.equal(await lanes(page).first().getAttribute("data-lambda"), "1.5 0.25");
  assert.equal(await lanes(page).first().locator("[data-sum]").textContent(), "sum 1.75");
  await ended(page);
  assert.deepEqual(await texts(page), [want[1]], "decoded as the page opens");
  assert.deepEqual(troubles, []);
  await context.close();
});

test("the pad moves both λ of a lane, by keyboard and by pointer, and shows values and sums", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await mix(page);
  await sideBySide(page);
  await until(async () => (await points(page).count()) === 5, "a point for each lane");
  assert.match(await words(page, 2), /Warmth, β = 0.05 0.5, Length, β = 0.1 0.5, sum 1/);
  await points(page).nth(2).focus();
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("Shift+ArrowDown");
  await until(async () => /0.55, .* 0, sum 0.55$/.test(await words(page, 2)), "both λ have moved");
  assert.deepEqual(await lanes(page).nth(2).locator("[data-lambda-number]").evaluateAll((all) => all.map((i) => i.value)), ["0.55", "0"]);
  assert.equal(await lanes(page).nth(2).locator("[data-sum]").textContent(), "sum 0.55");
  // By pointer: the nearest point is taken along.
  const pad = await page.locator("[data-pad]").boundingBox();
  const px = (x) => pad.x + ((14 + ((x + 1) / 4) * 172) / 200) * pad.width;
  const py = (y) => pad.y + pad.height - ((14 + ((y + 1) / 4) * 172) / 200) * pad.height;
  await page.mouse.move(px(0.55), py(0));
  await page.mouse.down();
  await page.mouse.move(px(2), py(1.5), { steps: 4 });
  await page.mouse.up();
  const [a, b] = await lanes(page).nth(2).locator("[data-lambda-number]").evaluateAll((all) => all.map((i) => Number(i.value)));
  assert.ok(Math.abs(a - 2) < 0.06 && Math.abs(b - 1.5) < 0.06, `${a}, ${b}`);
  await check(page, "the pad");
  // What is decoded is what the pad says.
  await page.fill("[data-prompt]", "What did you think of the film?");
  await set(page, { seed: 3, max_tokens: 16 });
  await page.click("[data-run-button]");
  await ended(page);
  const said = await decoded("What did you think of the film?", 3, 16, [[a, b]], pair);
  assert.equal((await texts(page))[2], said[0]);
  assert.deepEqual(troubles, []);
  await context.close();
});

test("no more than four models are ticked; one leaves no pad; the page fits from 390 to 1920 px, dark and right to left", async () => {
  for (const [width, colorScheme] of [[390, "light"], [1024, "dark"], [1280, "light"], [1920, "dark"]]) {
    const { page, context, troubles } = await freshPage(browser, { viewport: { width, height: 900 }, colorScheme });
    await mix(page);
    if (width === 1280) await page.evaluate(() => document.documentElement.setAttribute("dir", "rtl"));
    await screenshot(page, `mixing-pad-${width}`);
    await check(page, `the pad at ${width}`);
    await sideBySide(page);
    await check(page, `lanes of two models at ${width}`);
    await screenshot(page, `mixing-lanes-${width}`);
    if (width === 1024) {
      const boxes = page.locator('[data-aligned] input[type="checkbox"]');
      await openSettings(page);
      for (let i = 0; (await boxes.evaluateAll((all) => all.filter((b) => b.checked).length)) < 4; i++) if (!(await boxes.nth(i).isChecked())) await boxes.nth(i).check();
      assert.ok((await boxes.evaluateAll((all) => all.filter((b) => !b.checked && !b.disabled).length)) === 0);
      assert.ok(!(await page.locator("[data-pad]").isVisible()), "four models have no pad");
      assert.equal(await page.locator(".mixing-model").count(), 5);
      await check(page, "four models");
      const over = await lanes(page).evaluateAll((all) => all.flatMap((lane) => {
        const boxes = (hook) => [...lane.querySelectorAll(hook)].map((part) => part.getBoundingClientRect()).filter((box) => box.width > 0);
        return boxes("[data-lambda-number]").flatMap((a) => boxes(".lane-tools button").filter((b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom));
      }));
      assert.deepEqual(over, [], "no λ field lies over a button");
      for (let i = 0; i < (await boxes.count()); i++) await boxes.nth(i).setChecked(i === 0);
      assert.ok(!(await page.locator("[data-mixing]").isVisible()), "one model is not mixed");
    }
    assert.deepEqual(troubles, []);
    await context.close();
  }
});
