// One experiment, judged by rewards and rated by people: the outputs of a sweep are rated without anything being decoded,
// a reward is added when it is over, and one page says whether rewards and people agree.

import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { check } from "./accessible.mjs";
import { browser, freshPage, server, until, withServer } from "./server.mjs";

withServer();

const state = (page) => page.locator("[data-sweep-live]").getAttribute("data-sweep-state");
const done = (page) => until(async () => (await state(page)) === "done", "the sweep is done", 120_000);
const samples = async (page) => (await page.locator(".sweep-live .faint.num").first().innerText()).match(/(\d+) samples/)[1];

/** Answers all questions of an invite, always with the longer text. */
async function rate(invite, name) {
  const { page, context, troubles } = await freshPage(browser);
  await page.goto(invite);
  await page.fill('[name="name"]', name);
  await page.keyboard.press("Enter");
  await page.locator("[data-rate-answer]").waitFor();
  await page.waitForLoadState(); // both answers are there, and the script that keys need
  let answers = 0;
  for (; ; answers++) {
    const id = await page.locator('[data-rate-answer] [name="question"]').getAttribute("value");
    const [a, b] = await page.locator(".rate-answer .rate-text").allTextContents();
    await page.keyboard.press(a.length === b.length ? "0" : a.length > b.length ? "1" : "2");
    let shown;
    await until(async () => {
      shown = await page.evaluate(() => {
        if (document.querySelector("[data-rate-notice]")) return "end";
        return document.querySelector('[data-rate-answer] [name="question"]')?.value;
      }).catch(() => undefined);
      return shown !== undefined && shown !== id;
    }, "the next question");
    if (shown === "end") break;
    assert.ok(answers < 200, "it ends");
  }
  assert.deepEqual(troubles, []);
  await context.close();
  return answers + 1;
}

test("people rate a sweep's outputs, a reward is added, and a page says whether they agree", async () => {
  const { page, context, troubles } = await freshPage(browser, { acceptDownloads: true });
  const file = join(server.data, "prompts.jsonl");
  await writeFile(file, (await readFile("examples/dialogue.jsonl", "utf8")).split("\n").slice(0, 10).join("\n"));
  await page.goto(`${server.base}/sweeps/new`);
  await page.fill('[name="name"]', "Replies");
  await page.setInputFiles('[name="file"]', file);
  for (const [name, value] of Object.entries({ points: 9, samples: 2, max_tokens: 24, rounds: 0 })) await page.fill(`[name="${name}"]`, String(value));
  await page.check('[name="reward"][value="sentiment"]');
  await page.click('button:text("Start the sweep")');
  await page.locator("[data-sweep-live]").waitFor();
  const sweep = page.url();
  await done(page);
  const decoded = await samples(page);
  assert.equal(decoded, "180");

  // A reward more, of which nothing is decoded.
  await page.click('summary:text("More")');
  await page.click('a:text("Add rewards")');
  await page.check('[name="reward"][value="length"]');
  await page.locator("details:has(code:text-is('low')) summary").first().click().catch(() => {});
  await check(page, "the form that adds rewards");
  await page.click('button:text("Judge the outputs")');
  await page.locator("[data-sweep-live]").waitFor();
  await done(page);
  await page.waitForLoadState();
  assert.equal(await samples(page), decoded);
  assert.equal(await page.locator(".plots-small .plot").count(), 4, "two plots of each reward");

  // People rate outputs near the best λ; they are there at once.
  await page.click('summary:text("More")');
  await page.click('a:text("Have people rate these outputs")');
  assert.equal((await page.inputValue('[name="grid"]')).split(",").length, 5);
  await check(page, "the form of a study of a sweep");
  await page.fill('[name="title"]', "Which reply is better?");
  await page.fill('[name="overlap"]', "1");
  await page.fill('[name="cap"]', "30");
  await page.locator("main details > summary").first().click();
  await page.click('button:text("Save the draft")');
  await page.click('button:text("Decode the answers")');
  await page.locator('h2:text("The answers are there")').waitFor({ timeout: 20_000 });
  const study = page.url();
  await page.click('button:text("Open for annotators")');
  await page.click('button:text("Make an invite link")');
  const invite = await page.inputValue("input[data-select-all]");
  let answers = 0;
  for (const name of ["Ann", "Béla"]) answers += await rate(invite, name);
  assert.ok(answers > 30, `${answers} answers`);

  // Rewards and people on one page.
  await page.goto(study);
  await page.click('a:text("Do rewards and people agree?")');
  await page.locator("[data-agreement]").waitFor();
  await page.waitForLoadState();
  const rows = page.locator('[aria-label="Rewards against people"] tbody tr');
  assert.equal(await rows.count(), 2);
  assert.equal(await page.locator(".plots .plot").count(), 3, "people and two rewards over λ");
  assert.match(await page.locator('[aria-label="Share of pairs by category"]').innerText(), /\d+% \[\d+%, \d+%\]/);
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    for (const width of [360, 1280]) {
      await page.setViewportSize({ width, height: 900 });
      await check(page, `rewards and people at ${width} px, ${colorScheme}`);
    }
  }
  const report = await (await context.request.get(`${study}/agreement.json`)).json();
  assert.equal(report.people.annotators, 2);
  assert.equal(report.rewards.length, 2);
  for (const r of report.rewards) {
    assert.equal(r.overall.pairs, report.people.pairs, `${r.name} has judged every answer`);
    assert.ok(r.overall.share.low <= r.overall.share.estimate && r.overall.share.estimate <= r.overall.share.high);
  }
  assert.match(await (await context.request.get(`${study}/agreement.csv`)).text(), /^\ufeffsweep,reward,category,/);

  // Nothing was decoded for any of it, and the study stays when the sweep goes.
  await page.goto(sweep);
  assert.equal(await samples(page), decoded);
  assert.ok((await page.locator("main").innerText()).includes("Which reply is better?"));
  assert.deepEqual(troubles, []);
  await context.close();
});
