// Takes the README's picture of the playground: npm run picture.

import { ended, freshPage, lanes, run, startBrowser, startServer } from "./server.mjs";

const server = await startServer();
const browser = await startBrowser();
const { page } = await freshPage(browser, { viewport: { width: 1280, height: 1300 }, deviceScaleFactor: 1.5 });
await page.goto(server.base);
await run(page, process.argv[2] ?? "What music do you like, and why?", { seed: process.argv[3] ?? "3", max_tokens: 60 });
await ended(page);
await page.locator('[data-view] input[value="ratio"]').check({ force: true });
await page.waitForTimeout(300);
const bottom = await lanes(page).first().evaluate((lane) => lane.getBoundingClientRect().bottom);
const chart = await page.locator("[data-chart]").evaluate((box) => box.getBoundingClientRect().bottom);
await page.screenshot({ path: "docs/playground.png", clip: { x: 0, y: 0, width: 1280, height: Math.ceil(Math.max(bottom, chart)) + 16 } });
await browser.close();
await server.stop();
