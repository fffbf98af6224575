// The real server on a free port with a data folder of its own, and the real browser.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before } from "node:test";
import { promisify } from "node:util";
import { chromium } from "playwright-core";

export const results = "test-results";
export const program = process.env.REALIGN_BIN ?? "bin/realign";

/** Starts bin/realign with a pair, demo unless told otherwise, and waits until it is ready. With a password people must log in. */
export async function startServer({ data, port, password, pair = "demo", args = [] } = {}) {
  const folder = data ?? (await mkdtemp(join(tmpdir(), "realign-e2e-")));
  const at = port ?? (await freePort());
  const base = `http://127.0.0.1:${at}`;
  const child = spawn(program, ["serve", "--addr", `127.0.0.1:${at}`, "--data", folder, "--pair", pair, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: password ? { ...process.env, REALIGN_AUTH: "password", REALIGN_PASSWORD: password } : process.env,
  });
  let log = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk) => {
      log = (log + chunk).slice(-20_000);
    });
  }
  let fast = () => {};
  const ended = new Promise((resolve) => child.once("exit", resolve));
  await until(async () => {
    assert.equal(child.exitCode, null, `the server has ended:\n${log}`);
    return (await fetch(`${base}/readyz`).catch(() => null))?.ok;
  }, "the server is ready", 60_000);
  return {
    base,
    data: folder,
    port: at,
    log: () => log,
    /** Process ids of its workers. */
    workers: () => children(child.pid),
    /** Makes its workers as slow as a large model would be, until the function it returns is called. */
    async slow() {
      const pids = await children(child.pid);
      const signal = (name) => {
        for (const pid of pids) {
          try {
            process.kill(pid, name);
          } catch {
            // It has ended.
          }
        }
      };
      let beat = 0;
      const timer = setInterval(() => signal(beat++ % 12 === 0 ? "SIGCONT" : "SIGSTOP"), 5);
      fast = () => {
        clearInterval(timer);
        signal("SIGCONT");
      };
      return fast;
    },
    async stop(signal = "SIGTERM", keep = false) {
      fast();
      child.kill(signal);
      await ended;
      if (!keep) await rm(folder, { recursive: true, force: true });
    },
  };
}

/** What bin/realign decode says at some λ, with the settings of a page: of a pair with several models each is a list. */
export async function decoded(prompt, seed, tokens, lambdas, pair = "demo") {
  const { stdout } = await promisify(execFile)(program, ["decode", "--pair", pair, "--json", "--seed", String(seed), "--max-tokens", String(tokens),
    "--temperature", "0.7", "--prompt", prompt, `--lambda=${lambdas.map((v) => [v].flat().join(":")).join(",")}`], { maxBuffer: 1 << 27 });
  const said = lambdas.map(() => "");
  for (const line of stdout.trim().split("\n")) {
    const event = JSON.parse(line);
    if (event.type === "token" || event.type === "end") said[event.lane] += event.text ?? "";
  }
  return said;
}

export async function startBrowser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? ["chromium", "chromium-browser", "google-chrome"].map((name) => `/usr/bin/${name}`).find(existsSync),
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
}

/** A page in a fresh profile. Errors of its scripts and breaches of the content policy end in `troubles`. */
export async function freshPage(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, locale: "en-GB", timezoneId: "UTC", ...options });
  context.setDefaultTimeout(20_000);
  const page = await context.newPage();
  const troubles = [];
  page.on("pageerror", (error) => troubles.push(error.stack ?? error.message));
  page.on("console", (message) => {
    // A refused answer or a lost connection is the server's to tell, and the page shows it.
    if (message.type() === "error" && !/Failed to load resource|WebSocket connection/.test(message.text())) troubles.push(message.text());
  });
  return { context, page, troubles };
}

/** Waits for something to come true. */
export async function until(holds, what, ms = 20_000) {
  const end = Date.now() + ms;
  for (;;) {
    const found = await holds();
    if (found) return found;
    if (Date.now() > end) assert.fail(`not within ${ms} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

export async function screenshot(page, name) {
  await mkdir(results, { recursive: true });
  await page.screenshot({ path: join(results, `${name}.png`), fullPage: true });
}

// The bench.

/** Shows the lanes instead of the slider. */
export async function sideBySide(page) {
  await page.locator('[data-views]:not([hidden])').waitFor();
  await page.locator("[data-view-lanes]").check({ force: true });
}

/** Opens the settings. */
export async function openSettings(page) {
  const setup = page.locator("[data-setup]");
  if (!(await setup.evaluate((box) => box.open))) await setup.locator("> summary").click();
}

/** Types a prompt, sets what is asked for, and runs lanes side by side. */
export async function run(page, prompt, settings = {}) {
  await sideBySide(page);
  await page.fill("[data-prompt]", prompt);
  await set(page, settings);
  await page.click("[data-run-button]");
}

export async function set(page, settings) {
  await openSettings(page);
  for (const [name, value] of Object.entries(settings)) {
    const input = page.locator(`[data-compose] [name="${name}"]`);
    if (name === "mode") await page.locator(`[data-mode] input[value="${value}"]`).check({ force: true });
    else {
      if (!(await input.isVisible())) await page.locator(".sampling > summary").click();
      if (typeof value === "boolean") await input.setChecked(value);
      else await input.fill(String(value));
    }
  }
}

/** Settings under which a lane of the small demo model runs for seconds. */
export const long = { mode: "plain", ignore_end: true, max_tokens: 1900, alternatives: 5 };

export const lanes = (page) => page.locator("[data-lanes] > [data-lane]");

export async function states(page) {
  return lanes(page).evaluateAll((all) => all.map((lane) => lane.dataset.state));
}

export async function texts(page) {
  return page.locator("[data-lanes] [data-text]").evaluateAll((all) =>
    all.map((text) => {
      const copy = text.cloneNode(true);
      for (const mark of copy.querySelectorAll(".turn")) mark.remove();
      return copy.textContent;
    }),
  );
}

export async function ended(page) {
  await until(async () => {
    const now = await states(page);
    return now.length > 0 && now.every((state) => !["running", "waiting", "draft"].includes(state));
  }, "every lane has ended", 60_000);
}

export async function running(page) {
  await until(async () => (await texts(page)).every((text) => text.length > 0), "every lane has text");
}

async function children(pid) {
  const found = [];
  for (const name of await readdir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const stat = await readFile(`/proc/${name}/stat`, "utf8").catch(() => "");
    if (Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]) === pid) found.push(Number(name));
  }
  return found;
}

/** A port of this machine that nobody listens at. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

// The server and the browser of a file of tests, once withServer was called.
export let server;
export let browser;

/** Gives a file of tests a server and a browser of its own. */
export function withServer(options = {}, prepare = async () => {}) {
  before(async () => {
    server = await startServer(options);
    browser = await startBrowser();
    await prepare(server);
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });
}
