// Every page, light and dark, wide and narrow: axe finds nothing, nothing is cut off, and a picture is kept.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { check } from "./accessible.mjs";
import { invited } from "./experiment.mjs";
import { ended, freshPage, lanes, run, screenshot, startBrowser, startServer } from "./server.mjs";

let server;
let guarded; // asks for a password
let browser;
let addresses;
let cookies;

before(async () => {
  server = await startServer();
  guarded = await startServer({ password: "correct horse" });
  browser = await startBrowser();
  const { page, context } = await freshPage(browser);
  await page.goto(server.base);
  await run(page, "What did you think of the film last night?", { seed: 2, max_tokens: 60 });
  await ended(page);
  const session = page.url();
  await page.click("[data-share] > summary");
  await page.fill("[data-share-title]", "Warmth of an answer");
  await page.click("[data-share-submit]");
  await page.locator("[data-share-url]").waitFor();
  const comparison = await page.inputValue("[data-share-url]");
  const swept = [];
  for (const seed of [1, 2]) swept.push(await sweep(page, seed));
  const study = await openStudy(page);
  const drafted = await draftStudy(page, "A draft");
  cookies = await context.cookies();
  addresses = {
    playground: "/", session, comparison, sessions: "/sessions", "sessions-none": "/sessions?q=nothing", shares: "/shares", keys: "/keys", pairs: "/pairs", pair: "/pairs/demo",
    studies: "/studies", "study-new": "/studies/new", "study-draft": drafted, "study-open": study.page, "study-edit": `${drafted}/edit`,
    "rate-join": study.invite, ...study.previews,
    sweeps: "/sweeps", "sweep-new": "/sweeps/new", sweep: swept[0], "sweep-table": `${swept[0]}/table?sort=1`, "sweep-prompt": `${swept[0]}/prompts/1`,
    "sweep-ticket": `${swept[0]}/ticket`, "sweep-compare": `/sweeps/compare?id=${swept.map((address) => address.split("/").pop()).join("&id=")}`,
    error: "/nothing", login: `${guarded.base}/login?next=%2Fsessions`, fork: `/?from=c:${comparison.split("/c/")[1]}`,
  };
  await context.close();
});

after(async () => {
  await browser?.close();
  await guarded?.stop();
  await server?.stop();
});

/** The address of a small sweep that is done. */
async function sweep(page, seed) {
  await page.goto(`${server.base}/sweeps/new`);
  await page.click('summary:text("Or a whole configuration")');
  await page.fill('[name="config"]', `{"name": "Small ${seed}", "pair": "demo", "prompts": ["Do you like films?", "What music do you like?", {"prompt": "Hello!", "category": "hello"}],
    "lambda": [0, 0.5, 1, 2], "samples": 3, "seed": ${seed}, "sampling": {"max_tokens": 20, "temperature": 1}, "rewards": ["sentiment", "distinct"], "refine": {"rounds": 0}}`);
  await page.click('button:text("Start the sweep")');
  await page.locator('[data-sweep-state="done"]').waitFor({ timeout: 60_000 });
  return page.url();
}

/** A draft of a study with every kind of question. */
async function draftStudy(page, title) {
  await page.goto(`${server.base}/studies/new`);
  await page.fill('[name="title"]', title);
  await page.fill('[name="guidelines"]', "## What counts\n\nPrefer the answer that **you** would like to get.\n\n- Length does not matter.\n\n| so | so |\n|---|---|\n| a | b |");
  await page.fill('[name="prompts"]', "What did you think of the film last night?\nHow was the meal?");
  await page.fill('[name="grid"]', "0 1 2");
  await page.locator("main details > summary").first().click();
  await page.fill('[name="max_tokens"]', "40");
  for (const name of ["likert", "ranking"]) await page.check(`[name="${name}"]`);
  await page.fill('[name="ranked"]', "3");
  await page.click('button:text("Save the draft")');
  await page.locator('button:text("Decode the answers")').waitFor();
  return new URL(page.url()).pathname;
}

/** A study that is rated, and an annotator who has answered. */
async function openStudy(page) {
  const path = await draftStudy(page, "Which do you like better?");
  const invite = await invited(page);
  const rater = await freshPage(browser);
  await rater.page.goto(invite);
  await rater.page.fill('[name="name"]', "Ann");
  await rater.page.keyboard.press("Enter");
  await rater.page.locator("[data-rate-answer]").waitFor();
  await rater.page.click("[data-rate-skip] > summary");
  await rater.page.click('[data-rate-skip-form] button:text("Skip")');
  await rater.context.close();
  const previews = {};
  for (let n = 0; Object.keys(previews).length < 3; n++) {
    assert.ok(n < 40, "a question of every kind");
    await page.goto(`${server.base}${path}/preview?n=${n}`);
    const kind = await page.locator("[data-rate-question]").getAttribute("data-rate-question");
    previews[`rate-${kind}`] ??= `${path}/preview?n=${n}`;
  }
  previews["rate-end"] = `${path}/preview?n=9999`;
  return { page: path, invite, previews };
}

