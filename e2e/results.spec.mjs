// The results of a study: read, followed while answers come in, shared, withdrawn, printed and taken along.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { check } from "./accessible.mjs";
import { invited } from "./experiment.mjs";
import { browser, freshPage, screenshot, server, until, withServer } from "./server.mjs";

withServer();

const grid = [0, 0.5, 1, 1.5, 2];

/** Random numbers from a seed (mulberry32). */
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A study as a file, answered by people whose preference over λ is u. */
function file(title, u, { people = 4, pairs = 160 } = {}) {
  const next = random(7);
  const setup = {
    title, pair: "demo", aligned: "length-b0.1", mode: "chat", grid, samples: 1, seed: "1",
    sampling: { max_tokens: 24, temperature: 0.7, top_k: 0, top_p: 1, min_p: 0 },
    pairwise: true, likert: { points: 5, criteria: ["Helpful", "Clear"] }, overlap: 2, cap: 0, scheme: "balanced",
  };
  const at = (n) => new Date(Date.UTC(2026, 0, 5, 9, 0, n)).toISOString();
  const lines = [{ type: "study", format: "realign-study", version: 1, setup, beta: 0.1, files: [], build: "e2e", created_at: at(0) }];
  const categories = ["advice", "maths", "writing"];
  for (let p = 1; p <= 9; p++) lines.push({ type: "prompt", place: p, line: p, prompt: `Question ${p}?`, category: categories[p % 3] });
  for (let p = 1; p <= 9; p++) {
    for (const lambda of grid) lines.push({ type: "output", id: `${p}/${lambda}`, prompt: p, lambda, sample: 0, seed: "1", text: `Answer ${p} at ${lambda}` });
  }
  let n = 0;
  const names = ["Ada", "Björn", "Chloé", "Dmitri"].slice(0, people);
  const rate = (item, question, prompt, lambda, annotator, answer) =>
    lines.push({ type: "rating", item, question, prompt, shown: lambda.map((x) => `${prompt}/${x}`), lambda, annotator, asked_at: at(n), at: at(++n), answer });
  const all = grid.flatMap((low, i) => grid.slice(i + 1).map((high) => [low, high]));
  for (let k = 0; k < pairs; k++) {
    const prompt = 1 + (k % 9);
    const pair = all[Math.floor(k / 9) % all.length];
    const d = u(pair[1]) - u(pair[0]);
    for (const name of [names[k % people], names[(k + 1) % people]].slice(0, Math.min(2, people))) {
      const shown = next() < 0.5 ? pair : [...pair].reverse();
      const higher = u === even ? name === names[k % people] : next() < 1 / (1 + Math.exp(-d));
      const choice = next() < 0.15 ? "tie" : higher === (shown[0] > shown[1]) ? "a" : "b";
      if (k < 90) rate(`p${k}`, "pairwise", prompt, shown, name, { choice });
      if (k < 45) {
        const score = () => Math.max(1, Math.min(5, Math.round(3.4 + u(grid[k % 5]) / 2 + 2 * (next() - 0.5))));
        rate(`s${k}`, "likert", prompt, [grid[k % 5]], name, { scores: { Helpful: score(), Clear: score() } });
      }
    }
  }
  return lines.map((line) => JSON.stringify(line)).join("\n");
}

/** Two people who answer a question never agree. */
const even = () => 0;

const peak = (x) => -3 * (x - 0.9) ** 2;

/** Imports a study by the form and returns the path of its results. */
async function imported(page, text) {
  await page.goto(`${server.base}/studies`);
  await page.click('summary:text("Import")');
  await page.setInputFiles('main [name="file"]', { name: "ratings.jsonl", mimeType: "application/jsonl", buffer: Buffer.from(text) });
  await page.click('main button:text("Import")');
  await page.locator("#finding-title").waitFor();
  await page.waitForLoadState(); // the tables come after it
  return new URL(page.url()).pathname;
}

for (const [width, colorScheme] of [[1280, "light"], [1280, "dark"], [390, "light"], [390, "dark"]]) {
  test(`results at ${width} px, ${colorScheme}`, async () => {
    const { page, context, troubles } = await freshPage(browser, { viewport: { width, height: 900 }, colorScheme });
    const path = await imported(page, file("Which reply would you send?", peak));
    assert.match(await page.locator("#finding-title").textContent(), /^λ = \d\.\d\d is preferred most by these 4 annotators$/);
    assert.match(await page.locator(".finding").textContent(), /95% interval .* to .*Effective β.*\(.* to .*\)/s);
    assert.equal(await page.locator("[data-strengths] tbody tr").count(), 5);
    assert.equal(await page.locator("[data-pairs-table] tbody tr").count(), 10);
    assert.equal(await page.locator('[data-parts="categories"] tbody tr').count(), 3);
    assert.equal(await page.locator('[data-parts="annotators"] tbody tr').count(), 4);
    assert.equal(await page.locator("[data-agreement] tbody tr").count(), 7);

    // The picture and the table beside it agree: the line of the best λ stands where its number says.
    const best = Number((await page.locator("#finding-title").textContent()).match(/[\d.]+/)[0]);
    const x = Number((await page.locator("[data-curve] .curve-top").getAttribute("x1")).replace("%", ""));
    assert.ok(Math.abs(x / 50 - best) <= 0.0051, `${x}% of 0 to 2 is not ${best}`);

    await check(page, "results");
    await screenshot(page, `results-${width}-${colorScheme}`);
    await page.click('summary:text("Export")');
    await page.click('details.method > summary');
    await check(page, "results, everything open");
    await page.goto(server.base + path + "/report");
    await check(page, "report");
    if (colorScheme === "light") await screenshot(page, `report-${width}`);
    await imported(page, file("Nobody minds", even));
    assert.equal(await page.locator("#finding-title").textContent(), "No preference found");
    await check(page, "flat results");
    await screenshot(page, `results-flat-${width}-${colorScheme}`);
    await imported(page, file("One of us", peak, { people: 1 }));
    assert.match(await page.locator("[data-agreement]").textContent(), /α is undefined: no unit was answered by two annotators/);
    await check(page, "results of one annotator");
    assert.deepEqual(troubles, []);
    await context.close();
  });
}

