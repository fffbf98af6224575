// Lanes side by side: they follow what is set, are read together, rendered, copied and saved as pictures.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { check } from "./accessible.mjs";
import { browser, ended, freshPage, lanes, long, openSettings, run, running, screenshot, server, set, sideBySide, states, texts, until, withServer } from "./server.mjs";

withServer();

const prompt = "What did you think of the film?";
const runs = (page) => page.locator("[data-runs] .run").count();

/** A page with a run of five lanes that have ended. */
async function five(options = {}, settings = {}) {
  const fresh = await freshPage(browser, options);
  await fresh.page.goto(server.base);
  await run(fresh.page, prompt, { seed: 2, max_tokens: 60, ...settings });
  await ended(fresh.page);
  return fresh;
}

test("after a run λ, lanes and presets are decoded without a second press, and texts that are there stay", async () => {
  const { page, context, troubles } = await five();
  const before = await texts(page);
  const third = lanes(page).nth(2);
  await third.locator("[data-lambda-number]").fill("0.3");
  await third.locator("[data-lambda-number]").press("Tab");
  await until(async () => (await third.getAttribute("data-index")) === "5", "another lane of the run is shown there");
  await ended(page);
  assert.deepEqual((await texts(page)).toSpliced(2, 1), before.toSpliced(2, 1), "the others stay");
  await page.click("[data-lane-add]");
  await until(async () => (await lanes(page).count()) === 6 && (await states(page)).every((s) => s === "stop" || s === "length"), "the lane that was added is decoded");
  // A preset keeps what it has, and decodes the rest.
  await openSettings(page);
  await page.locator("[data-preset]").nth(1).click(); // 0, 1/6, 2/3, 1, 3
  await until(async () => (await lanes(page).count()) === 5, "the lanes of the preset");
  assert.equal((await texts(page))[0], before[0], "λ 0 has its text at once");
  await ended(page);
  assert.ok((await texts(page)).every((text) => text.length > 0));
  await until(async () => (await runs(page)) === 1, "all in one run");
  assert.equal(await page.locator("[data-run-words]").textContent(), "Again");
  // Nothing is lost: a reload shows all that the run has decoded.
  await page.reload();
  await until(async () => (await lanes(page).count()) >= 9, "every lane of the run");
  assert.deepEqual(troubles, []);
  await context.close();
});

test("a λ that is dragged while lanes stream leaves one mark, and not one a token", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await page.goto(server.base);
  const atFullSpeed = await server.slow();
  await run(page, "The film began", { ...long, seed: 7 });
  await running(page);
  const lane = lanes(page).first();
  const slider = lane.locator("[data-lambda-slider]");
  for (let i = 1; i <= 20; i++) {
    await slider.evaluate((input, x) => {
      input.value = String(x);
      input.dispatchEvent(new Event("input", { bubbles: true }));
    }, i / 10);
    await page.waitForTimeout(90);
  }
  await slider.evaluate((input) => input.dispatchEvent(new Event("change", { bubbles: true })));
  await until(async () => (await lane.locator(".turn").last().textContent().catch(() => "")) === "λ 2", "the mark is where the slider is");
  const at = await lane.locator(".turn").evaluateAll((marks) => marks.map((mark) => Number(mark.nextElementSibling?.dataset.i ?? -1)));
  for (let i = 1; i < at.length; i++) assert.ok(at[i] - at[i - 1] >= 8, `marks at ${at}`);
  await page.keyboard.press("Escape");
  await ended(page);
  atFullSpeed();
  assert.deepEqual(troubles, []);
  await context.close();
});

test("lanes that are added one right after another all arrive", async () => {
  const { page, context, troubles } = await five();
  await page.evaluate(() => {
    for (let i = 0; i < 3; i++) document.querySelector("[data-lane-add]").click();
  });
  await until(async () => (await lanes(page).count()) === 8 && (await states(page)).every((s) => s === "stop" || s === "length"), "the three lanes are decoded");
  assert.ok(await page.locator("[data-alert]").isHidden(), await page.locator("[data-alert]").textContent());
  await until(async () => (await runs(page)) === 1, "all in one run");
  assert.deepEqual(troubles, []);
  await context.close();
});

