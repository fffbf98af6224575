// Forms and pages of studies and sweeps: what was wrong with them is mended.

import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { check } from "./accessible.mjs";
import { browser, freshPage, server, until, withServer } from "./server.mjs";

withServer();

/** Waits for the words of the cost: a script that is fetched after the page writes those of a sweep. */
const costs = (page, words) => until(async () => words.test(await page.locator("[data-cost]").textContent()), `the cost is told: ${words}`);

test("all errors of a form are told, the file that was read is kept, and each error leads to its field", async () => {
  const { page, context, troubles } = await freshPage(browser);
  const file = join(server.data, "p.csv");
  await writeFile(file, "prompt,category\nHow was the film?,a\nAnd the meal?,b\n");
  await page.goto(`${server.base}/studies/new`);
  await page.fill('[name="grid"]', "0, many");
  await page.setInputFiles('[name="file"]', file);
  await page.click('button:text("Save the draft")');
  const errors = page.locator('[role="alert"] li');
  await errors.first().waitFor();
  await page.waitForLoadState();
  assert.deepEqual(await errors.locator("strong").allTextContents(), ["grid", "title"]);
  await errors.locator("a").first().click();
  assert.ok(await page.locator('[name="grid"]').evaluate((input) => input.matches(":target")));
  assert.match(await page.inputValue('[name="prompts"]'), /How was the film/);
  await check(page, "a form with errors");
  await page.fill('[name="title"]', "Which is better?");
  await page.fill('[name="grid"]', "0 2");
  await page.click('button:text("Save the draft")');
  assert.match(await page.locator("[data-cost]").textContent(), /^At most \d+ tokens to decode/);
  assert.match(await page.locator(".note-warn").textContent(), /λ = 1/);
  // A warning is not green.
  await page.waitForLoadState(); // with its style sheets
  const [warn, note] = await page.evaluate(() => {
    const warning = document.querySelector(".note-warn");
    const before = getComputedStyle(warning).backgroundColor;
    warning.classList.remove("note-warn");
    return [before, getComputedStyle(warning).backgroundColor];
  });
  assert.notEqual(warn, note);
  assert.deepEqual(troubles, []);
  await context.close();
});

test("a study's page follows its decoding to the end, head and all, and is closed in two presses", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await page.goto(`${server.base}/studies/new`);
  await page.fill('[name="title"]', "Which is better?");
  await page.fill('[name="prompts"]', "How was the film?\nAnd the meal?\nWhat music do you like?");
  await page.fill('[name="grid"]', "0 1 2");
  await page.locator("main details > summary").first().click();
  await page.fill('[name="max_tokens"]', "60");
  await page.click('button:text("Save the draft")');
  await page.click('button:text("Decode the answers")');
  await page.locator('h2:text("The answers are there")').waitFor({ timeout: 120_000 }); // no reload
  assert.doesNotMatch(await page.locator("[data-study-live] .badge").first().textContent(), /decoding/i);
  await page.locator('a:text("Preview as annotator")').waitFor();
  await page.click('button:text("Open for annotators")');
  await page.click('summary:text("Close for good")');
  assert.match(await page.locator("details.menu[open]").textContent(), /cannot be opened again/);
  await check(page, "closing a study");
  await page.keyboard.press("Escape");
  await page.click('summary:text("Close for good")');
  await page.click('button:has-text("Close it with")');
  await page.locator('h2:text("The study is closed")').waitFor();
  assert.deepEqual(troubles, []);
  await context.close();
});

