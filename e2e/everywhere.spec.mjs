// Every page in every width from 320 to 1920 px, zoomed to 200%, from right to left, and without motion: nothing scrolls sideways,
// nothing is cut off, and axe finds nothing.

import assert from "node:assert/strict";
import { test } from "node:test";
import { check } from "./accessible.mjs";
import { browser, ended, freshPage, long, run, running, screenshot, server, withServer } from "./server.mjs";

withServer();

const pages = {
  playground: "/", sessions: "/sessions", shares: "/shares", keys: "/keys", pairs: "/pairs", pair: "/pairs/demo", studies: "/studies", "study-new": "/studies/new",
  sweeps: "/sweeps", "sweep-new": "/sweeps/new", guide: "/help/guide", words: "/help/words", error: "/nothing",
};

const sideways = (page) => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

/** Addresses of what only a run has, and the cookies of who ran it. */
async function made() {
  const { page, context } = await freshPage(browser);
  await page.goto(server.base);
  await run(page, "What did you think of the film last night?", { seed: 2, max_tokens: 40 });
  await ended(page);
  const session = page.url();
  await page.click("[data-share] > summary");
  await page.click("[data-share-submit]");
  await page.locator("[data-share-url]").waitFor();
  const comparison = await page.inputValue("[data-share-url]");
  const cookies = await context.cookies();
  await context.close();
  return { more: { session, comparison }, cookies };
}

let kept;
const all = async () => (kept ??= await made());

for (const width of [320, 390, 640, 768, 1024, 1920]) { // 640 px is 1280 at 200%
  test(`no page scrolls sideways at ${width} px`, async () => {
    const { more, cookies } = await all();
    const { page, context, troubles } = await freshPage(browser, { viewport: { width, height: width === 640 ? 450 : 900 }, reducedMotion: "reduce" });
    await context.addCookies(cookies);
    for (const [name, address] of Object.entries({ ...pages, ...more })) {
      await page.goto(new URL(address, server.base).href);
      await page.waitForTimeout(150);
      assert.equal(await sideways(page), 0, `${name} at ${width} px`);
      await screenshot(page, `${name}-${width}`);
    }
    // The navigation is one line, and every item of it can be reached.
    await page.goto(server.base);
    const lines = await page.locator(".nav a").evaluateAll((links) => new Set(links.map((link) => Math.round(link.getBoundingClientRect().top))).size);
    assert.equal(lines, 1, "the navigation wraps");
    await page.locator('.nav a:text("Keys")').focus();
    const seen = await page.locator('.nav a:text("Keys")').evaluate((link) => {
      const at = link.getBoundingClientRect();
      return at.left >= 0 && at.right <= innerWidth;
    });
    assert.ok(seen, "its last item comes into view");
    assert.deepEqual(troubles, []);
    await context.close();
  });
}

test("from right to left nothing scrolls sideways, and a right-to-left prompt is read so", async () => {
  const { more, cookies } = await all();
  const { page, context, troubles } = await freshPage(browser, { viewport: { width: 390, height: 844 } });
  await context.addCookies(cookies);
  for (const [name, address] of Object.entries({ ...pages, ...more })) {
    await page.goto(new URL(address, server.base).href);
    await page.evaluate(() => (document.documentElement.dir = "rtl"));
    await page.waitForTimeout(150);
    assert.equal(await sideways(page), 0, name);
  }
  await page.goto(server.base);
  await run(page, "ما رأيك في الفيلم؟", { seed: 2, max_tokens: 20 });
  await ended(page);
  assert.equal(await page.locator("[data-prompt]").evaluate((prompt) => getComputedStyle(prompt).direction), "rtl");
  assert.equal(await page.locator("[data-session-title]").evaluate((title) => getComputedStyle(title).direction), "rtl");
  await check(page, "right to left");
  assert.deepEqual(troubles, []);
  await context.close();
});

test("with reduced motion nothing moves by itself, also while lanes stream", async () => {
  const { page, context, troubles } = await freshPage(browser, { reducedMotion: "reduce" });
  await page.goto(server.base);
  const atFullSpeed = await server.slow();
  await run(page, "The film began", { ...long, seed: 7 });
  await running(page);
  assert.equal(await page.evaluate(() => document.getAnimations().length), 0);
  await page.keyboard.press("Escape");
  await ended(page);
  atFullSpeed();
  assert.deepEqual(troubles, []);
  await context.close();
});

for (const colorScheme of ["light", "dark"]) {
  test(`help is readable, ${colorScheme}`, async () => {
    for (const width of [390, 1280]) {
      const { page, context, troubles } = await freshPage(browser, { viewport: { width, height: 900 }, colorScheme, reducedMotion: "reduce" });
      for (const address of ["/help/guide", "/help/words#kl", "/help/sweeps", "/help/api"]) {
        await page.goto(server.base + address);
        await check(page, `${address} at ${width} px`);
      }
      // From a term to its words, by keyboard, and from the sheet of keys.
      await page.goto(`${server.base}/sweeps`);
      await page.locator("a.term").first().focus();
      const [words] = await Promise.all([context.waitForEvent("page"), page.keyboard.press("Enter")]);
      await words.locator("#sweep:target").waitFor();
      assert.deepEqual(troubles, []);
      await context.close();
    }
  });
}
