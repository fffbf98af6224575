// The main job from end to end: run, steer, stop, reload, share, open elsewhere, revoke.

import assert from "node:assert/strict";
import { test } from "node:test";
import { browser, ended, freshPage, lanes, long, run, running, server, openSettings, set, sideBySide, states, texts, until, withServer } from "./server.mjs";

withServer();

test("five lanes stream, λ moves, all stop, a reload loses nothing; a link opens elsewhere until it is revoked", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await page.goto(server.base);
  assert.equal(await lanes(page).count(), 5);
  const atFullSpeed = await server.slow();
  await run(page, "The film began", { ...long, seed: 7 });
  await running(page);
  assert.deepEqual(await states(page), Array(5).fill("running"));

  // λ moves while its lane runs: from the next token on, with a mark in the text.
  const middle = lanes(page).nth(2);
  await middle.locator("[data-lambda-slider]").fill("0.3");
  const mark = middle.locator(".turn").first();
  await mark.waitFor();
  assert.match(await mark.textContent(), /^λ 0\.[3-9]/);
  await until(async () => (await middle.locator(".turn").last().textContent()) === "λ 0.3", "the last mark is where the slider is");
  const moved = await middle.locator("[data-text]").evaluate((text) => {
    const marks = [...text.querySelectorAll(".turn")];
    return marks[marks.length - 1].nextElementSibling?.matches(".t") ?? false;
  });
  assert.ok(moved, "decoding went on after the mark");

  // One lane, then all.
  await lanes(page).nth(4).locator("[data-stop]").click();
  await until(async () => (await states(page))[4] === "cancelled", "the last lane has stopped");
  assert.ok((await states(page)).slice(0, 4).includes("running"), "the others run on");
  await page.click("[data-stop-all]");
  await ended(page);
  atFullSpeed();
  const before = await texts(page);
  const marks = await page.locator("[data-lanes] .turn").allTextContents();
  assert.ok(before.every((text) => text.length > 0));
  assert.match(page.url(), /\/s\/[^/?]+\?run=.+/);

  await page.reload();
  assert.deepEqual(await texts(page), before, "as the server draws it");
  await page.locator('.connection[data-state="open"]').waitFor();
  await until(async () => (await page.locator("[data-lanes] [data-copy]:visible").count()) === 5, "the script has taken over");
  await page.waitForTimeout(300);
  assert.deepEqual(await texts(page), before, "as the script draws it");
  assert.deepEqual(await page.locator("[data-lanes] .turn").allTextContents(), marks);

  // Share, and open in another profile.
  await page.click("[data-share] > summary");
  await page.fill("[data-share-title]", "Five strengths");
  await page.click("[data-share-submit]");
  const field = page.locator("[data-share-url]");
  await field.waitFor();
  const url = await field.inputValue();
  assert.match(url, /\/c\/[\w-]{16,}$/);
  const guest = await freshPage(browser);
  assert.equal((await guest.page.goto(url)).status(), 200);
  assert.deepEqual(await texts(guest.page), before);
  assert.equal(await guest.page.locator("h1").textContent(), "Five strengths");
  assert.equal(await guest.page.locator('button:text("Revoke")').count(), 0, "a guest cannot revoke it");
  await guest.page.goto(`${server.base}/sessions`);
  assert.equal(await guest.page.locator(".item").count(), 0, "a guest sees no sessions");

  // The owner's list leads back to the run.
  await page.goto(`${server.base}/shares`);
  assert.equal(await page.locator(".item-words").textContent(), "The film began");
  await page.click('.item-title:text("Five strengths")');
  await page.waitForURL(/\/s\//);
  assert.deepEqual(await texts(page), before);

  await page.goto(`${server.base}/shares`);
  await page.click('button:text("Revoke")');
  await page.locator('.badge:text("revoked")').waitFor();
  const gone = await guest.page.goto(url);
  assert.ok([404, 410].includes(gone.status()), `status ${gone.status()}`);
  assert.doesNotMatch(await guest.page.content(), /The film began/);
  assert.deepEqual([...troubles, ...guest.troubles], []);
  await guest.context.close();
  await context.close();
});

