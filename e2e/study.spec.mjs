// A study from end to end: the owner sets it up from a file, two annotators finish it by keyboard, and what their
// browsers received says nothing about where the texts come from.

import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { check } from "./accessible.mjs";
import { invited } from "./experiment.mjs";
import { browser, freshPage, results as folder, screenshot, server, until, withServer } from "./server.mjs";

withServer();

const questions = [
  "What did you think of the film?", "How was the meal?", "Did you like the book?", "Was the trip worth it?", "How is the new phone?",
  "What do you make of the concert?", "Is the hotel any good?", "How did the class go?", "Would you see the play again?", "What was the service like?",
];
const csv = `category,prompt\n${questions.map((q, i) => `${i % 2 ? "leisure" : "things"},"${q}"`).join("\n")}\n`;

/** Fills the form of a new study. */
async function setUp(page, settings) {
  await page.goto(`${server.base}/studies/new`);
  await page.fill('[name="title"]', "Which do you like better?");
  await page.fill('[name="guidelines"]', "Prefer the answer that **you** would like to get.\n\n- Length does not matter.");
  await page.setInputFiles('[name="file"]', { name: "prompts.csv", mimeType: "text/csv", buffer: Buffer.from(settings.csv ?? csv) });
  await page.fill('[name="grid"]', settings.grid ?? "0, 0.5, 1, 1.5, 2");
  await page.locator("main details > summary").first().click();
  await page.fill('[name="max_tokens"]', "24");
  await page.fill('[name="seed"]', "90210417");
  for (const [name, value] of Object.entries(settings.fields ?? {})) {
    const input = page.locator(`main [name="${name}"]`);
    if (typeof value === "boolean") await input.setChecked(value);
    else await input.fill(String(value));
  }
  await page.click('button:text("Save the draft")');
}

/** Decodes and opens it, and returns the invite. */
async function open(page) {
  const url = await invited(page);
  assert.match(url, /\/rate\/[\w-]{22}$/);
  return url;
}

/** A page that keeps everything its browser receives: bodies, headers and addresses. */
async function recorded() {
  const fresh = await freshPage(browser);
  const received = [];
  const reading = [];
  fresh.page.on("response", (answer) => {
    reading.push(
      (async () => {
        const headers = await answer.allHeaders().catch(() => ({}));
        const body = await answer.body().catch(() => Buffer.alloc(0));
        received.push({ url: answer.url(), headers: JSON.stringify(headers), body: body.toString("utf8") });
      })(),
    );
  });
  fresh.page.on("websocket", (socket) => socket.on("framereceived", ({ payload }) => received.push({ url: socket.url(), headers: "", body: String(payload) })));
  return { ...fresh, received: async () => (await Promise.all(reading), received) };
}

const texts = (page) => page.locator(".rate-answer .rate-text").allTextContents();
const prompt = (page) => page.locator(".rate-prompt .rate-text").last().textContent();
const question = (page) => page.locator('[data-rate-answer] [name="question"]').getAttribute("value");

/** Waits for the next question, or the end, after the one with this id. */
async function after(page, id) {
  let shown;
  await until(async () => {
    // At one moment: the page may be replaced between two questions to it.
    shown = await page.evaluate(() => {
      if (document.querySelector("[data-rate-notice]")) return "end";
      return document.querySelector('[data-rate-answer] [name="question"]')?.value;
    }).catch(() => undefined);
    return shown !== undefined && shown !== id;
  }, "the next question");
  return shown !== "end";
}

