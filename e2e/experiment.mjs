// A study and a sweep of any pair, from their forms to a rating and to the best λ.

import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { browser, freshPage, server, until } from "./server.mjs";

const questions = ["What did you think of the film?", "How was the meal?", "Did you like the book?", "Was the trip worth it?", "How is the new phone?", "What do you make of the concert?"];

/** Decodes the study of a page and opens it for annotators; returns the link that invites them. */
export async function invited(page) {
  await page.click('button:text("Decode the answers")');
  await page.locator('h2:text("The answers are there")').waitFor({ timeout: 120_000 });
  await page.click('button:text("Open for annotators")');
  await page.click('button:text("Make an invite link")');
  return page.inputValue("input[data-select-all]");
}

/** Sets a study up, decodes it and rates the first question; no page that raters see holds the secret. */
export async function studied(pair, aligned, secret) {
  const { page, context, troubles } = await freshPage(browser);
  await page.goto(`${server.base}/studies/new`);
  await page.fill('[name="title"]', "Which is better?");
  await page.selectOption('[name="pair"]', `${pair}/${aligned}`);
  await page.setInputFiles('[name="file"]', { name: "prompts.txt", mimeType: "text/plain", buffer: Buffer.from(questions.join("\n")) });
  await page.fill('[name="grid"]', "0, 1, 2");
  await page.locator("main details > summary").first().click();
  await page.fill('[name="max_tokens"]', "12");
  await page.click('button:text("Save the draft")');
  const invite = await invited(page);

  const rater = await freshPage(browser);
  await rater.page.goto(invite);
  await rater.page.fill('[name="name"]', "Ann");
  await rater.page.click('button:text("Begin")');
  await rater.page.locator("[data-rate-answer]").waitFor();
  await rater.page.waitForLoadState(); // keys need the script
  const id = () => rater.page.locator('[data-rate-answer] [name="question"]').getAttribute("value");
  const first = await id();
  assert.ok(!(await rater.page.content()).includes(secret), "raters do not see what sets the answers apart");
  await rater.page.keyboard.press("1");
  await until(async () => (await rater.page.locator("[data-rate-answer]").count()) === 0 || (await id()) !== first, "the next question");
  assert.deepEqual([...troubles, ...rater.troubles], []);
  await rater.context.close();
  await context.close();
}

/** Runs a sweep for the reward on length, and returns what its answer says. */
export async function swept(pair, aligned) {
  const { page, context, troubles } = await freshPage(browser);
  const file = join(server.data, "prompts.txt");
  await writeFile(file, questions.join("\n"));
  await page.goto(`${server.base}/sweeps`);
  await page.click('a:text("New sweep")');
  await page.fill('[name="name"]', "How long?");
  await page.selectOption('[name="pair"]', `${pair}:${aligned}`);
  await page.setInputFiles('[name="file"]', file);
  await page.check('[name="reward"][value="length"]');
  await page.check('[name="objective"][value="length"]');
  await page.fill('[name="from"]', "0");
  await page.fill('[name="points"]', "3");
  await page.fill('[name="samples"]', "2");
  await page.fill('[name="max_tokens"]', "16");
  await page.fill('[name="rounds"]', "0");
  await page.click('button:text("Start the sweep")');
  await page.locator("[data-sweep-live]").waitFor();
  await page.waitForLoadState();
  await until(async () => (await page.locator("[data-sweep-live]").getAttribute("data-sweep-state")) === "done", "the sweep is done", 180_000);
  assert.ok((await page.locator(".plot-point").count()) >= 3);
  const answer = await page.locator("#sweep-answer").innerText();
  assert.deepEqual(troubles, []);
  await context.close();
  return answer;
}
