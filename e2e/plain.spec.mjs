// Without scripts, and with hostile text: what is saved can be read, and text is never markup.

import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { browser, ended, freshPage, lanes, run, server, texts, until, withServer } from "./server.mjs";

withServer();

test("a session, a comparison, and every form work without scripts", async () => {
  const live = await freshPage(browser);
  await live.page.goto(server.base);
  await run(live.page, "What did you think of the film?", { seed: 4, max_tokens: 40 });
  await ended(live.page);
  const want = await texts(live.page);
  const session = live.page.url();
  const cookies = await live.context.cookies();
  await live.context.close();

  const { page, context } = await freshPage(browser, { javaScriptEnabled: false });
  await context.addCookies(cookies);
  await page.goto(session);
  const read = async () => {
    // Without scripts in the page, its text is read from outside.
    const all = await page.locator("[data-lanes] [data-text]").all();
    return Promise.all(all.map(async (lane) => (await lane.textContent()).replace(/^λ /, "")));
  };
  assert.deepEqual(await read(), want);
  assert.ok((await page.locator(".lane-parting:visible").count()) > 0, "where neighbours part is written");
  assert.match(await page.locator(".about").textContent(), /Seed/);

  await page.click("[data-rename] > summary");
  await page.fill("[data-rename-title]", "Named by a plain form");
  await page.press("[data-rename-title]", "Enter");
  await until(async () => (await page.locator("[data-session-title]").textContent()) === "Named by a plain form", "it has the name");
  assert.equal(page.url(), session, "it leads back to the run");

  await page.click("[data-share] > summary");
  await page.fill("[data-share-title]", "By a plain form");
  await page.click("[data-share-submit]");
  const url = await page.locator("input[data-select-all]").inputValue();
  assert.match(url, /\/c\//);

  const guest = await freshPage(browser, { javaScriptEnabled: false });
  await guest.page.goto(url);
  const shown = await guest.page.locator("[data-lanes] [data-text]").allTextContents();
  assert.deepEqual(shown, want);
  for (const words of ["Seed", "SHA-256", "Token ids", "Temperature"]) {
    assert.match(await guest.page.locator("main").textContent(), new RegExp(words));
  }
  assert.ok((await guest.page.locator(".t[data-part]").count()) > 0, "where neighbours part is marked");
  assert.ok(await guest.page.locator("[data-chart] svg").first().isVisible(), "KL is drawn");
  assert.equal(await guest.page.locator("[data-chart-rows] tr").count(), want.length, "and told in numbers");
  const picture = await guest.page.getAttribute('meta[property="og:image"]', "content");
  const answer = await guest.context.request.get(picture);
  assert.equal(answer.headers()["content-type"], "image/png");
  await guest.page.click('button:text("Verify")');
  assert.match(await guest.page.locator(".verdict").textContent(), /Identical/);
  await guest.context.close();

  await page.goto(`${server.base}/shares`);
  await page.click('.item-title:text("By a plain form")');
  await until(() => page.url() === session, "a link leads back to its run");
  await page.goto(`${server.base}/shares`);
  await page.click('summary:text("Expiry")');
  await page.click('form[action$="/expire"] button');
  const item = (words) => until(async () => words.test(await page.locator(".item").textContent()), `the link says ${words}`);
  await item(/· expires/);
  await page.click('.item button:text("Revoke")');
  await item(/revoked/);

  await page.goto(`${server.base}/sessions`);
  await page.click('.item button:text("Delete")');
  await page.locator('.toast button:text("Undo")').waitFor();
  await page.waitForLoadState();
  assert.equal(await page.locator(".item").count(), 0);
  await page.click('.toast button:text("Undo")');
  await page.locator(".item").first().waitFor();
  await page.waitForLoadState();
  assert.equal(await page.locator(".item").count(), 1);
  await context.close();
});

test("markup in a prompt, a title and a model's text is shown as text", async () => {
  const { page, context, troubles } = await freshPage(browser);
  const attack = '<img src=x onerror="document.title=1"><script>document.title=2</script>';
  await page.goto(server.base);
  await run(page, attack, { seed: 1, max_tokens: 8 });
  await ended(page);
  const url = page.url();
  const harmless = async () => {
    assert.equal(await page.locator("main img, main script").count(), 0);
    assert.doesNotMatch(await page.title(), /^[12]$/);
  };
  await harmless();
  await page.reload();
  await harmless();
  assert.match(await page.locator("[data-runs] .run a").first().textContent(), /<img src=x/);

  // A model can be made to say anything: an exported session with other words in it is one way.
  const id = new URL(url).pathname.split("/")[2];
  const exported = JSON.parse(await (await context.request.get(`${server.base}/sessions/${id}/export`)).text());
  const said = "<script>document.title=2</script><b>bold</b>";
  let changed = 0;
  const change = (value) => {
    if (value && typeof value === "object") {
      if (value.type === "token" && typeof value.text === "string" && changed++ < 40) value.text = said;
      for (const inner of Object.values(value)) change(inner);
    }
  };
  change(exported);
  assert.ok(changed > 0, "the export holds tokens");
  const file = join(server.data, "changed.json");
  await writeFile(file, JSON.stringify(exported));
  await page.goto(`${server.base}/sessions`);
  await page.click('summary:text("Import")');
  await page.setInputFiles('input[type="file"]', file);
  await page.click('form[action="/sessions/import"] button');
  await until(async () => !page.url().endsWith("/import"), "the import has led somewhere");
  await page.goto(`${server.base}/sessions`);
  await page.locator(".item-title").first().click();
  await page.locator('.connection[data-state="open"]').waitFor();
  await page.waitForTimeout(300);
  assert.ok((await lanes(page).first().locator("[data-text]").textContent()).startsWith(said));
  await harmless();
  assert.equal(await page.locator("[data-text] b").count(), 0);
  assert.deepEqual(troubles, []);
  await context.close();
});

test("addresses that lead nowhere say so, in a page and in JSON alike", async () => {
  const { page, context } = await freshPage(browser);
  for (const path of ["/nothing", "/s/nothing", "/c/nothing", "/pairs/nothing", "/?run=nothing"]) {
    const answer = await page.goto(server.base + path);
    assert.ok(answer.status() >= 400 && answer.status() < 500, `${path}: ${answer.status()}`);
    assert.equal(await page.locator("main h1").count(), 1);
    const json = await context.request.get(server.base + path, { headers: { Accept: "application/json" } });
    assert.equal(json.status(), answer.status());
    assert.ok(JSON.parse(await json.text()).message);
  }
  await context.close();
});