for (const [width, height] of [[1280, 900], [390, 844], [360, 740]]) {
  for (const colorScheme of width === 360 ? ["light"] : ["light", "dark"]) {
    test(`pages at ${width} px, ${colorScheme}`, async () => {
      const { page, context, troubles } = await freshPage(browser, { viewport: { width, height }, colorScheme, reducedMotion: "reduce" });
      await context.addCookies(cookies);
      for (const [name, address] of Object.entries(addresses)) {
        await page.goto(new URL(address, server.base).href);
        await page.waitForTimeout(250);
        await check(page, name);
        if (width !== 360) await screenshot(page, `${name}-${width}-${colorScheme}`);
      }

      // A wrong password, then the right one: pages have one more thing to press. The server allows few wrong ones.
      if (width !== 360) {
        await page.goto(`${guarded.base}/login?next=%2Fsessions`);
        for (const password of ["wrong horse", "correct horse"]) {
          await page.fill('[name="password"]', password);
          await page.click('main button:text("Log in")');
          await check(page, password);
          await screenshot(page, `login-${password.split(" ")[0]}-${width}-${colorScheme}`);
        }
        await page.locator('button:text("Log out")').waitFor();
      }

      // The session in use: everything open.
      await page.goto(addresses.session);
      await page.locator('.connection[data-state="open"]').waitFor();
      await page.waitForTimeout(300);
      await page.locator('[data-view] input[value="ratio"]').check({ force: true });
      await page.locator("details:not(.menu)").evaluateAll((all) => {
        for (const details of all) details.open = true;
      });
      await lanes(page).nth(1).locator("[data-lambda-number]").fill("7");
      await lanes(page).nth(1).locator("[data-lambda-number]").press("Tab");
      await lanes(page).nth(2).locator("[data-lambda-number]").fill("-1");
      await lanes(page).nth(2).locator("[data-lambda-number]").press("Tab");
      await lanes(page).nth(3).locator("[data-lambda-number]").fill("many");
      await lanes(page).nth(3).locator("[data-lambda-number]").press("Tab");
      await lanes(page).nth(0).locator("[data-reply]").click();
      await check(page, "session, all open");
      if (width !== 360) await screenshot(page, `session-open-${width}-${colorScheme}`);
      await lanes(page).nth(2).locator(".t").nth(2).click();
      await page.locator("[data-inspector]").waitFor();
      await check(page, "inspector");
      if (width !== 360) await screenshot(page, `inspector-${width}-${colorScheme}`);
      await page.keyboard.press("Escape");
      await page.locator('[data-view] input[value="tokens"]').check({ force: true });
      await check(page, "tokens");
      await page.click("[data-rename] > summary");
      await check(page, "rename");
      if (width !== 360) await screenshot(page, `rename-${width}-${colorScheme}`);
      await page.keyboard.press("Escape");
      await page.click("[data-share] > summary");
      await check(page, "share");
      if (width !== 360) await screenshot(page, `share-${width}-${colorScheme}`);
      await page.keyboard.press("Escape");
      await page.click("[data-help-open]");
      await check(page, "help");
      if (width !== 360) await screenshot(page, `help-${width}-${colorScheme}`);

      // What forms lead to: a new link, a revoked one, a verdict.
      await page.keyboard.press("Escape");
      await Promise.all([page.waitForNavigation(), page.locator("[data-share-form]").evaluate((form) => HTMLFormElement.prototype.submit.call(form))]);
      await page.locator("input[data-select-all]").waitFor();
      await check(page, "a new link");
      if (width !== 360) await screenshot(page, `shares-new-${width}-${colorScheme}`);
      await page.locator('button:text("Revoke")').first().click();
      await page.locator(".toast").waitFor();
      await check(page, "a revoked link");
      if (width !== 360) await screenshot(page, `shares-revoked-${width}-${colorScheme}`);
      await page.goto(addresses.comparison);
      await page.click("[data-verify] button");
      await page.locator(".verdict-good").waitFor();
      await check(page, "a verdict");
      assert.deepEqual(troubles, []);
      await context.close();
    });
  }
}