test("an owner sets up a study from a CSV, two annotators finish it by keyboard, and nobody is told what they rate", async () => {
  const owner = await freshPage(browser);
  await setUp(owner.page, { fields: { same_every: 8, broken_every: 9, overlap: 1, cap: 24 } });
  await owner.page.locator(".facts").waitFor();
  await owner.page.waitForLoadState();
  assert.equal(await owner.page.locator("h1").textContent(), "Which do you like better?");
  assert.match(await owner.page.locator(".facts").textContent(), /Prompts10/);
  const study = new URL(owner.page.url()).pathname.split("/").pop();
  const invite = await open(owner.page);

  // What is given away by nobody but the owner's page.
  await owner.page.waitForLoadState();
  const exported = await owner.page.content();
  assert.match(exported, /90210417/);

  const clicked = [];
  for (const name of ["Ann", "Béla"]) {
    const { page, context, troubles, received } = await recorded();
    const accessible = async (colorScheme) => {
      await page.emulateMedia({ colorScheme });
      for (const width of [390, 1280]) {
        await page.setViewportSize({ width, height: 900 });
        await check(page, `rating at ${width} px, ${colorScheme}`);
      }
    };
    await page.goto(invite);
    await page.locator('[name="name"]').press("Tab"); // the guidelines stand above
    await page.fill('[name="name"]', name);
    await page.keyboard.press("Enter");
    await page.locator("[data-rate-answer]").waitFor();
    await page.waitForLoadState(); // keys need the script

    // The guidelines are one key away.
    await page.keyboard.press("g");
    await page.locator("dialog[data-help][open]").waitFor();
    assert.equal(await page.locator("dialog strong").first().textContent(), "you");
    await page.keyboard.press("g");
    assert.equal(await page.locator("dialog[data-help][open]").count(), 0);
    await accessible(name === "Ann" ? "dark" : "light");

    const keys = ["1", "2", "0", "x"];
    const names = { 1: "a", 2: "b", 0: "tie", x: "both_bad" };
    const mine = [];
    for (let n = 0; ; n++) {
      const id = await question(page);
      const said = { name, id, prompt: await prompt(page), texts: await texts(page), choice: names[keys[n % 4]] };
      if (n === 3) {
        await page.keyboard.press("s");
        await page.keyboard.press("Enter"); // the first reason
        said.choice = "skip";
      } else {
        if (n === 1) {
          await page.keyboard.press("c");
          await page.keyboard.type("1 is my favourite: ü");
          await page.keyboard.press("Escape");
          said.comment = "1 is my favourite: ü";
        }
        await page.keyboard.press(keys[n % 4]);
      }
      const more = await after(page, id);
      mine.push(said);
      if (n === 5) {
        // Undo asks the same again, the same way round; another answer replaces the first.
        const next = await question(page);
        await page.keyboard.press("u");
        await after(page, next);
        await until(async () => (await prompt(page)) === said.prompt && (await texts(page))[0] === said.texts[0], "the last question is back");
        const again = await question(page);
        assert.notEqual(again, id);
        await page.keyboard.press("0");
        await after(page, again);
        Object.assign(said, { id: again, choice: "tie" });
      }
      if (!more) break;
      assert.ok(n < 40, "it ends");
    }
    assert.equal(mine.length, 25, "as many as the cap says, and a skipped one");
    clicked.push(...mine);
    assert.match(await page.locator("[data-rate-notice]").textContent(), /that was all/);

    // A reload asks nothing again.
    await page.reload();
    assert.match(await page.locator("[data-rate-notice]").textContent(), /that was all/);

    const all = await received();
    assert.ok(all.length > 30, `${all.length} answers were recorded`);
    const secrets = ["λ", "lambda", "seed", "90210417", study, "demo", "reference-", ".gguf", "warmth", "smollm", "temperature", "server-timing", "β"];
    // Random ids may have four letters in them: a short word is looked for where neither letters nor digits are beside it.
    const short = /^[a-z]{1,4}$/;
    const place = (text, secret) => (short.test(secret) ? text.search(new RegExp(`(?<![a-z0-9])${secret}s?(?![a-z0-9])`)) : text.indexOf(secret));
    for (const { url, headers, body } of all) {
      for (const secret of secrets) {
        for (const [where, text] of Object.entries({ url, headers, body })) {
          // The cookie's name has the study's own random id, which says nothing of what is rated.
          const shown = where === "headers" ? text.replaceAll(`realign_rater_${study}`, "") : text;
          const at = place(shown.toLowerCase(), secret);
          assert.ok(at < 0, `${url} has “${secret}” in its ${where}: …${shown.slice(Math.max(0, at - 60), at + 60)}…`);
        }
      }
    }
    assert.deepEqual(troubles, []);
    await context.close();
  }

  // The owner sees how far everybody is.
  await owner.page.goto(`${server.base}/studies/${study}`);
  const table = owner.page.locator('section:has(h2:has-text("Annotators")) tbody tr');
  assert.equal(await table.count(), 2);
  for (const [row, name] of [[0, "Ann"], [1, "Béla"]]) {
    const words = (await table.nth(row).textContent()).replace(/\s+/g, " ");
    assert.match(words, new RegExp(`^ ?${name} ?24 of 24 ?1`));
  }
  assert.equal(new Set(clicked.map((c) => c.id)).size, 50);

  // Results and exports say what was clicked.
  const get = async (path) => (await owner.page.request.get(`${server.base}/studies/${study}/${path}`)).text();
  const lines = (await get("export/ratings.jsonl")).trim().split("\n").map((line) => JSON.parse(line));
  const outputs = new Map(lines.filter((line) => line.type === "output").map((line) => [line.id, line]));
  const places = new Map(lines.filter((line) => line.type === "prompt").map((line) => [line.place, line.prompt]));
  const said = (name, prompt, texts, choice, comment) => JSON.stringify([name, prompt, texts, choice, comment ?? ""]);
  const ratings = lines.filter((line) => line.type === "rating");
  assert.deepEqual(
    ratings.map((r) => said(r.annotator, places.get(r.prompt), r.shown.map((id) => outputs.get(id).text), r.answer.skip ? "skip" : r.answer.choice, r.answer.comment)).sort(),
    clicked.map((c) => said(c.name, c.prompt, c.texts, c.choice, c.comment)).sort(),
  );
  const count = (wanted) => ratings.filter((r) => !r.catch && wanted(r)).length;
  const results = JSON.parse(await get("results.json"));
  const sum = (name) => results.overall.wins.reduce((total, pair) => total + pair[name], 0);
  const higher = (r) => (r.answer.choice === "b") === (r.lambda[1] > r.lambda[0]);
  const decided = (r) => ["a", "b"].includes(r.answer.choice);
  assert.equal(sum("high_wins"), count((r) => decided(r) && higher(r)));
  assert.equal(sum("low_wins"), count((r) => decided(r) && !higher(r)));
  assert.equal(sum("ties"), count((r) => ["tie", "both_bad"].includes(r.answer.choice)));
  // training/tests/test_export.py loads what is left here.
  await mkdir(join(folder, "export"), { recursive: true });
  for (const file of ["ratings.jsonl", "preferences.jsonl", "labels.jsonl"]) await writeFile(join(folder, "export", file), await get(`export/${file}`));
  const preferences = (await get("export/preferences.jsonl")).trim().split("\n").map((line) => JSON.parse(line));
  assert.equal(preferences.length, count(decided));
  const content = (messages) => messages.at(-1).content;
  assert.deepEqual(
    preferences.map((row) => JSON.stringify([row.rater, content(row.prompt), content(row.chosen), content(row.rejected)])).sort(),
    ratings.filter((r) => !r.catch && decided(r)).map((r) => {
      const [chosen, rejected] = r.answer.choice === "a" ? r.shown : [...r.shown].reverse();
      return JSON.stringify([r.annotator, places.get(r.prompt), outputs.get(chosen).text, outputs.get(rejected).text]);
    }).sort(),
  );
  await owner.page.goto(`${server.base}/studies/${study}/results`);
  await check(owner.page, "results of what was clicked");
  assert.equal(await owner.page.locator("[data-pairs-table] tbody tr").count(), results.overall.wins.length);
  assert.equal(await owner.page.locator("[data-records] tbody tr").count(), 2);
  assert.deepEqual(owner.troubles, []);
  await owner.context.close();
});

