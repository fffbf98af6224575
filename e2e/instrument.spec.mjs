// The slider: an example at the first visit, the text under the thumb while it is decoded, and what decode says at 100 λ.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { check } from "./accessible.mjs";
import { browser, decoded, ended, freshPage, lanes, openSettings, screenshot, server, set, sideBySide, until, withServer } from "./server.mjs";

withServer();

const text = (page) => page.locator("[data-map-text]").textContent();
const move = (page, lambda) => page.locator("[data-map-slider]").evaluate((slider, x) => {
  slider.value = String(x);
  slider.dispatchEvent(new Event("input", { bubbles: true }));
}, lambda);
const release = (page) => page.locator("[data-map-slider]").evaluate((slider) => slider.dispatchEvent(new Event("change", { bubbles: true })));

/** Opens the playground and runs a prompt under the slider. */
async function slide(page, prompt, settings = {}) {
  await page.goto(server.base);
  await page.locator('.connection[data-state="open"]').waitFor();
  await page.fill("[data-prompt]", prompt);
  await set(page, settings);
  await page.click("[data-run-button]");
  await page.locator("[data-runs] .run").first().waitFor();
}

test("the first visit shows a finished example that was really decoded, and the slider moves through it", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await page.goto(server.base);
  const example = JSON.parse(await readFile("internal/web/example.json", "utf8"));
  assert.match(await page.locator("[data-example-label]").textContent(), /Example.*What did you think of the film\?.*pair demo.*seed 1/);
  await page.locator("[data-map-slider]:not([hidden])").waitFor();
  for (const branch of example.branches) {
    await move(page, (branch.from + branch.to) / 2);
    assert.equal(await text(page), branch.pieces.join(""));
  }
  // It is what the pair says today.
  const at = example.branches.map((b) => (b.from + b.to) / 2);
  assert.deepEqual(example.branches.map((b) => b.pieces.join("")), await decoded(example.text, example.seed, example.sampling.max_tokens, at));
  for (const words of ["Reference", "Aligned", "Beyond"]) assert.ok((await page.locator(`.map-stop:text("${words}")`).count()) === 1, words);
  assert.deepEqual(troubles, []);
  await context.close();
});

test("at 100 random λ the slider's text is what decode says", async () => {
  const { page, context, troubles } = await freshPage(browser);
  const prompt = "Tell me about the best holiday you ever had, and what you did there.";
  await slide(page, prompt, { seed: 18, max_tokens: 60 });
  await page.locator('[data-map][data-map-state="stop"] [data-map-row]').first().waitFor();
  let state = 12345;
  const random = () => (state = (state * 1103515245 + 12345) % 2 ** 31) / 2 ** 31;
  const lambdas = Array.from({ length: 100 }, () => Number((2 * random()).toFixed(4)));
  const read = [];
  for (const x of lambdas) {
    await page.fill("[data-map-number]", String(x));
    read.push(await text(page));
  }
  const want = [];
  for (let i = 0; i < lambdas.length; i += 50) want.push(...(await decoded(prompt, 18, 60, lambdas.slice(i, i + 50))));
  assert.ok(new Set(want).size >= 4, `${new Set(want).size} texts`);
  assert.deepEqual(read, want);
  assert.deepEqual(troubles, []);
  await context.close();
});

test("while the map is decoded the text follows the thumb, and a word that was shown stays", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await page.goto(server.base);
  await page.locator('.connection[data-state="open"]').waitFor();
  const atFullSpeed = await server.slow();
  await page.fill("[data-prompt]", "The film began");
  await set(page, { seed: 5, mode: "plain", ignore_end: true, max_tokens: 120, temperature: 1 });
  await page.click("[data-run-button]");
  await until(async () => (await page.locator("[data-runs] .run").count()) === 1, "it runs");
  await page.locator('[data-map][data-map-state="growing"]').waitFor();
  // Wherever the thumb goes, the text there grows before the map is whole.
  const seen = [];
  for (const x of [0.1, 1.9, 1]) {
    await move(page, x);
    const before = await text(page);
    // Both are read in the frame in which it has grown: the map may end before another question is answered.
    const grown = await page.waitForFunction((length) => {
      const map = document.querySelector("[data-map]");
      const now = map.querySelector("[data-map-text]").textContent;
      return now.length > length && { now, state: map.dataset.mapState };
    }, before.length + 10);
    const { now, state } = await grown.jsonValue();
    assert.equal(state, "growing", `the text at ${x} grows`);
    assert.ok(now.startsWith(before), `${x}: ${before} → ${now}`);
    seen.push([x, now]);
  }
  atFullSpeed();
  await page.locator('[data-map][data-map-state="stop"]').waitFor();
  for (const [x, before] of seen) {
    await move(page, x);
    assert.ok((await text(page)).startsWith(before), `${x}: ${before}`);
  }
  assert.deepEqual(troubles, []);
  await context.close();
});

