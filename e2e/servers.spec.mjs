// Two servers on one PostgreSQL and one NATS: what begins on one goes on, is steered and is stopped on the other.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { postgres, startServers } from "./cluster.mjs";
import { startProxy } from "./proxy.mjs";
import { ended, freshPage, lanes, long, run, running, startBrowser, states, texts, until } from "./server.mjs";

const skip = postgres ? false : "there is no PostgreSQL: scripts/postgres npm run e2e";
let cluster, browser, here, there;

before(async () => {
  if (skip) return;
  cluster = await startServers(2);
  [here, there] = cluster.servers;
  browser = await startBrowser();
});

after(async () => {
  await browser?.close();
  await cluster?.stop();
});

const address = (page) => new URL(page.url()).pathname + new URL(page.url()).search;
const sum = (all) => all.reduce((n, text) => n + text.length, 0);

test("a run that is started on one server is watched live, steered and stopped on the other", { skip }, async () => {
  const { page, context, troubles } = await freshPage(browser);
  await page.goto(here.base);
  const fast = await Promise.all([here.slow(), there.slow()]);
  await run(page, "The film began", { ...long, seed: 7 });
  await running(page);

  const other = await context.newPage(); // of the same person
  await other.goto(there.base + address(page));
  await running(other);
  assert.deepEqual(await states(other), Array(5).fill("running"));
  const before = sum(await texts(other));
  await until(async () => sum(await texts(other)) > before + 50, "the run goes on before the eyes of who watches it elsewhere");

  // λ moves there, and the mark is in both.
  await lanes(other).nth(2).locator("[data-lambda-slider]").fill("0.3");
  for (const each of [other, page]) {
    await until(async () => (await lanes(each).nth(2).locator(".turn").last().textContent().catch(() => "")) === "λ 0.3", "the mark is there");
  }

  // One lane is stopped there, and all are stopped here.
  await lanes(other).nth(4).locator("[data-stop]").click();
  for (const each of [other, page]) {
    await until(async () => (await states(each))[4] === "cancelled", "the last lane has stopped");
    assert.ok((await states(each)).slice(0, 4).includes("running"), "the others run on");
  }
  await page.click("[data-stop-all]");
  await ended(page);
  await ended(other);
  for (const each of fast) each();
  const said = await texts(page);
  assert.deepEqual(await texts(other), said);
  await other.reload();
  assert.deepEqual(await texts(other), said, "as the other server draws it");

  // The conversation goes on there, and here it is listed.
  await run(other, "And then?", { ...long, max_tokens: 20, seed: 8 });
  await until(async () => (await other.locator("[data-runs] .run").count()) === 2, "there is a second run");
  await ended(other);
  await page.goto(here.base + address(other));
  assert.deepEqual(await texts(page), await texts(other));
  assert.deepEqual(troubles, []);
  await context.close();
});

test("a sweep of one server is paused, resumed and followed on the other", { skip }, async () => {
  const { page, context, troubles } = await freshPage(browser);
  const fast = await Promise.all([here.slow(), there.slow()]);
  await page.goto(`${here.base}/sweeps/new`);
  await page.selectOption('[name="pair"]', "demo:warmth-b0.1");
  await page.fill('[name="prompts"]', Array.from({ length: 12 }, (_, i) => `What did you think of film ${i}?`).join("\n"));
  await page.check('[name="reward"][value="distinct"]');
  for (const [name, value] of Object.entries({ from: 0, to: 2, points: 5, samples: 3, max_tokens: 24, rounds: 0 })) await page.fill(`[name="${name}"]`, String(value));
  await page.click('button:text("Start the sweep")');
  await page.locator('[data-sweep-live][data-sweep-state="running"]').waitFor();

  const other = await context.newPage();
  await other.goto(there.base + address(page));
  await other.click('button:text("Pause")');
  for (const each of [other, page]) await each.locator('[data-sweep-state="paused"]').waitFor();
  await page.reload();
  await page.click('button:text("Resume")');
  await page.locator('[data-sweep-state="running"]').waitFor();
  await other.reload();
  await other.locator('[data-sweep-state="running"]').waitFor();
  for (const each of fast) each();
  for (const each of [page, other]) await each.locator('[data-sweep-state="done"]').waitFor({ timeout: 120_000 });
  assert.equal(await other.locator("#sweep-answer").innerText(), await page.locator("#sweep-answer").innerText());
  assert.deepEqual(troubles, []);
  await context.close();
});

test("a page whose server dies goes on with the other, which ends the run with the reason", { skip }, async () => {
  const proxy = await startProxy("", here.port);
  const { page, context, troubles } = await freshPage(browser);
  await page.goto(`${proxy.base}/`);
  await here.slow();
  const fast = await there.slow();
  await run(page, "The film began", { ...long, seed: 9 });
  await running(page);
  const shown = await texts(page);
  await cluster.kill(here);
  proxy.moveTo(there.port);
  await until(async () => (await states(page)).every((state) => state === "error"), "the run has ended with an error", 40_000);
  const left = await texts(page);
  for (const [i, text] of shown.entries()) assert.ok(left[i].startsWith(text), `lane ${i} has lost text that was seen`);
  assert.match(await lanes(page).first().innerText(), /stopped/);
  fast();
  await run(page, "What did you think of the film?", { ...long, max_tokens: 20, seed: 9 });
  await until(async () => (await page.locator("[data-runs] .run").count()) === 2, "there is a second run");
  await ended(page);
  assert.ok((await texts(page)).every((text) => text.length > 0));
  assert.deepEqual(troubles, []);
  await context.close();
  await proxy.stop();
});