test("a dropped connection and an impatient second key cost nothing and count once", async () => {
  const owner = await freshPage(browser);
  await setUp(owner.page, { csv: `prompt\n${questions.slice(0, 2).join("\n")}\n`, grid: "0 2", fields: { same_every: 0, broken_every: 0, overlap: 1, likert: true, criteria: "kind\ntrue", ranking: false } });
  const invite = await open(owner.page);
  const { page, context, troubles } = await freshPage(browser);
  await page.goto(invite);
  await page.fill('[name="name"]', "Cleo");
  await page.keyboard.press("Enter");
  await page.locator("[data-rate-answer]").waitFor();
  await page.waitForLoadState();
  let lost = 0;
  // The first time the answer arrives and its acknowledgement is lost; the second time it does not arrive.
  await page.route(/\/(answer|skip)$/, async (route) => {
    lost++;
    if (lost === 1) await route.fetch().then(() => route.abort());
    else if (lost === 2) await route.abort();
    else await route.continue();
  });
  let answered = 0;
  for (let more = true; more; answered++) {
    const id = await question(page);
    if (await page.locator('[data-rate-question="likert"]').count()) {
      await page.keyboard.press("4");
      await page.keyboard.press("1");
      await page.keyboard.press("Backspace");
      await page.keyboard.press("5");
      await page.keyboard.press("Enter");
    } else {
      await page.keyboard.press("2");
      await page.keyboard.press("2");
    }
    if (answered === 0) await page.locator('[data-rate-status]:text("Not saved yet")').waitFor();
    more = await after(page, id);
  }
  // Two prompts: a pair of each and a score for each of two λ, unless both said the same.
  await owner.page.reload();
  const words = (await owner.page.locator('section:has(h2:has-text("Annotators")) tbody tr').first().textContent()).replace(/\s+/g, " ");
  assert.match(words, new RegExp(`^ ?Cleo ?${answered} ?0`));
  assert.deepEqual(troubles, []);
  await context.close();
  await owner.context.close();
});

