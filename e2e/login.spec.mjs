// A server that asks for a password: in, on to where one was going, out again.

import assert from "node:assert/strict";
import { test } from "node:test";
import { browser, ended, freshPage, run, server, until, withServer } from "./server.mjs";

withServer({ password: "correct horse" });

const login = (page) => new URL(page.url()).pathname === "/login";
/** A field that the page gives the focus has it at the first frame, which may be after the page is there. */
const ready = (page) => until(() => page.evaluate(() => document.activeElement?.matches('[name="password"]')), "one can type at once");

test("nothing but the login page is shown to who has not logged in", async () => {
  const { page, context, troubles } = await freshPage(browser);
  for (const path of ["/", "/sessions", "/shares", "/keys", "/pairs", "/pairs/demo", "/s/none"]) {
    await page.goto(server.base + path);
    assert.ok(login(page), `${path} leads to ${page.url()}`);
  }
  const refused = await page.evaluate(
    () => new Promise((resolve) => {
      const socket = new WebSocket(`ws://${location.host}/ws`);
      socket.onopen = () => resolve(false);
      socket.onerror = () => resolve(true);
    }),
  );
  assert.ok(refused, "the socket is closed to it");
  assert.deepEqual(troubles, []);
  await context.close();
});

test("by keyboard: a wrong password is told, the right one leads on, and logging out ends it in every window", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await page.goto(`${server.base}/sessions?q=film`);
  assert.ok(login(page));
  assert.equal(await page.title(), "Log in · Realign");
  await ready(page);
  await page.keyboard.type("wrong horse");
  const [answer] = await Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")]);
  assert.equal(answer.status(), 403);
  assert.match(await page.locator('[role="alert"]:visible').textContent(), /not the password/);
  assert.equal(await page.inputValue('[name="password"]'), "", "what was typed is not sent back");
  await ready(page);
  await page.keyboard.type("correct horse");
  await Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")]);
  assert.equal(page.url(), `${server.base}/sessions?q=film`);
  const cookie = (await context.cookies()).find((c) => c.name === "realign_login");
  assert.ok(cookie.httpOnly && cookie.sameSite !== "None", JSON.stringify(cookie));

  // The socket lets it in as well.
  await page.goto(server.base);
  await run(page, "Who is there?", { max_tokens: 4 });
  await ended(page);
  const other = await context.newPage();
  await other.goto(`${server.base}/sessions`);
  assert.equal(await other.locator(".item").count(), 1);

  await page.click('button:text("Log out")');
  await until(() => login(page), "it leads to the login page");
  await page.waitForLoadState();
  assert.equal(await page.locator('button:text("Log out")').count(), 0);
  await other.reload();
  assert.ok(login(other));
  await page.goBack();
  assert.ok(login(page), `nothing comes back from the browser's memory: ${page.url()}`);
  assert.deepEqual(troubles, []);
  await context.close();
});

test("a link stays open to everybody, and a login leads nowhere else", async () => {
  const { page, context } = await freshPage(browser);
  await page.goto(`${server.base}/login?next=https%3A%2F%2Fevil.example`);
  await page.fill('[name="password"]', "correct horse");
  await Promise.all([page.waitForNavigation(), page.press('[name="password"]', "Enter")]);
  assert.equal(page.url(), `${server.base}/`);
  await run(page, "To be shared", { max_tokens: 4 });
  await ended(page);
  await page.click("[data-share] > summary");
  await page.click("[data-share-submit]");
  await page.locator("[data-share-url]").waitFor();
  const url = await page.inputValue("[data-share-url]");

  const guest = await freshPage(browser);
  assert.equal((await guest.page.goto(url)).status(), 200);
  assert.match(await guest.page.locator("main").textContent(), /To be shared/);
  await guest.page.click('a:text("Open in playground")');
  await until(() => login(guest.page), "decoding is for those who may");
  await guest.page.fill('[name="password"]', "correct horse");
  await Promise.all([guest.page.waitForNavigation(), guest.page.press('[name="password"]', "Enter")]);
  assert.equal(await guest.page.inputValue("[data-prompt]"), "To be shared", "and then it is what was asked for");
  await guest.context.close();
  await context.close();
});