test("a run that is opened again stands at its beginning", async () => {
  const { page, context, troubles } = await five({ viewport: { width: 1280, height: 500 } }, { mode: "plain", ignore_end: true, max_tokens: 300 });
  await page.reload();
  await page.locator('.connection[data-state="open"]').waitFor();
  await page.waitForTimeout(400);
  const scrolled = await page.locator("[data-lanes] [data-text]").evaluateAll((all) => all.map((text) => [text.scrollTop, text.scrollHeight > text.clientHeight]));
  assert.ok(scrolled.every(([top]) => top === 0), String(scrolled));
  assert.ok(scrolled.some(([, more]) => more), "there is something to scroll");

  // They are scrolled together, unless that is switched off.
  const long = await page.locator("[data-lanes] [data-text]").evaluateAll((all) => all.flatMap((text, i) => (text.scrollHeight > text.clientHeight + 40 ? [i] : [])));
  assert.ok(long.length > 1, `lanes ${long} have something to scroll`);
  const tops = () => page.locator("[data-lanes] [data-text]").evaluateAll((all, long) => long.map((i) => all[i].scrollTop / (all[i].scrollHeight - all[i].clientHeight)), long);
  const wheel = async (by) => {
    await lanes(page).nth(long[0]).locator("[data-text]").hover();
    await page.mouse.wheel(0, by);
  };
  await wheel(300);
  await until(async () => {
    const [first, ...others] = await tops();
    return first > 0 && others.every((top) => Math.abs(top - first) < 0.05);
  }, "all are as far");
  await page.locator("[data-scroll-together]").uncheck();
  const before = await tops();
  await wheel(-2000);
  await until(async () => (await tops())[0] === 0, "the first is at its beginning");
  assert.deepEqual((await tops()).slice(1), before.slice(1));
  assert.deepEqual(troubles, []);
  await context.close();
});

test("Markdown is rendered when it is asked for, and raw is a press away; reading shows texts alone", async () => {
  const { page, context, troubles } = await five();
  const asked = [];
  page.on("request", (request) => asked.push(request.url()));
  assert.ok(!asked.some((url) => url.includes("markdown")));
  await page.locator('[data-view] input[value="rendered"]').check({ force: true });
  const place = lanes(page).first().locator("[data-markdown]");
  await until(async () => (await place.textContent()).trim().length > 0, "it is rendered");
  assert.ok(asked.some((url) => url.includes("markdown.js")), "the renderer is fetched then");
  assert.ok(!(await lanes(page).first().locator("[data-text]").isVisible()));
  await check(page, "Markdown");
  await page.locator('[data-view] input[value="plain"]').check({ force: true });
  assert.ok(await lanes(page).first().locator("[data-text]").isVisible());

  await page.click("[data-reading-toggle]");
  assert.ok(!(await page.locator("[data-compose]").isVisible()));
  const whole = await page.locator("[data-lanes] [data-text]").evaluateAll((all) => all.every((text) => text.scrollHeight <= text.clientHeight + 1));
  assert.ok(whole, "each text is whole");
  await check(page, "reading");
  await screenshot(page, "reading-1280");
  await page.evaluate(() => document.activeElement?.blur());
  await page.keyboard.press("Escape");
  assert.ok(await page.locator("[data-compose]").isVisible());
  assert.deepEqual(troubles, []);
  await context.close();
});

test("hover shows one line, a click docks the inspector and pins it, Escape closes it", async () => {
  const { page, context, troubles } = await five();
  const token = lanes(page).nth(1).locator(".t").nth(1);
  await token.hover();
  await page.locator("[data-token-line]:not([hidden])").waitFor();
  assert.match(await page.locator("[data-token-line]").textContent(), /reference .*% · mixture .*% · aligned .*%/);
  const inspector = page.locator("[data-inspector]");
  assert.ok(!(await inspector.isVisible()));
  await token.click();
  await inspector.waitFor();
  const box = await inspector.boundingBox();
  assert.ok(Math.abs(box.y + box.height - 900) < 2 && box.width >= 1279, `docked at ${JSON.stringify(box)}`);
  // It is pinned: another token under the pointer shows its line, and the inspector stays; arrows take it along.
  const title = await page.locator("#inspector-title").textContent();
  await lanes(page).nth(0).locator(".t").first().hover();
  assert.equal(await page.locator("#inspector-title").textContent(), title);
  await token.click();
  await page.keyboard.press("ArrowRight");
  assert.notEqual(await page.locator("#inspector-title").textContent(), title);
  await check(page, "the docked inspector");
  await page.keyboard.press("Escape");
  assert.ok(!(await inspector.isVisible()));
  assert.deepEqual(troubles, []);
  await context.close();
});

