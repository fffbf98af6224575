// Programs: the call that the playground shows gives what is on the screen, and keys are made without a script.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";
import { browser, ended, freshPage, run, server, openSettings, texts, until, withServer } from "./server.mjs";

withServer();

test("the call that is shown gives the texts of the lanes", async () => {
  const { page, context } = await freshPage(browser);
  await page.goto(server.base);
  await run(page, "What did you think of Anna's film?", { seed: 3, max_tokens: 20 });
  await ended(page);
  await page.click("[data-code] > summary");
  const shown = () => page.locator("[data-code-text]").textContent();
  const call = await until(shown, "the call is shown"); // the box is filled once it has opened
  assert.match(call, /^curl http:\/\/127\.0\.0\.1:\d+\/v1\/chat\/completions /);
  const { stdout } = await promisify(execFile)("sh", ["-c", call]);
  assert.deepEqual(JSON.parse(stdout).choices.map((choice) => choice.message.content), await texts(page));
  await page.selectOption("[data-code-language]", "python");
  assert.match(await shown(), /extra_body=\{"lambda": \[0, 0\.5, 1, 1\.5, 2\]/);
  await openSettings(page);
  await page.fill("#seed", "x");
  await page.click("[data-code] > summary");
  await until(async () => !/import/.test(await shown()), "a wrong field is no call");
  await context.close();
});

test("a key is made, used and revoked without JavaScript", async () => {
  const context = await browser.newContext({ javaScriptEnabled: false });
  const page = await context.newPage();
  await page.goto(`${server.base}/keys`);
  await page.fill('[name="name"]', "notebook");
  await page.click('button:text("Make the key")');
  const key = await page.locator('input[value^="rk-"]').inputValue();
  const send = () => fetch(`${server.base}/v1/chat/completions`, {
    method: "POST", headers: { Authorization: `Bearer ${key}` },
    body: JSON.stringify({ model: "demo@0.5", messages: [{ role: "user", content: "Kept by a program" }], max_tokens: 3, store: true }),
  });
  assert.equal((await send()).status, 200);
  await page.goto(`${server.base}/sessions`);
  await page.getByText("Kept by a program").first().waitFor();
  await page.goto(`${server.base}/keys`);
  assert.equal(await page.locator('input[value^="rk-"]').count(), 0);
  await page.click('summary:has-text("Revoke")');
  await page.click('button:text("Revoke it")');
  await page.getByText("revoked", { exact: true }).waitFor();
  assert.equal((await send()).status, 401);
  await context.close();
});
