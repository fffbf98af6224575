import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { openPage } from "../dom/page";
import { LiveResults } from "./results";

type Answer = { status: number; text?: string; tag?: string };

let asked: { url: string; match: string | undefined }[] = [];
let answers: Answer[] = [];
let live: LiveResults;

beforeEach(() => {
  asked = [];
  answers = [];
  openPage("results-live");
  globalThis.DOMParser = (window as unknown as { DOMParser: typeof DOMParser }).DOMParser;
  globalThis.fetch = (async (url: string, init: RequestInit) => {
    asked.push({ url, match: (init.headers as Record<string, string>)["If-None-Match"] });
    const next = answers.shift() ?? { status: 304 };
    return { status: next.status, text: async () => next.text ?? "", headers: { get: () => next.tag ?? null } };
  }) as unknown as typeof fetch;
  live = new LiveResults(document.querySelector<HTMLElement>("[data-results]")!);
});

afterEach(() => live.stop());

const say = () => document.querySelector("[data-results-say]")!.textContent;

test("new results take the place of old ones, and are asked for by their version", async () => {
  answers = [{ status: 200, tag: '"9-0-1"', text: '<section><h2 id="finding-title">λ = 1.20 is preferred most</h2></section>' }, { status: 304 }];
  const first = document.querySelector("[data-results]")!.getAttribute("data-version");
  await live.look();
  assert.equal(document.querySelector("#finding-title")!.textContent, "λ = 1.20 is preferred most");
  assert.equal(say(), "λ = 1.20 is preferred most");
  assert.equal(document.querySelectorAll("[data-strengths]").length, 0, "nothing of the old results is left");
  await live.look();
  assert.deepEqual(asked, [
    { url: "/studies/st1/results/live", match: `"${first}"` },
    { url: "/studies/st1/results/live", match: '"9-0-1"' },
  ]);
});

test("a finding that stays is not told again, and the reader stays where they were", async () => {
  const box = document.querySelector<HTMLElement>("[data-results]")!;
  const region = box.querySelector<HTMLElement>('.scroll[aria-label="Agreement, table"]')!;
  region.focus();
  region.scrollLeft = 40;
  answers = [{ status: 200, tag: '"2"', text: box.innerHTML }];
  await live.look();
  const now = box.querySelector<HTMLElement>('.scroll[aria-label="Agreement, table"]')!;
  assert.notEqual(now, region);
  assert.equal(document.activeElement, now);
  assert.equal(now.scrollLeft, 40);
  assert.equal(say(), "");
});

test("a server that fails leaves the page as it is", async () => {
  const before = document.querySelector("[data-results]")!.innerHTML;
  answers = [{ status: 503, text: "<h2>Busy</h2>" }];
  await live.look();
  assert.equal(document.querySelector("[data-results]")!.innerHTML, before);
});
