// What a page does when something under it dies.

import assert from "node:assert/strict";
import { test } from "node:test";
import { browser, ended, freshPage, long, run, running, server, startServer, states, texts, until, withServer } from "./server.mjs";

withServer();

test("a killed worker is told, what it had said stays, and the run can be run again", async () => {
  const { page, context, troubles } = await freshPage(browser);
  await page.goto(server.base);
  const atFullSpeed = await server.slow();
  await run(page, "The film began", { ...long, seed: 7 });
  await running(page);
  for (const pid of await server.workers()) process.kill(pid, "SIGKILL");
  atFullSpeed();
  const alert = page.locator("[data-alert]");
  await alert.locator("[data-alert-again]").waitFor();
  assert.match(await alert.textContent(), /broken off/);
  await ended(page); // lanes are drawn a few a frame, the alert before them
  assert.deepEqual(await states(page), Array(5).fill("error"));
  const left = await texts(page);
  assert.ok(left.every((text) => text.length > 0));
  await page.locator('[data-pair-state][data-state="ready"]').waitFor({ state: "attached" });

  await page.reload();
  assert.deepEqual(await texts(page), left, "nothing that was shown is lost");
  await alert.locator("[data-alert-again]").waitFor();
  await alert.locator("[data-alert-again]").click();
  await until(async () => (await page.locator("[data-runs] .run").count()) === 2, "there is a second run");
  await ended(page);
  assert.ok((await states(page)).every((state) => state === "length" || state === "stop"), String(await states(page)));
  const again = await texts(page);
  for (const [i, text] of left.entries()) assert.ok(again[i].startsWith(text), `lane ${i} says the same again`);
  assert.deepEqual(troubles, []);
  await context.close();
});

test("a connection that breaks comes back by itself, without a gap", async () => {
  const { page, context, troubles } = await freshPage(browser);
  const sockets = [];
  await page.routeWebSocket(/\/ws$/, (socket) => {
    socket.connectToServer();
    sockets.push(socket);
  });
  await page.goto(server.base);
  const atFullSpeed = await server.slow();
  await run(page, "It was late", { ...long, seed: 9 });
  await running(page);
  await sockets[0].close({ code: 1001 });
  await page.locator('.connection[data-state="waiting"]').waitFor();
  await until(() => sockets.length > 1, "it connects again");
  atFullSpeed();
  await ended(page);
  const shown = await texts(page);
  await page.reload();
  assert.deepEqual(shown, await texts(page), "what was shown is what was kept");
  assert.deepEqual(troubles, []);
  await context.close();
});

test("a run that cannot be saved any more has broken off, and says why", async () => {
  const { page, context, troubles } = await freshPage(browser);
  // A disk that is full: the server tells of it in the place of events, and has no more of them for now.
  let full = false;
  let release = () => {};
  await page.routeWebSocket(/\/ws$/, (socket) => {
    const toServer = socket.connectToServer();
    const held = [];
    toServer.onMessage((text) => {
      const frame = JSON.parse(text);
      if (frame.type !== "events" || !full) socket.send(text);
      else {
        if (held.length === 0) socket.send(JSON.stringify({ type: "error", run: frame.run, code: "unavailable", message: "cannot save: the disk is full" }));
        held.push(text);
      }
    });
    release = () => {
      full = false;
      for (const text of held.splice(0)) socket.send(text);
    };
  });
  await page.goto(server.base);
  const atFullSpeed = await server.slow();
  await run(page, "It was late", { ...long, seed: 9 });
  await running(page);
  full = true;
  await until(async () => (await states(page)).every((state) => state === "error"), "no lane seems to run");
  assert.match(await page.locator("[data-alert]").textContent(), /broken off: Cannot save: the disk is full/);
  assert.ok(await page.locator("[data-alert-again]").isVisible());
  assert.ok(!(await page.locator("[data-stop-all]").isVisible()), "there is nothing to stop");
  const left = await texts(page);

  // There is room again, and it went on: nothing is missing.
  release();
  await until(async () => (await states(page)).every((state) => state === "running"), "what goes on is shown to go on");
  assert.ok(!(await page.locator("[data-alert]").isVisible()));
  await page.click("[data-stop-all]");
  atFullSpeed();
  await ended(page);
  const whole = await texts(page);
  for (const [i, text] of left.entries()) assert.ok(whole[i].startsWith(text));
  await page.reload();
  assert.deepEqual(await texts(page), whole);
  assert.deepEqual(troubles, []);
  await context.close();
});

test("a killed server: the page says so, and after a restart what it had shown is there", async () => {
  let own = await startServer();
  const { page, context, troubles } = await freshPage(browser);
  await page.goto(own.base);
  const atFullSpeed = await own.slow();
  await run(page, "At first", { ...long, seed: 5 });
  await running(page);
  atFullSpeed();
  await own.stop("SIGKILL", true);
  await page.locator('.connection[data-state="waiting"]').waitFor();
  await page.waitForTimeout(200);
  const left = await texts(page);
  own = await startServer({ data: own.data, port: own.port });
  await page.locator("[data-alert-again]").waitFor();
  await ended(page);
  const now = await texts(page);
  for (const [i, text] of left.entries()) assert.ok(now[i].startsWith(text), `lane ${i} has kept its text`);
  await page.reload();
  assert.deepEqual(await texts(page), now);
  assert.deepEqual(troubles, []);
  await context.close();
  await own.stop();
});