test("the same seed gives the same text, and a comparison verifies", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await page.goto(server.base);
  await run(page, "What did you think of the film?", { seed: 11, max_tokens: 40 });
  await ended(page);
  const first = await texts(page);
  await page.evaluate(() => document.activeElement?.blur());
  await page.keyboard.press("r");
  await until(async () => (await page.locator("[data-runs] .run").count()) === 2, "there is a second run");
  await ended(page);
  assert.deepEqual(await texts(page), first);
  assert.equal(await page.locator("[data-run-button]").innerText(), "Again, new seed");
  await page.click("[data-run-button]");
  await until(async () => (await page.locator("[data-runs] .run").count()) === 3, "there is a third run");
  await ended(page);
  assert.notEqual(await page.inputValue("[data-seed]"), "11");

  await page.click("[data-share] > summary");
  await page.click("[data-share-submit]");
  await page.locator("[data-share-url]").waitFor();
  await page.goto(await page.inputValue("[data-share-url]"));
  await page.click("[data-verify] button");
  await page.locator(".verdict-good").waitFor();
  assert.match(await page.locator(".verdict").textContent(), /Identical/);

  // Its fork starts with all of it.
  await page.click('a:text("Open in playground")');
  await page.waitForURL(/\?from=/);
  assert.equal(await page.inputValue("[data-prompt]"), "What did you think of the film?");
  assert.equal(await lanes(page).count(), 5);
  assert.deepEqual(troubles, []);
  await context.close();
});

test("seeing why: a token's probabilities, a branch from an alternative, a conversation that goes on", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await page.goto(server.base);
  await run(page, "Tell me about your favourite band.", { seed: 3, max_tokens: 40 });
  await ended(page);
  await page.locator('[data-view] input[value="ratio"]').check({ force: true });
  assert.equal(await page.locator("[data-lanes]").getAttribute("data-shown"), "ratio");

  const lane = lanes(page).nth(2);
  await lane.locator(".t").nth(1).hover();
  await page.locator("[data-token-line]:not([hidden])").waitFor();
  await lane.locator(".t").nth(1).click();
  const inspector = page.locator("[data-inspector]");
  await inspector.waitFor();
  assert.match(await inspector.textContent(), /Reference[\s\S]*Mixture[\s\S]*Aligned/);
  const other = inspector.locator("[data-id]").first();
  const name = (await other.locator(".alternative-name").textContent()).replace("␣", " ");
  const start = await lane.locator(".t").first().textContent();
  await other.click();
  await until(async () => (await lanes(page).count()) === 6, "there is a branch");
  await ended(page);
  const branch = lanes(page).nth(3);
  assert.ok((await branch.locator("[data-text]").textContent()).startsWith(start + name.replace("∅", "")), "it begins as the lane did, then differs");
  assert.equal(await branch.locator(".t[data-given]").count(), 2);

  // Another λ for a lane that has ended.
  await lane.locator("[data-lambda-number]").fill("1/4");
  await lane.locator("[data-lambda-number]").press("Tab");
  await until(async () => (await lane.getAttribute("data-index")) === "6", "it is decoded there");
  await ended(page);
  const kept = await texts(page);
  await page.reload();
  await until(async () => (await lanes(page).count()) === 7, "all lanes are there again, also the one before");
  const all = await texts(page);
  for (const text of kept) assert.ok(all.includes(text), text);

  await lanes(page).nth(1).locator("[data-reply]").click();
  assert.equal(await page.locator("[data-before] .turn-of").count(), 2);
  await run(page, "Why is that?");
  await until(async () => (await page.locator("[data-runs] .run").count()) === 2, "there is a second run");
  await ended(page);
  await page.reload();
  assert.equal(await page.locator("[data-before] .turn-of").count(), 2, "the conversation before it is shown");
  assert.deepEqual(troubles, []);
  await context.close();
});

test("sessions: search, rename, delete, undo, export, import", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await page.goto(server.base);
  await run(page, "A prompt to be found", { max_tokens: 8 });
  await ended(page);
  const text = await texts(page);
  await page.goto(`${server.base}/sessions`);
  await page.fill('input[type="search"]', "to be found");
  await page.press('input[type="search"]', "Enter");
  await page.waitForURL(/[?&]q=to/);
  assert.equal(await page.locator(".item").count(), 1);
  await page.fill('input[type="search"]', "nothing like it");
  await page.press('input[type="search"]', "Enter");
  await page.locator('h2:text("Nothing found")').waitFor();
  await page.goto(`${server.base}/sessions`);
  await page.click('.item summary:text("Rename")');
  await page.fill('.item input[name="title"]', "Renamed");
  await page.press('.item input[name="title"]', "Enter");
  await page.locator('.item-title:text("Renamed")').waitFor();

  const [download] = await Promise.all([page.waitForEvent("download"), page.click('.item a:text("Export")')]);
  const file = await download.path();
  await page.click('.item button:text("Delete")');
  await page.locator('.toast button:text("Undo")').waitFor();
  await page.waitForLoadState();
  assert.equal(await page.locator(".item").count(), 0);
  await page.click('.toast button:text("Undo")');
  await page.locator('.item-title:text("Renamed")').waitFor();

  await page.click('summary:text("Import")');
  await page.setInputFiles('input[type="file"]', file);
  await page.click('form[action="/sessions/import"] button');
  await until(async () => !page.url().endsWith("/import"), "the import has led somewhere");
  await page.goto(`${server.base}/sessions`);
  assert.equal(await page.locator(".item").count(), 2);
  await page.locator(".item-title").first().click();
  await page.waitForURL(/\/s\//);
  assert.deepEqual(await texts(page), text);
  assert.deepEqual(troubles, []);
  await context.close();
});

