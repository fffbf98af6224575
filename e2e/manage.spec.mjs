// The page of pairs: a model is fetched from a hub that stalls, goes on after it was stopped, becomes a pair, is run and removed.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { check as accessible } from "./accessible.mjs";
import { browser, ended, freshPage, openSettings, run, server, texts, until, withServer } from "./server.mjs";

const manifest = JSON.parse(await readFile("models/demo/pair.json", "utf8"));
const adapter = manifest.aligned[0].adapter;
const files = {};
for (const name of [manifest.reference.file, adapter]) files[name.split("/").pop()] = await readFile(join("models/demo", name));
const [reference, lora] = Object.keys(files);

// A hub of this machine: its first answer for a file stops after some bytes and says no more, and the next ones are cut short.
const asked = [];
let stalls = 1;
let cuts = 2;
const hub = createServer((request, response) => {
  const path = new URL(request.url, "http://hub").pathname;
  if (path === "/api/models/org/tiny/revision/main") {
    const siblings = Object.entries(files).map(([rfilename, bytes]) => ({
      rfilename, size: bytes.length, blobId: "", lfs: { sha256: createHash("sha256").update(bytes).digest("hex"), size: bytes.length },
    }));
    response.end(JSON.stringify({ sha: "0123456789abcdef0123456789abcdef01234567", siblings }));
    return;
  }
  const bytes = files[path.split("/").pop()];
  if (!path.startsWith("/org/tiny/resolve/") || !bytes) {
    response.writeHead(404).end();
    return;
  }
  const [, from = "0", to = ""] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "") ?? [];
  const part = bytes.subarray(Number(from), to === "" ? bytes.length : Number(to) + 1);
  asked.push({ path, from: Number(from) });
  response.writeHead(request.headers.range ? 206 : 200, {
    "Content-Length": part.length, "Accept-Ranges": "bytes", "Content-Range": `bytes ${from}-${Number(from) + part.length - 1}/${bytes.length}`,
  });
  if (stalls > 0) {
    stalls--;
    response.write(part.subarray(0, 1 << 20));
  } else if (cuts > 0) {
    cuts--;
    response.write(part.subarray(0, 1 << 19), () => response.destroy());
  } else response.end(part);
});

let folder = "";
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "realign-hub-"));
  await new Promise((resolve) => hub.listen(0, "127.0.0.1", resolve));
  Object.assign(process.env, {
    HF_ENDPOINT: `http://127.0.0.1:${hub.address().port}`, HF_HUB_CACHE: join(folder, "hub"), OLLAMA_MODELS: join(folder, "ollama"), LLAMA_CACHE: join(folder, "llama"), HOME: folder,
  });
});
after(async () => {
  hub.closeAllConnections();
  hub.close();
  await rm(folder, { recursive: true, force: true });
});
withServer();