test("rating: the choices are in view beside long answers, and a cut answer says so", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await page.goto(`${server.base}/studies/new`);
  await page.fill('[name="title"]', "Long answers");
  await page.fill('[name="prompts"]', "Tell me everything about your favourite film.\nTell me a very long story.");
  await page.fill('[name="grid"]', "0 1 2");
  for (const name of ["likert", "ranking"]) await page.check(`[name="${name}"]`);
  await page.fill('[name="ranked"]', "3");
  await page.locator("main details > summary").first().click();
  await page.fill('[name="max_tokens"]', "6");
  await page.click('button:text("Save the draft")');
  await page.click('button:text("Decode the answers")');
  await page.locator('h2:text("The answers are there")').waitFor({ timeout: 120_000 });
  const path = new URL(page.url()).pathname;
  const seen = new Set();
  let cut = 0;
  for (const [width, height] of [[1280, 400], [390, 500]]) {
    await page.setViewportSize({ width, height });
    for (let n = 0; n < 12; n++) {
      await page.goto(`${server.base}${path}/preview?n=${n}`);
      const question = page.locator("[data-rate-question]");
      const kind = await question.getAttribute("data-rate-question");
      cut += await page.locator(".rate-cut").count();
      if (seen.has(`${kind} ${width}`)) continue;
      seen.add(`${kind} ${width}`);
      await page.locator(".rate-text").last().evaluate((text) => text.append(" word".repeat(800)));
      await page.evaluate(() => document.querySelector(".rate-answer").scrollIntoView());
      const dock = await page.locator(".rate-dock").evaluate((box) => {
        const at = box.getBoundingClientRect();
        return at.top < innerHeight && at.bottom <= innerHeight + 1;
      });
      assert.ok(dock, `${kind} at ${width} px: the controls are below the fold`);
      await check(page, `rating, ${kind} at ${width} px`);
    }
  }
  assert.ok(seen.size >= 4, [...seen].join(", "));
  assert.ok(cut > 0, "answers that were cut off say so");
  assert.deepEqual(troubles, []);
  await context.close();
});

test("a new sweep like another shows what that one asked, and says what it takes", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await page.goto(`${server.base}/sweeps/new`);
  await page.fill('[name="name"]', "First");
  await page.selectOption('[name="pair"]', "demo:length-b0.1");
  await page.fill('[name="prompts"]', "Do you like films?\nWhat music do you like?");
  for (const [name, value] of Object.entries({ points: 3, samples: 2, max_tokens: 12, rounds: 0 })) await page.fill(`[name="${name}"]`, String(value));
  const cost = /^At most 144 tokens to decode(, about .* as this pair was decoded last)?\.$/;
  await costs(page, cost);
  await page.check('[name="reward"][value="distinct"]');
  await page.check('[name="objective"][value="distinct"]');
  await page.click('button:text("Start the sweep")');
  await page.locator('[data-sweep-state="done"]').waitFor({ timeout: 60_000 });
  await page.click('summary:text("More")');
  await page.click('a:text("New sweep like this one")');
  await page.waitForURL(/\/sweeps\/new/);
  assert.equal(await page.inputValue('[name="pair"]'), "demo:length-b0.1");
  assert.equal(await page.inputValue('[name="max_tokens"]'), "12");
  assert.match(await page.inputValue('[name="prompts"]'), /What music do you like/);
  assert.equal(await page.inputValue('[name="config"]'), "");
  await costs(page, cost);
  const names = await page.locator('[name="pair"] option').allTextContents();
  assert.equal(new Set(names).size, names.length, "models can be told apart");
  assert.ok(names.every((name) => /β/.test(name)), names.join("; "));

  // The ticket has a link that is copied by a press.
  await page.goBack();
  await page.click('a:text("Ticket")');
  await page.click('summary:text("Share")');
  await page.click('button:text("Make a link")');
  const url = await page.locator("[data-select-all]").inputValue();
  assert.match(url, /\/w\//);
  await page.locator("[data-link-copy]").click();
  await until(async () => (await page.locator("[data-link-copy]").getAttribute("data-done")) === "Copied", "it is copied");
  const guest = await freshPage(browser);
  await guest.page.goto(url);
  await check(guest.page, "a shared sweep");
  assert.equal(await guest.page.locator("h1").textContent(), "First");
  await guest.context.close();
  assert.deepEqual(troubles, []);
  await context.close();
});

test("a file that cannot be imported is told where it was chosen", async () => {
  const { page, context, troubles } = await freshPage(browser);
  const file = join(server.data, "wrong.json");
  await writeFile(file, "nothing of the kind");
  for (const path of ["/sessions", "/studies"]) {
    await page.goto(server.base + path);
    await page.click('summary:text("Import")');
    await page.setInputFiles('[action$="/import"] [name="file"]', file);
    await page.click('[action$="/import"] button');
    await page.locator("#import-error").waitFor();
    assert.match(await page.locator("#import-error").textContent(), /choose a file that Realign has exported/);
    assert.ok(await page.locator("#import-error").isVisible());
    await check(page, `${path} after a wrong file`);
  }
  assert.deepEqual(troubles, []);
  await context.close();
});