test("where there is no map the text is decoded where the slider is let go, and the page says why", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await slide(page, "What did you think of the film?", { seed: 1, max_tokens: 30, top_k: 5 });
  assert.match(await page.locator("[data-map-release]").textContent(), /Top-k has no exact map.*let go/);
  const settled = async () => until(async () => (await page.locator("[data-map]").getAttribute("data-map-state")) === "read", "it is decoded");
  await settled();
  const first = await text(page);
  await move(page, 0);
  assert.equal(await text(page), first, "nothing changes while it moves");
  await release(page);
  await until(async () => (await text(page)) !== first, "another text at λ 0");
  await settled();
  const second = await text(page);
  await move(page, 1);
  await release(page);
  await until(async () => (await text(page)) === first, "the first text again, without decoding");
  assert.notEqual(first, second);
  assert.equal(await page.locator("[data-runs] .run").count(), 1, "all in one run");
  // As a lane it has its text at once, too.
  await page.click("[data-map-lane]");
  await page.locator('.connection[data-state="open"]').waitFor();
  await ended(page);
  assert.deepEqual(await lanes(page).locator("[data-text]").allTextContents(), [first]);
  assert.deepEqual(troubles, []);
  await context.close();
});

test("side by side is one press away, of the same run: prompt, seed and λ", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await slide(page, "What did you think of the film?", { seed: 2, max_tokens: 40 });
  await page.locator('[data-map][data-map-state="stop"] [data-map-row]').first().waitFor();
  const said = {};
  for (const x of [0, 0.5, 1, 1.5, 2]) {
    await move(page, x);
    said[x] = await text(page);
  }
  await sideBySide(page);
  await ended(page);
  for (const lane of await lanes(page).all()) {
    assert.equal(await lane.locator("[data-text]").textContent(), said[await lane.getAttribute("data-lambda")]);
  }
  assert.deepEqual(await page.locator("[data-lanes] [data-words]").allTextContents(), ["Reference", "Between", "Aligned", "Beyond", "Beyond"]);
  // Back: the map is still there.
  await page.locator("[data-view-slider]").check({ force: true });
  await move(page, 0);
  assert.equal(await text(page), said[0]);
  await until(async () => (await page.locator("[data-runs] .run").count()) === 2, "the lanes are a run of their own");
  assert.deepEqual(troubles, []);
  await context.close();
});

test("Again rolls a new seed and says so; settings are remembered; the drawer closes on Run", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await slide(page, "What did you think of the film?", { seed: 2, max_tokens: 20, temperature: 0.9 });
  assert.ok(!(await page.locator("[data-setup]").evaluate((box) => box.open)));
  assert.match(await page.locator("[data-setup-words]").textContent(), /^Demo · Warmth β 0.05 · T 0.9 · seed 2$/);
  await page.locator('[data-map][data-map-state="stop"]').waitFor();
  await until(async () => (await page.locator("[data-run-words]").textContent()) === "Again", "it can be run again");
  await page.click("[data-run-button]");
  await until(async () => (await page.locator("[data-runs] .run").count()) === 2, "a second run");
  const seed = await page.inputValue("[data-seed]");
  assert.notEqual(seed, "2");
  await openSettings(page);
  await page.locator('[data-aligned] input[value="length-b0.1"]').check();
  await page.locator('[data-aligned] input[value="warmth-b0.05"]').uncheck();
  await page.goto(server.base);
  await page.locator('.connection[data-state="open"]').waitFor();
  assert.match(await page.locator("[data-setup-words]").textContent(), /Length β 0.1 · T 0.9/);
  assert.deepEqual(troubles, []);
  await context.close();
});

