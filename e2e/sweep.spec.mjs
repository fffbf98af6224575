// A sweep from the file of prompts to the ticket.

import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { check } from "./accessible.mjs";
import { browser, ended, freshPage, screenshot, server, texts, until, withServer } from "./server.mjs";

withServer();

const state = (page) => page.locator("[data-sweep-live]").getAttribute("data-sweep-state");

test("a sweep from upload to ticket, table and playground", async () => {
  const { page, context, troubles } = await freshPage(browser, { acceptDownloads: true });
  const file = join(server.data, "prompts.jsonl");
  const prompts = (await readFile("examples/dialogue.jsonl", "utf8")).split("\n").slice(0, 16);
  await writeFile(file, prompts.join("\n"));

  // What is wrong is said on the form, which keeps what was typed.
  await page.goto(`${server.base}/sweeps`);
  await page.click('a:text("New sweep")');
  await page.fill('[name="name"]', "Warmth of replies");
  await page.selectOption('[name="pair"]', "demo:warmth-b0.1");
  await page.setInputFiles('[name="file"]', file);
  await page.fill('[name="from"]', "3");
  await page.check('[name="reward"][value="sentiment"]');
  await page.check('[name="reward"][value="distinct"]');
  await page.check('[name="objective"][value="sentiment"]');
  await page.check('[name="evaluation"][value="distinct"]');
  await page.click('button:text("Start the sweep")');
  assert.match(await page.locator('[role="alert"]').innerText(), /reversed/);
  assert.equal(await page.inputValue('[name="name"]'), "Warmth of replies");
  assert.ok(await page.isChecked('[name="reward"][value="sentiment"]'));

  await page.fill('[name="from"]', "0");
  await page.fill('[name="points"]', "5");
  await page.fill('[name="samples"]', "3");
  await page.fill('[name="max_tokens"]', "32");
  await page.fill('[name="rounds"]', "1");
  const cost = /^At most 10,752 tokens to decode: 7,680 of them on the grid/; // the file need not be chosen again
  await until(async () => cost.test(await page.locator("[data-cost]").textContent()), "the cost is told");
  await page.click('button:text("Start the sweep")');
  await page.locator("[data-sweep-live]").waitFor();
  const sweep = page.url();

  // It rests and goes on; the page follows by itself.
  if ((await state(page)) === "running") {
    await page.click('button:text("Pause")', { timeout: 5000 }).catch(() => {}); // it may be done by then
    await page.locator('[data-sweep-state="paused"], [data-sweep-state="done"]').waitFor();
    if ((await state(page)) === "paused") {
      await page.click('button:text("Resume")');
      await page.locator("[data-sweep-live]").waitFor();
    }
  }
  await until(async () => (await state(page)) === "done", "the sweep is done", 120_000);
  await page.waitForLoadState();
  assert.match(await page.locator("#sweep-answer").innerText(), /^Best λ for sentiment: .* effective β/);
  assert.equal(await page.locator(".plots").first().locator(".plot").count(), 2);
  assert.ok((await page.locator(".plot-point").count()) >= 20);

  // The table sorts and filters in its address, and leads to a cell, which decodes again to the same text.
  await page.click('a:text("Table")');
  await page.click('thead a:text("λ 1")');
  await page.locator('th[aria-sort="descending"]').waitFor();
  await page.waitForLoadState();
  const column = async () => (await page.locator(".sweep-table tbody tr td:nth-of-type(3)").allInnerTexts()).map((t) => Number(t.replace("−", "-")));
  const down = await column();
  assert.deepEqual(down, [...down].sort((a, b) => b - a));
  // With the texts in the cells, coloured by the reward.
  await page.check('[name="texts"]');
  await page.click('.sweep-filter button:text("Show")');
  await page.locator(".sweep-matrix .sweep-cell").first().waitFor();
  await page.waitForLoadState();
  assert.equal(await page.locator('.sweep-matrix [data-shade="8"]').count() > 0, true);
  await check(page, "the matrix");
  await screenshot(page, "matrix-1280");
  await page.emulateMedia({ colorScheme: "dark" });
  await check(page, "the matrix, dark");
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize({ width: 390, height: 844 });
  await check(page, "the matrix at 390 px");
  await page.setViewportSize({ width: 1280, height: 900 });
  await page.uncheck('[name="texts"]');
  await page.selectOption('[name="category"]', "music");
  await page.click('.sweep-filter button:text("Show")');
  await page.waitForURL(/category=music/);
  const shown = await page.locator(".sweep-table tbody tr").count();
  assert.ok(shown > 0 && shown < 16, `${shown} prompts are about music`);
  await page.locator(".sweep-table tbody tr").first().locator("td a").nth(1).click();
  const cell = page.locator(".item", { hasText: "λ 0.5 · sample 1" });
  const said = await cell.locator(".sweep-text").innerText();
  await cell.locator('a:text("Open in the playground")').click();
  await page.locator("[data-run-button]").waitFor();
  await page.waitForLoadState(); // the button needs the script
  await page.locator("[data-run-button]").click();
  await ended(page);
  assert.equal((await texts(page))[0].trim(), said.trim());

  // The ticket, as a page and as files.
  await page.goto(`${sweep}/ticket`);
  assert.match(await page.locator("main").innerText(), /Assumed[\s\S]*token by token[\s\S]*DPOConfig/);
  const [download] = await Promise.all([page.waitForEvent("download"), page.click('a:text("Markdown")')]);
  assert.match(await readFile(await download.path(), "utf8"), /^# β ticket: Warmth of replies/);
  for (const [kind, begins] of [["jsonl", "{"], ["csv", "\ufeffprompt,"], ["parquet", "PAR1"]]) {
    const answer = await context.request.get(`${sweep}/export.${kind}`);
    assert.ok((await answer.text()).startsWith(begins), kind);
  }
  assert.deepEqual(troubles, []);
  await context.close();
});