test("find, fetch with a break, add, run, remove", { timeout: 240_000 }, async () => {
  const { page, context, troubles } = await freshPage(browser);
  await page.goto(`${server.base}/pairs`);
  const fetchModel = async (name) => {
    await page.fill('[data-pulls] input[name="model"]', name);
    await page.click('[data-pulls] form.row button');
  };
  const state = (name) => page.locator(`[data-pull="${name}"]`).getAttribute("data-pull-state");

  const first = `hf:org/tiny:${reference}`;
  await fetchModel(first);
  await until(async () => /^\d\.\d of 5\.\d/.test((await page.locator("[data-pull-words]").first().textContent()) ?? ""), "a part has come");
  await page.locator(`[data-pull="${first}"] button`).click();
  await until(async () => {
    await page.goto(`${server.base}/pairs`);
    return (await state(first)) === "stopped";
  }, "the fetch is stopped");
  asked.length = 0;
  await page.locator(`[data-pull="${first}"] button`, { hasText: "Go on" }).click();
  await until(async () => (await state(first)) === "done", "the model is there", 90_000);
  assert.ok(asked.length >= 3 && asked[1].from > 0 && asked[2].from > asked[1].from, `it goes on where it was cut off: ${JSON.stringify(asked)}`);
  await fetchModel(`hf:org/tiny:${lora}`);
  await until(async () => (await state(`hf:org/tiny:${lora}`)) === "done", "the adapter is there", 60_000);

  await page.click("text=Add a pair");
  await page.fill("#name", "fetched");
  await page.fill("#beta", "0.1");
  await page.selectOption("#reference", first);
  await page.selectOption("#aligned", `hf:org/tiny:${lora}`);
  assert.ok(await page.locator("text=Add the pair").isDisabled(), "nothing is added before it was looked at");
  await page.click("text=Look how they fit");
  await until(async () => /rank \d+/.test((await page.locator("#findings-title + *").textContent()) ?? ""), "it is told how they fit");
  await page.click("text=Add the pair");
  await page.waitForURL(`${server.base}/pairs/fetched`);

  const loaded = (await server.workers()).length;
  await page.goto(server.base);
  await openSettings(page);
  await page.selectOption("[data-pair]", "fetched");
  await run(page, "What did you think of the film?", { max_tokens: "8" });
  await ended(page);
  assert.ok((await texts(page)).every((text) => text.trim() !== ""));
  assert.equal((await server.workers()).length, loaded + 1, "its models are loaded");

  await openSettings(page);
  await page.locator("[data-rendered] > summary").click();
  await page.fill("[data-prompt]", "What did you think of the film?");
  await until(async () => ((await page.locator("[data-rendered-place]").textContent()) ?? "").includes("film"), "the rendered prompt is shown");

  await page.goto(`${server.base}/pairs/fetched`);
  await page.locator("summary", { hasText: "Remove" }).click();
  await page.click("text=Remove the pair");
  await page.waitForURL(`${server.base}/pairs`);
  await until(async () => (await server.workers()).length === loaded, "its worker has ended");
  assert.equal(await page.locator('a[href="/pairs/fetched"]').count(), 0);
  assert.deepEqual(troubles, []);
  await context.close();
});

test("one model with two prompts: both are shown, and the longer one can be changed", { timeout: 120_000 }, async () => {
  const at = join(server.data, "pairs", "brief");
  await mkdir(at, { recursive: true });
  await writeFile(join(at, "pair.json"), JSON.stringify({
    name: "brief", reference: { file: resolve("models/demo", manifest.reference.file) }, contrast: { system: "You answer in one word." },
  }));
  const { page, context, troubles } = await freshPage(browser);
  await page.goto(server.base);
  assert.ok(await page.locator("[data-contrast-box]").isHidden(), "the demo pair has one prompt");
  await openSettings(page);
  await page.selectOption("[data-pair]", "brief");
  assert.equal(await page.inputValue("[data-contrast]"), "You answer in one word.");
  await page.fill("[data-contrast]", "You answer in rhymes.");
  await page.fill("[data-prompt]", "Did you like the film?");
  await page.locator("[data-rendered] > summary").click();
  await until(async () => (await page.locator("[data-rendered-place] .rendered-text").count()) === 2, "both prompts are shown");
  const prompts = await page.locator("[data-rendered-place] .rendered-text").allTextContents();
  assert.ok(!prompts[0].includes("rhymes") && prompts[1].includes("rhymes"), prompts.join("\n---\n"));
  await run(page, "Did you like the film?", { max_tokens: "8" });
  await ended(page);
  assert.ok((await texts(page)).every((text) => text.trim() !== ""));
  await page.reload();
  assert.equal(await page.inputValue("[data-contrast]"), "You answer in rhymes.", "a run keeps its prompt");
  await page.locator("[data-view-slider]").check({ force: true });
  await page.click("[data-run-button]");
  await page.locator("[data-map-place] section").first().waitFor();
  await context.close();
  assert.deepEqual(troubles, []);
});

test("nobody is kept out: axe finds nothing on the pages of pairs", { timeout: 60_000 }, async () => {
  const { page, context } = await freshPage(browser);
  for (const path of ["/pairs", "/pairs/add", "/pairs/demo"]) {
    await page.goto(server.base + path);
    await accessible(page, path);
  }
  await context.close();
});