test("annotators without JavaScript rate by plain forms", async () => {
  const owner = await freshPage(browser);
  await setUp(owner.page, { csv: `prompt\n${questions[4]}\n`, grid: "0 1 2", fields: { same_every: 0, broken_every: 0, overlap: 1, ranking: true, ranked: 3 } });
  const invite = await open(owner.page);
  const { page, context } = await freshPage(browser, { javaScriptEnabled: false });
  await page.goto(invite);
  await page.click('button:text("Begin")'); // without a name
  await page.fill('[name="name"]', "Dora");
  await page.click('button:text("Begin")');
  const asks = async () => {
    await page.locator("[data-rate-answer], [data-rate-notice]").first().waitFor();
    await page.waitForLoadState();
    return page.locator("[data-rate-answer]").count();
  };
  for (let n = 0; await asks(); n++) {
    assert.ok(n < 10);
    if (n === 1) {
      await page.click('button:has-text("Undo the last answer")');
      await page.click('summary:text("Skip this question")');
      await page.fill('[name="words"]', "I have said so already");
      await page.click('[data-rate-skip-form] button:text("Skip")');
      continue;
    }
    if (await page.locator('[data-rate-question="ranking"]').count()) {
      await page.locator('[name="best"]').nth(1).check();
      await page.locator('[name="worst"]').nth(0).check();
      await page.click("[data-rate-save]");
    } else await page.click('button:has-text("A is better")');
  }
  assert.match(await page.locator("[data-rate-notice]").textContent(), /that was all/);
  await owner.page.reload();
  assert.match((await owner.page.locator('section:has(h2:has-text("Annotators")) tbody tr').first().textContent()).replace(/\s+/g, " "), /^ ?Dora ?\d+ ?1/);

  // Revoked, the invitation opens nothing.
  await owner.page.click('button:text("Revoke the link")');
  await owner.page.locator('p:text("There is none")').waitFor();
  assert.equal((await page.goto(invite)).status(), 404);
  await context.close();
  await owner.context.close();
});

test("what is wrong with a file is told with its line, and nothing that was typed is lost", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await setUp(page, { csv: "prompt,category\nWell?,x\nWhat\n" });
  assert.match(await page.locator('.note[role="alert"]').textContent(), /line 3: has another number of columns/);
  assert.equal(await page.inputValue('[name="seed"]'), "90210417");
  await screenshot(page, "study-form-wrong");
  assert.deepEqual(troubles, []);
  await context.close();
});