test("the session on the bench is renamed in place, by keyboard, and keeps its name", async () => {
  const { page, context, troubles } = await freshPage(browser);
  const title = page.locator("[data-session-title]");
  const focus = () => page.evaluate(() => document.activeElement?.textContent.trim() ?? "");
  await page.goto(server.base);
  const summary = page.locator("[data-rename] > summary");
  assert.ok(!(await summary.isVisible()), "there is no session yet");
  await run(page, "A first prompt", { max_tokens: 4 });
  await ended(page);
  assert.equal(await title.textContent(), "A first prompt");

  await page.locator('.nav a:text("Pairs")').focus();
  for (let i = 0; i < 12 && (await focus()) !== "Rename the session"; i++) await page.keyboard.press("Tab");
  assert.equal(await focus(), "Rename the session", "Tab leads there");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.activeElement?.matches("[data-rename-title]"));
  await page.keyboard.type("A <b>better</b>   name");
  await page.keyboard.press("Enter");
  await until(async () => (await title.textContent()) === "A <b>better</b> name", "the title is the new one, as it was kept");
  assert.equal(await focus(), "Rename the session");
  assert.equal(await page.title(), "A <b>better</b> name · Realign");
  assert.match(await page.locator("[data-announce]").textContent(), /A <b>better<\/b> name/);

  // Esc leaves it as it is; what the server refuses is told where it was typed.
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.activeElement?.matches("[data-rename-title]"));
  await page.keyboard.type("Never mind");
  await page.keyboard.press("Escape");
  assert.equal(await focus(), "Rename the session");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.activeElement?.matches("[data-rename-title]"));
  assert.equal(await page.inputValue("[data-rename-title]"), "A <b>better</b> name", "what was given up is not kept");
  await page.keyboard.type("   ");
  await page.keyboard.press("Enter");
  await page.locator("[data-rename-error]").waitFor();
  assert.match(await page.locator("[data-rename-error]").textContent(), /empty/);
  await page.keyboard.press("Escape");

  // A further run of the session leaves its name alone, other lanes or not.
  await openSettings(page);
  await page.locator("[data-preset]").first().click();
  await run(page, "A second prompt");
  await until(async () => (await page.locator("[data-runs] .run").count()) === 2, "there is a second run");
  await ended(page);
  assert.equal(await title.textContent(), "A <b>better</b> name");
  await page.reload();
  assert.equal(await title.textContent(), "A <b>better</b> name");
  await page.goto(`${server.base}/sessions`);
  assert.equal(await page.locator(".item-title").textContent(), "A <b>better</b> name");
  assert.deepEqual(troubles, []);
  await context.close();
});

test("a draft survives a closed tab, and bad input is told at its field", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await page.goto(server.base);
  await page.locator('.connection[data-state="open"]').waitFor();
  await page.click("[data-run-button]");
  assert.match(await page.locator("#prompt-error").textContent(), /empty/);
  await page.fill("[data-prompt]", "Half a thought");
  await set(page, { seed: "x" });
  await page.click("[data-run-button]");
  assert.match(await page.locator('[data-error="seed"]').textContent(), /whole number/);
  await set(page, { seed: "5", temperature: "999" });
  await sideBySide(page);
  await lanes(page).first().locator("[data-lambda-number]").fill("much");
  await page.click("[data-run-button]");
  assert.match(await page.locator('[data-error="temperature"]').textContent(), /From 0/);
  assert.match(await lanes(page).first().locator("[data-lambda-error]").textContent(), /number/);
  assert.equal(await page.locator("[data-runs] .run").count(), 0, "nothing was started");
  await page.reload();
  assert.equal(await page.inputValue("[data-prompt]"), "Half a thought");
  assert.deepEqual(troubles, []);
  await context.close();
});