test("results are exported and imported, and say the same", async () => {
  const { page, context } = await freshPage(browser);
  const first = await imported(page, file("There and back", peak));
  const get = async (path) => (await page.request.get(server.base + path)).text();
  const text = await get(first.replace("/results", "/export/ratings.jsonl"));
  const second = await imported(page, text);
  assert.notEqual(first, second);
  assert.equal(await get(`${second}.json`), await get(`${first}.json`));
  // A line that is wrong is named.
  await page.goto(`${server.base}/studies`);
  await page.click('summary:text("Import")');
  const lines = text.split("\n");
  lines[60] = lines[60].slice(0, -5);
  await page.setInputFiles('main [name="file"]', { name: "x.jsonl", mimeType: "application/jsonl", buffer: Buffer.from(lines.join("\n")) });
  await page.click('main button:text("Import")');
  await until(async () => /line 61: is not a JSON object/.test(await page.locator("main").textContent()), "the line is named");
  await context.close();
});

test("a link shows the results as they were, to anybody, until it is revoked", async () => {
  const owner = await freshPage(browser);
  const path = await imported(owner.page, file("For the paper", peak));
  const finding = await owner.page.locator(".finding").textContent();
  await owner.page.click('summary:text("Share")');
  await owner.page.click('button:text("Make a link")');
  const url = await owner.page.inputValue("input[data-select-all]");
  assert.match(url, /\/r\/[\w-]{22}$/);

  const guest = await freshPage(browser, { javaScriptEnabled: false });
  await guest.page.goto(url);
  assert.equal(await guest.page.locator(".finding").textContent(), finding);
  const all = await guest.page.content();
  for (const secret of ["Ada", "Björn", "Question 1", "Answer 1", path.split("/")[2]]) assert.ok(!all.includes(secret), `the link shows ${secret}`);
  assert.match(all, /Annotator 01/);
  assert.equal(await guest.page.locator('summary:text("Export")').count(), 0);
  assert.deepEqual((await guest.context.cookies()).map((k) => k.name), []);
  await guest.page.click('main a:text("Report")');
  await guest.page.locator(".report #finding-title").waitFor();

  await owner.page.goto(`${server.base}/shares`);
  await owner.page.click('button:has-text("Revoke")');
  await owner.page.locator('.badge:text("revoked")').waitFor();
  assert.equal((await guest.page.goto(url)).status(), 404);
  assert.equal((await guest.page.goto(`${url}/report`)).status(), 404);
  await guest.context.close();
  await owner.context.close();
});

test("the report is one sheet of paper, and a file that needs nothing else", async () => {
  const { page, context } = await freshPage(browser);
  const path = await imported(page, file("Which reply would you send?", peak));
  await page.goto(server.base + path + "/report");
  const sheets = async () => (await page.pdf({ format: "A4" })).toString("latin1").match(/\/Type\s*\/Page[^s]/g).length;
  assert.equal(await sheets(), 1);
  const [download] = await Promise.all([page.waitForEvent("download"), page.click('a:text("Download")')]);
  assert.match(download.suggestedFilename(), /^realign-Which-reply-would-you-send-report\.html$/);
  const html = readFileSync(await download.path(), "utf8");
  assert.ok(!/(?:src|href)="(?:\/|http:)/.test(html), "it asks for something");
  await context.close();
});

test("the page follows the answers", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await page.goto(`${server.base}/studies/new`);
  await page.fill('[name="title"]', "Live");
  await page.fill('[name="prompts"]', "What did you think of the film?\nHow was the meal?");
  await page.fill('[name="grid"]', "0 2");
  await page.fill('[name="same_every"]', "0");
  await page.fill('[name="broken_every"]', "0");
  await page.click('button:text("Save the draft")');
  const invite = await invited(page);
  await page.goto(`${page.url().split("?")[0]}/results`);
  assert.equal(await page.locator("#finding-title").textContent(), "No answers yet");
  await check(page, "results of nothing");
  await screenshot(page, "results-none");

  const rater = await freshPage(browser);
  await rater.page.goto(invite);
  await rater.page.fill('[name="name"]', "Ann");
  await rater.page.keyboard.press("Enter");
  await rater.page.locator("[data-rate-answer]").waitFor();
  await rater.page.waitForLoadState(); // keys need the script
  await rater.page.keyboard.press("1");
  await until(async () => (await page.locator("#finding-title").textContent()) === "No preference found", "the answer is on the page");
  assert.equal(await page.locator("[data-results-say]").textContent(), "No preference found");
  assert.match(await page.locator(".finding").textContent(), /1 independent answers? that prefer/);
  await rater.context.close();
  assert.deepEqual(troubles, []);
  await context.close();
});
