// A server below a path of its host, behind a reverse proxy: every link, asset, socket, redirect and cookie stays below it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startProxy } from "./proxy.mjs";
import { ended, freshPage, lanes, run, startBrowser, startServer, texts, until } from "./server.mjs";

const path = "/tools/realign";
let server, proxy, browser;

before(async () => {
  server = await startServer({ args: ["--base-path", path] });
  proxy = await startProxy(path, server.port);
  browser = await startBrowser();
});

after(async () => {
  await browser?.close();
  await proxy?.stop();
  await server?.stop();
});

test("runs, sessions, links, studies and sweeps work below a path, and nothing is asked outside it", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await page.goto(`${proxy.base}/`);
  await page.locator('.connection[data-state="open"]').waitFor();
  await run(page, "The film began", { max_tokens: 12, seed: 7 });
  await ended(page);
  const said = await texts(page);
  assert.ok(said.some((text) => text.length > 0));
  assert.match(new URL(page.url()).pathname, new RegExp(`^${path}/s/`));
  const session = page.url();
  await page.reload();
  assert.deepEqual(await texts(page), said);

  // Cookies are for the path alone.
  const cookies = await context.cookies();
  assert.ok(cookies.length > 0);
  for (const cookie of cookies) assert.equal(cookie.path, `${path}/`, cookie.name);

  // A link is given away with the path in it.
  await page.click("[data-share] > summary");
  await page.click("[data-share-submit]");
  const field = page.locator("[data-share-url]");
  await field.waitFor();
  const link = await field.inputValue();
  assert.ok(link.startsWith(`${proxy.base}/c/`), link);
  const guest = await freshPage(browser);
  assert.equal((await guest.page.goto(link)).status(), 200);
  assert.deepEqual(await texts(guest.page), said);
  await guest.page.click('a:text("Open in playground")');
  await guest.page.locator('.connection[data-state="open"]').waitFor();
  assert.equal(await lanes(guest.page).count(), 5);

  // A form that redirects, and an undo.
  await page.goto(`${proxy.base}/sessions`);
  await page.click('.item-title:text("The film began")');
  await until(() => page.url().split("?")[0] === session.split("?")[0], "a title leads to its session");

  // A study by its form, and its page for annotators.
  await page.goto(`${proxy.base}/studies/new`);
  await page.fill('[name="title"]', "Which do you like?");
  await page.fill('[name="prompts"]', "How was the meal?\nDid you like the book?");
  await page.click('button:text("Save the draft")');
  await page.waitForURL(new RegExp(`${path}/studies/(?!new$)\\w+$`));
  await page.goto(`${proxy.base}/sweeps/new`);

  // Every link of every page leads somewhere below the path.
  const seen = new Set();
  const ahead = ["/", "/sessions", "/shares", "/studies", "/sweeps", "/pairs", "/keys", new URL(session).pathname.slice(path.length)];
  while (ahead.length > 0 && seen.size < 60) {
    const at = ahead.shift();
    if (seen.has(at)) continue;
    seen.add(at);
    const answer = await page.request.get(`${proxy.base}${at}`);
    assert.ok(answer.status() < 400, `${at}: ${answer.status()}`);
    if (!/html/.test(answer.headers()["content-type"] ?? "")) continue;
    const text = await answer.text();
    for (const [, address] of text.matchAll(/<[^>]* (?:href|src|action|formaction)="(\/[^"]*)"/g)) {
      assert.ok(address === path || address.startsWith(`${path}/`), `${at} has ${address}`);
    }
    for (const [, address] of text.matchAll(/<a [^>]*href="(\/[^"#]*)"/g)) {
      const next = address.slice(path.length).replaceAll("&amp;", "&");
      if (!seen.has(next) && !next.includes("//")) ahead.push(next); // a link that is hidden until there is a session has none yet
    }
  }
  assert.ok(seen.size > 12, `${seen.size} pages`);

  await until(() => proxy.strays.length === 0, "nothing was asked outside the path").catch(() => assert.deepEqual(proxy.strays, []));
  assert.deepEqual([...troubles, ...guest.troubles], []);
});

test("what is outside the path is not the server's, but for probes", async () => {
  const direct = `http://127.0.0.1:${server.port}`;
  const status = async (address) => (await fetch(direct + address, { redirect: "manual" })).status;
  assert.equal(await status("/healthz"), 200);
  assert.equal(await status("/readyz"), 200);
  assert.equal(await status(`${path}/readyz`), 200);
  assert.equal(await status("/sessions"), 404);
  assert.equal(await status(path), 303);
});
