// Everything on the bench without a pointer.

import assert from "node:assert/strict";
import { test } from "node:test";
import { browser, ended, freshPage, lanes, long, running, server, openSettings, set, sideBySide, states, until, withServer } from "./server.mjs";

withServer();

test("run, read, branch, steer and stop by keyboard alone", async () => {
  const { page, context, troubles } = await freshPage(browser);
  const focus = () => page.evaluate(() => document.activeElement?.outerHTML.slice(0, 200) ?? "");
  const runs = () => page.locator("[data-runs] .run").count();
  await page.goto(server.base);
  await sideBySide(page);
  await set(page, { seed: 3, max_tokens: 30 });
  await page.locator("body").click({ position: { x: 2, y: 300 } });

  await page.keyboard.press("p");
  assert.match(await focus(), /data-prompt/);
  await page.keyboard.type("What music do you like?");
  await page.keyboard.press("Control+Enter");
  await until(async () => (await runs()) === 1, "it runs");
  await ended(page);

  // Into the third lane, along its tokens, into the alternatives, and into a branch.
  await page.keyboard.press("Escape");
  await page.evaluate(() => document.activeElement?.blur());
  await page.keyboard.press("3");
  assert.match(await focus(), /data-text/);
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowRight");
  assert.equal(await page.evaluate(() => document.activeElement?.getAttribute("data-i")), "1");
  assert.match(await page.evaluate(() => document.activeElement?.getAttribute("aria-label")), /^Token 2:/);
  assert.ok(await page.locator("[data-token-line]").isVisible(), "one line about the token");
  await page.keyboard.press("Enter");
  assert.ok(await page.locator("[data-inspector]").isVisible());
  assert.match(await focus(), /alternative/);
  await page.keyboard.press("Escape");
  assert.equal(await page.evaluate(() => document.activeElement?.getAttribute("data-i")), "1", "Escape leads back to the token");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Enter");
  await until(async () => (await lanes(page).count()) === 6, "there is a branch");
  await ended(page);

  // Another lane, its λ by arrows, and again with another seed.
  await page.keyboard.press("a");
  await until(async () => (await lanes(page).count()) === 7, "there is one more lane");
  assert.match(await focus(), /data-lambda-number/);
  await page.keyboard.press("ArrowUp");
  const value = await page.evaluate(() => document.activeElement?.value);
  assert.equal(value, "2.55");
  await page.keyboard.press("Tab");
  const seed = await page.inputValue("[data-seed]");
  await page.evaluate(() => document.activeElement?.blur());
  await page.keyboard.press("n");
  await until(async () => (await runs()) === 2, "it runs again");
  await ended(page);
  assert.notEqual(await page.inputValue("[data-seed]"), seed);
  assert.equal(await lanes(page).count(), 7);

  // Colours, help, and stopping.
  await page.keyboard.press("c");
  assert.equal(await page.locator("[data-lanes]").getAttribute("data-shown"), "ratio");
  await page.keyboard.press("?");
  assert.ok(await page.locator("[data-help]").evaluate((sheet) => sheet.open));
  await page.keyboard.press("Escape");
  assert.ok(!(await page.locator("[data-help]").evaluate((sheet) => sheet.open)));
  await set(page, { ...long, seed: 8 });
  const atFullSpeed = await server.slow();
  await page.evaluate(() => document.activeElement?.blur());
  await page.keyboard.press("r");
  await until(async () => (await runs()) === 3, "it runs a third time");
  await running(page);
  await page.keyboard.press("Escape");
  await ended(page);
  atFullSpeed();
  assert.ok((await states(page)).every((state) => state === "cancelled"), String(await states(page)));
  assert.deepEqual(troubles, []);
  await context.close();
});

test("Tab reaches every control in an order that makes sense, and letters can be switched off", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await page.goto(server.base);
  await page.locator('.connection[data-state="open"]').waitFor();
  await sideBySide(page);
  await openSettings(page);
  await page.evaluate(() => {
    document.body.tabIndex = -1; // Tab begins at the top
    document.body.focus();
    document.body.removeAttribute("tabindex");
  });
  const order = [];
  for (let i = 0; i < 90; i++) {
    await page.keyboard.press("Tab");
    const at = await page.evaluate(() => {
      const e = document.activeElement;
      if (!e || e === document.body) return "";
      const seen = e.getBoundingClientRect();
      const name = e.getAttribute("aria-label") ?? e.labels?.[0]?.textContent ?? e.textContent ?? "";
      return `${name.trim().replace(/\s+/g, " ").slice(0, 30)}${seen.width > 0 ? "" : " (invisible)"}${e.matches("a.term") ? " (a word)" : ""}`;
    });
    if (at === "") break;
    order.push(at);
  }
  assert.equal(order[0], "Skip to content");
  assert.ok(!order.some((name) => name.includes("(invisible)")), order.join("; "));
  const place = (name) => order.findIndex((at) => at.startsWith(name));
  for (const [a, b] of [["Playground", "Prompt"], ["Prompt", "Run"], ["Run", "Seed"], ["Run", "Settings"], ["Settings", "Seed"], ["Seed", "λ, slider"], ["λ, slider", "Add a lane"]]) {
    assert.ok(place(a) >= 0 && place(a) < place(b), `${a} before ${b}: ${order.join("; ")}`);
  }
  assert.ok(place("Temperature") >= 0 && !order.some((name) => name.includes("(a word)")), `fields are stops, and the words that name them are none: ${order.join("; ")}`);

  await page.locator("[data-help-open]").click();
  await until(async () => (await page.locator("[data-help-terms] a").allTextContents()).includes("Temperature"), "the sheet leads to the words of the page");
  await page.locator("[data-keys-toggle]").uncheck();
  await page.keyboard.press("Escape");
  await page.evaluate(() => document.activeElement?.blur());
  const count = await lanes(page).count();
  await page.keyboard.press("a");
  await page.keyboard.press("?");
  assert.equal(await lanes(page).count(), count);
  assert.ok(!(await page.locator("[data-help]").evaluate((sheet) => sheet.open)));
  assert.deepEqual(troubles, []);
  await context.close();
});
