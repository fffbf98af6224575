// Another pair in the playground: its models, and the sampling that it recommends.

import assert from "node:assert/strict";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { browser, ended, freshPage, run, server, openSettings, set, withServer } from "./server.mjs";

withServer();

test("fields that nobody touched follow the pair that is chosen", async () => {
  const pair = JSON.parse(await readFile("models/demo/pair.json", "utf8"));
  const recommended = pair.sampling;
  pair.name = "cool";
  pair.title = "A cooler pair";
  pair.sampling = { temperature: 0.25, max_tokens: 6, stop: ["zzz"] };
  pair.reference.file = resolve("models/demo", pair.reference.file);
  pair.aligned = pair.aligned.slice(0, 2);
  for (const model of pair.aligned) model.adapter = resolve("models/demo", model.adapter);
  const folder = join(server.data, "pairs", pair.name);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "pair.json"), JSON.stringify(pair));

  const { page, context, troubles } = await freshPage(browser);
  await page.goto(server.base);
  const value = (name) => page.inputValue(`[data-compose] [data-sampling="${name}"]`);
  const stop = () => page.inputValue("[data-stop-texts]");
  assert.equal(Number(await value("temperature")), recommended.temperature);
  assert.equal(Number(await value("min_p")), recommended.min_p);
  await set(page, { top_p: "0.9" });
  await openSettings(page);
  await page.selectOption("[data-pair]", pair.name);
  assert.equal(await value("temperature"), "0.25");
  assert.equal(await value("max_tokens"), "6");
  assert.equal(await value("min_p"), "0");
  assert.equal(await stop(), "zzz");
  assert.equal(await value("top_p"), "0.9", "what was set by hand stays");
  assert.equal(await page.locator("[data-aligned] input").count(), 2);
  await run(page, "What did you think of the film?");
  await ended(page);
  for (const count of await page.locator("[data-lanes] [data-count]").allTextContents()) assert.ok(Number(count) <= 6);

  await page.goto(server.base);
  await openSettings(page);
  await page.selectOption("[data-pair]", pair.name);
  await page.selectOption("[data-pair]", "demo");
  assert.equal(Number(await value("temperature")), recommended.temperature);
  assert.equal(Number(await value("min_p")), recommended.min_p);
  assert.equal(await stop(), "");
  assert.deepEqual(troubles, []);
  await context.close();
});