test("all lanes are copied as Markdown and CSV, and drawings are saved as PNG", async () => {
  const { page, context, troubles } = await five({ permissions: ["clipboard-read", "clipboard-write"], acceptDownloads: true });
  const said = await texts(page);
  await page.click("[data-copies] > summary");
  await page.click("[data-copy-markdown]");
  const copied = await until(() => page.evaluate(() => navigator.clipboard.readText()), "something is copied");
  for (const text of said) assert.ok(copied.includes(text), text);
  assert.match(copied, /^## Reference \(λ 0, β ∞\)/);
  await page.click("[data-copy-csv]");
  await until(async () => (await page.evaluate(() => navigator.clipboard.readText())).startsWith("lambda,effective_beta,sample,tokens,ended,text\r\n0,,0,"), "CSV");
  await page.keyboard.press("Escape");
  const png = async (button, name) => {
    const [download] = await Promise.all([page.waitForEvent("download"), button.click()]);
    assert.equal(download.suggestedFilename(), `realign-${name}.png`);
    const file = await readFile(await download.path());
    assert.equal(file.subarray(1, 4).toString(), "PNG");
    assert.ok(file.length > 8000, `${file.length} bytes: something is drawn`);
    return file;
  };
  await png(page.locator('[data-picture="kl"]'), "kl");
  await page.goto(server.base);
  await page.locator("[data-map-slider]:not([hidden])").waitFor();
  await png(page.locator('[data-picture="map"]'), "map");
  assert.deepEqual(troubles, []);
  await context.close();
});

test("the prompt's tokens are counted beside it, and what was wrong is forgotten when it is changed", async () => {
  const { page, context, troubles } = await five();
  await page.fill("[data-prompt]", "Hello there, how are you?");
  await until(async () => /^\d+ prompt tokens$/.test(await page.locator("[data-prompt-count]").textContent()), "they are counted");
  const short = parseInt(await page.locator("[data-prompt-count]").textContent(), 10);
  await page.fill("[data-prompt]", "Hello there, how are you? And what did you do the whole day long?");
  await until(async () => parseInt(await page.locator("[data-prompt-count]").textContent(), 10) > short, "more of them");

  await set(page, { seed: "x" });
  await page.click("[data-run-button]");
  const seed = page.locator("[data-seed]");
  assert.ok(await seed.evaluate((input) => input === document.activeElement), "the focus is where it is wrong");
  assert.equal(await seed.getAttribute("aria-invalid"), "true");
  const described = await seed.evaluate((input) => input.getAttribute("aria-describedby").split(" ").map((id) => document.getElementById(id)?.textContent).join(" "));
  assert.match(described, /whole number/);
  await seed.fill("7");
  assert.equal(await seed.getAttribute("aria-invalid"), null);
  assert.ok(!(await page.locator('[data-error="seed"]').isVisible()));

  // A λ that cannot be used is told, and has the focus.
  await lanes(page).nth(3).locator("[data-lambda-number]").fill("much");
  await page.click("[data-run-button]");
  assert.match(await page.locator("[data-alert-words]").textContent(), /One lane has a λ that cannot be used/);
  assert.ok(await lanes(page).nth(3).locator("[data-lambda-number]").evaluate((input) => input === document.activeElement));
  await until(async () => (await runs(page)) === 1, "nothing was started");
  assert.deepEqual(troubles, []);
  await context.close();
});

test("23 lanes: the names in the KL chart stay in it", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await page.goto(server.base);
  await sideBySide(page);
  await set(page, { seed: 2, max_tokens: 12 });
  for (let i = 0; i < 18; i++) await page.click("[data-lane-add]");
  await page.fill("[data-prompt]", prompt);
  await page.click("[data-run-button]");
  await ended(page);
  await page.locator("[data-chart]").scrollIntoViewIfNeeded();
  await until(async () => (await page.locator("[data-chart-plot] .name").count()) === 23, "23 names");
  const outside = await page.locator("[data-chart-plot]").evaluate((plot) => {
    const box = plot.getBoundingClientRect();
    return [...plot.querySelectorAll(".name")].filter((name) => {
      const at = name.getBoundingClientRect();
      return at.top < box.top - 2 || at.bottom > box.bottom + 2;
    }).length;
  });
  assert.equal(outside, 0);
  assert.deepEqual(troubles, []);
  await context.close();
});
