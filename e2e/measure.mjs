// Measures what the slider promises, on the demo pair and, where it is installed, on smollm2: node e2e/measure.mjs [PAIR].
// The text is at the thumb within so many ms of a move while the map grows; the first word after Run; frames while eight lanes
// stream; the page's first interaction; a run of 8 × 1,000 tokens opened.

import { ended, freshPage, openSettings, run, set, sideBySide, startBrowser, startServer } from "./server.mjs";

const pair = process.argv[2] ?? "demo";
const server = await startServer();
const browser = await startBrowser();
const quantile = (list, p) => list.toSorted((a, b) => a - b)[Math.min(list.length - 1, Math.floor(p * list.length))];
const say = (what, value) => console.log(`${what}: ${value}`);

// First load.
{
  const { page, context } = await freshPage(browser);
  await page.goto(server.base);
  await page.locator("[data-map-slider]:not([hidden])").waitFor();
  const [bytes, interactive] = await page.evaluate(() => [
    [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")].reduce((sum, e) => sum + e.transferSize, 0),
    performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd,
  ]);
  say("first load, bytes", bytes);
  say("interactive, ms", interactive.toFixed(0));
  await context.close();
}

// The text at the thumb: each move is timed until the text of the λ stands there, or its first words where it is not known whole.
// Once the map is whole, what stood there is compared with it.
{
  const { page, context } = await freshPage(browser);
  await page.goto(server.base);
  await page.locator('.connection[data-state="open"]').waitFor();
  await openSettings(page);
  await page.selectOption("[data-pair]", pair);
  await page.fill("[data-prompt]", "Tell me about the best holiday you ever had, and what you did there.");
  await set(page, { seed: 2, max_tokens: 60 });
  const { first, times, shown } = await page.evaluate(async () => {
    const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
    const text = () => document.querySelector("[data-map-text]").textContent;
    const slider = document.querySelector("[data-map-slider]");
    window.moves = async (done) => {
      const times = [];
      for (let i = 0; i < 100; i++) {
        slider.value = String(2 * ((i * 0.618034) % 1));
        const moved = performance.now();
        slider.dispatchEvent(new Event("input", { bubbles: true }));
        do await frame(); while (text() === "");
        times.push(performance.now() - moved);
        done();
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      return times;
    };
    const start = performance.now();
    document.querySelector("[data-run-button]").click();
    while (document.querySelector("[data-example-label]") !== null) await frame();
    while (text() === "") await frame();
    const first = performance.now() - start;
    const shown = [];
    const times = await window.moves(() => shown.push([Number(document.querySelector("[data-map-number]").value), text()]));
    return { first, times, shown };
  });
  await page.locator('[data-map-place] [data-map-state]:not([data-map-state="growing"])').waitFor({ timeout: 600_000 });
  const whole = await page.evaluate(() => window.moves(() => {}));
  const others = await page.evaluate((shown) => {
    const number = document.querySelector("[data-map-number]");
    return shown.filter(([lambda, said]) => {
      number.value = String(lambda);
      number.dispatchEvent(new Event("input", { bubbles: true }));
      return !document.querySelector("[data-map-text]").textContent.startsWith(said.replace(/… .*$/, ""));
    }).length;
  }, shown);
  say(`${pair}: first word after Run, ms`, first.toFixed(0));
  say(`${pair}: text follows a move, ms, median and p95`, `${quantile(times, 0.5).toFixed(0)} ${quantile(times, 0.95).toFixed(0)}`);
  say(`${pair}: the same where the map is whole`, `${quantile(whole, 0.5).toFixed(0)} ${quantile(whole, 0.95).toFixed(0)}`);
  say(`${pair}: moves after which another text stood there, of 100`, others);
  await context.close();
}

// Frames while eight lanes stream, and the run opened again.
{
  const { page, context } = await freshPage(browser);
  await page.goto(server.base);
  await page.locator('.connection[data-state="open"]').waitFor();
  await sideBySide(page);
  for (let i = 0; i < 3; i++) await page.click("[data-lane-add]");
  const atFullSpeed = await server.slow();
  await run(page, "The film began", { seed: 7, mode: "plain", ignore_end: true, max_tokens: 1000 });
  const frames = await page.evaluate(async () => {
    const times = [];
    let last = performance.now();
    for (let i = 0; i < 200; i++) {
      await new Promise((resolve) => requestAnimationFrame(resolve));
      times.push(performance.now() - last);
      last = performance.now();
    }
    return times;
  });
  atFullSpeed();
  say("frames while 8 lanes stream, ms, median and p95", `${quantile(frames, 0.5).toFixed(1)} ${quantile(frames, 0.95).toFixed(1)}`);
  await ended(page);
  await importLonger(page, 1000);
  const opened = [];
  let tokens = 0;
  for (let i = 0; i < 5; i++) {
    const began = Date.now();
    await page.reload({ waitUntil: "commit" });
    await page.locator("[data-lanes] .t").first().waitFor();
    opened.push(Date.now() - began);
    tokens = await page.locator("[data-lanes] .t").count();
    await page.locator('.connection[data-state="open"]').waitFor();
  }
  say(`a run of 8 lanes, ${tokens} tokens in all, opened, ms, median and slowest`, `${quantile(opened, 0.5)} ${Math.max(...opened)}`);
  await context.close();
}

/**
 * The demo's context ends before 1,000 tokens: the session of a page is exported, its lanes say what they say once more until they
 * are as long, and what came of it is imported and opened.
 */
async function importLonger(page, length) {
  const session = page.url().match(/\/s\/([^?]+)/)[1];
  const file = await (await page.request.get(`${server.base}/sessions/${session}/export`)).json();
  for (const run of file.runs) {
    delete run.seal;
    const said = new Map();
    for (const event of run.events) if (event.type === "token") said.set(event.lane ?? 0, [...(said.get(event.lane ?? 0) ?? []), event]);
    run.spec.sampling.max_tokens = length;
    run.events = run.events.flatMap((event) => {
      if (event.type === "token") return [];
      if (event.type !== "end") return [event];
      const tokens = said.get(event.lane ?? 0) ?? [];
      const whole = Array.from({ length }, (_, index) => ({ ...tokens[index % tokens.length], index }));
      return [...whole, { ...event, index: length }];
    });
  }
  await page.goto(`${server.base}/sessions`);
  await page.click('summary:text("Import")');
  await page.setInputFiles('input[type="file"]', { name: "longer.json", mimeType: "application/json", buffer: Buffer.from(JSON.stringify(file)) });
  await page.click('form[action="/sessions/import"] button');
  await page.waitForURL((url) => !url.pathname.endsWith("/import"));
  if (!page.url().includes("/s/")) {
    await page.goto(`${server.base}/sessions`);
    await page.locator(".item-title").first().click();
  }
  await page.locator("[data-lanes] .t").first().waitFor();
}

await browser.close();
await server.stop();
