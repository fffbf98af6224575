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

// The text at the thumb: each move is timed until the text of the λ stands there, or its first word where none was known.
{
  const { page, context } = await freshPage(browser);
  await page.goto(server.base);
  await page.locator('.connection[data-state="open"]').waitFor();
  await openSettings(page);
  await page.selectOption("[data-pair]", pair);
  await page.fill("[data-prompt]", "Tell me about the best holiday you ever had, and what you did there.");
  await set(page, { seed: 2, max_tokens: 60 });
  const { first, times } = await page.evaluate(async () => {
    const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
    const text = () => document.querySelector("[data-map-text]").textContent;
    const start = performance.now();
    document.querySelector("[data-run-button]").click();
    while (document.querySelector("[data-runs] .run") === null) await frame();
    while (text() === "") await frame();
    const first = performance.now() - start;
    const times = [];
    const slider = document.querySelector("[data-map-slider]");
    for (let i = 0; i < 100; i++) {
      slider.value = String(2 * ((i * 0.618034) % 1));
      const moved = performance.now();
      slider.dispatchEvent(new Event("input", { bubbles: true }));
      do await frame(); while (text() === "");
      times.push(performance.now() - moved);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return { first, times };
  });
  say(`${pair}: first word after Run, ms`, first.toFixed(0));
  say(`${pair}: text follows a move, ms, median and p95`, `${quantile(times, 0.5).toFixed(0)} ${quantile(times, 0.95).toFixed(0)}`);
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
  const began = Date.now();
  await page.reload();
  await page.locator("[data-lanes] .t").first().waitFor();
  say("a run of 8 × 1,000 tokens opened, ms", Date.now() - began);
  await context.close();
}

await browser.close();
await server.stop();