test("Enter runs the prompt, and Shift+Enter begins a new line", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await page.goto(server.base);
  await page.locator('.connection[data-state="open"]').waitFor();
  const prompt = page.locator("[data-prompt]");
  await prompt.pressSequentially("What did you");
  await prompt.press("Shift+Enter");
  await prompt.pressSequentially("think of it?");
  assert.equal(await prompt.inputValue(), "What did you\nthink of it?");
  assert.equal(await page.locator("[data-runs] .run").count(), 0);
  await prompt.press("Enter");
  await until(async () => (await page.locator("[data-runs] .run").count()) === 1, "it runs");
  assert.equal(await prompt.inputValue(), "What did you\nthink of it?");
  assert.deepEqual(troubles, []);
  await context.close();
});

test("a conversation keeps all of its turns", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await page.goto(server.base);
  await sideBySide(page);
  const turns = () => page.locator("[data-before] .turn-of").count();
  await page.fill("[data-prompt]", "What did you think of the film?");
  await set(page, { seed: 3, max_tokens: 20 });
  for (let turn = 1; turn <= 3; turn++) {
    await page.click("[data-run-button]");
    await until(async () => (await page.locator("[data-runs] .run").count()) === turn, `run ${turn}`);
    await ended(page);
    await lanes(page).nth(2).locator("[data-reply]").click();
    assert.equal(await turns(), 2 * turn);
    await page.fill("[data-prompt]", `And then? ${turn}`);
  }
  assert.deepEqual(troubles, []);
  await context.close();
});

for (const [width, height, most] of [[1280, 900, 260], [390, 844, 220], [1920, 1080, 260], [1366, 768, 260], [1024, 768, 260], [768, 1024, 260], [320, 640, 260]]) {
  test(`at ${width} px lanes begin above the fold, and no page scrolls sideways`, async () => {
    const { page, context, troubles } = await freshPage(browser, { viewport: { width, height } });
    await page.goto(server.base);
    await page.locator("[data-map-slider]:not([hidden])").waitFor();
    const sideways = () => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.equal(await sideways(), 0, "the slider");
    // What the models are stands on the first screen, and λ of the drawing under λ of the slider.
    const about = page.locator("[data-about-pair]");
    assert.match(await about.textContent(), /sentiment classifier finds positive.*tiny chat model of 5 million parameters/);
    assert.ok((await about.boundingBox()).y < height, "on the first screen");
    const ends = async (place) => page.locator(place).evaluate((part) => [part.getBoundingClientRect().left, part.getBoundingClientRect().right].map(Math.round));
    assert.deepEqual(await ends(".map-stops"), await ends("[data-map-river]"));
    await screenshot(page, `instrument-first-${width}`);
    await check(page, "the first visit");
    await sideBySide(page);
    await page.fill("[data-prompt]", "What did you think of the film?");
    await set(page, { seed: 2, max_tokens: 60 });
    for (let i = 0; i < 6; i++) await page.click("[data-lane-add]");
    await page.click("[data-run-button]");
    await ended(page);
    await page.evaluate(() => scrollTo(0, 0));
    const top = await lanes(page).first().evaluate((lane) => lane.getBoundingClientRect().top);
    assert.ok(top <= most, `lanes begin at ${top}`);
    assert.equal(await sideways(), 0, "eleven lanes");
    if (width === 390) {
      const title = await page.locator("[data-session-title]").evaluate((h1) => [parseFloat(getComputedStyle(h1).fontSize), h1.getBoundingClientRect().width]);
      assert.ok(title[0] >= 18 && title[1] > 200, `the title: ${title[0]} px high letters, ${title[1]} px wide`);
      const second = await lanes(page).nth(1).evaluate((lane) => lane.getBoundingClientRect().bottom);
      assert.ok(second <= height, `the second lane ends at ${second}`);
    }
    // Nothing in the head of a lane lies over anything: not β over its field, nor a field over a button.
    const over = await lanes(page).evaluateAll((all) => all.flatMap((lane) => {
      const parts = [...lane.querySelectorAll("[data-words], [data-lambda-number], [data-beta], [data-sum], [data-sample-label], .lane-tools button")]
        .map((part) => [part.outerHTML.slice(0, 60), part.getBoundingClientRect()]).filter(([, box]) => box.width > 0);
      return parts.flatMap(([one, a], i) => parts.slice(i + 1).flatMap(([other, b]) =>
        a.left < b.right - 0.5 && b.left < a.right - 0.5 && a.top < b.bottom - 0.5 && b.top < a.bottom - 0.5 ? [`${one} and ${other}`] : []));
    }));
    assert.deepEqual(over, []);
    await screenshot(page, `instrument-lanes-${width}`);
    await check(page, "lanes");
    assert.deepEqual(troubles, []);
    await context.close();
  });
}
