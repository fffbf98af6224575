import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { one } from "../dom/dom";
import { openPage } from "../dom/page";
import { sweep } from "./sweep";

let asked: string[] = [];
let answer: () => { ok: boolean; text?: string };
let page: HTMLElement;

beforeEach(() => {
  asked = [];
  const document = openPage("sweep");
  globalThis.DOMParser = (window as unknown as { DOMParser: typeof DOMParser }).DOMParser;
  globalThis.fetch = (async (url: string) => {
    asked.push(url);
    const { ok, text } = answer();
    return { ok, text: async () => text ?? "" };
  }) as unknown as typeof fetch;
  mock.timers.enable({ apis: ["setTimeout"] });
  page = one(document.body, "[data-sweep-page]");
  sweep(page);
});

afterEach(() => mock.timers.reset());

const section = () => one<HTMLElement>(page, "[data-sweep-live]");
const said = () => one(page, ".sweep-progress .num").textContent;

/** The section as the server draws it next. */
const drawn = (words: string, state = "running") => ({
  ok: true,
  text: section().outerHTML.replace("The grid", words).replace('data-sweep-state="running"', `data-sweep-state="${state}"`).replaceAll(' open=""', "").replace('class="sweep-numbers"', 'class="sweep-numbers" open'),
});

/** Lets two seconds pass, and what was asked be answered. */
async function later(): Promise<void> {
  mock.timers.tick(2000);
  for (let i = 0; i < 10; i++) await new Promise((done) => setImmediate(done));
}

test("a sweep that runs is drawn anew until it has ended", async () => {
  answer = () => drawn("Round 1");
  const first = section();
  await later();
  assert.deepEqual(asked, ["/sweeps/w/live"]);
  assert.equal(said(), "Round 1");
  assert.equal(first.isConnected, false);
  assert.equal(page.querySelectorAll("[data-sweep-live]").length, 1);
  answer = () => drawn("Round 1", "done");
  await later();
  assert.equal(section().dataset.sweepState, "done");
  assert.equal(asked.length, 2);
  await later();
  await later();
  assert.equal(asked.length, 2, "nobody asks about a sweep that has ended");
});

test("a sweep that is judged again is drawn anew, too", async () => {
  answer = () => drawn("Being judged", "judging");
  await later();
  assert.equal(section().dataset.sweepState, "judging");
  assert.equal(said(), "Being judged");
  const ended = section().outerHTML.replace('data-sweep-state="judging"', 'data-sweep-state="done"');
  answer = () => ({ ok: true, text: ended });
  await later();
  assert.deepEqual([asked.length, section().dataset.sweepState], [2, "done"]);
});

test("details stay as they were left", async () => {
  one<HTMLDetailsElement>(page, ".sweep-numbers").open = false;
  answer = () => drawn("Round 1");
  await later();
  assert.equal(said(), "Round 1");
  assert.equal(one<HTMLDetailsElement>(page, ".sweep-numbers").open, false);
});

test("nothing is taken away under somebody's hands", async () => {
  answer = () => drawn("Round 1");
  one<HTMLElement>(section(), "a.button").focus();
  await later();
  assert.deepEqual([asked.length, said()], [0, "The grid"], "while a control has the focus");
  (document.activeElement as HTMLElement).blur();
  one<HTMLDetailsElement>(section(), "details.menu").open = true;
  await later();
  assert.deepEqual([asked.length, said()], [0, "The grid"], "while a menu is open");
  one<HTMLDetailsElement>(section(), "details.menu").open = false;
  await later();
  assert.equal(said(), "Round 1");
});

test("somebody who comes to a control while the answer is on its way keeps it", async () => {
  answer = () => {
    const next = drawn("Round 1");
    one<HTMLElement>(section(), "a.button").focus();
    return next;
  };
  const link = one<HTMLElement>(section(), "a.button");
  await later();
  assert.equal(asked.length, 1);
  assert.equal(link.isConnected, true);
  assert.equal(document.activeElement, link);
});

test("a page that nobody sees asks nothing", async () => {
  answer = () => drawn("Round 1");
  Object.defineProperty(document, "hidden", { value: true, configurable: true });
  await later();
  assert.equal(asked.length, 0);
  Object.defineProperty(document, "hidden", { value: false, configurable: true });
  await later();
  assert.equal(said(), "Round 1");
});

test("a server that fails, or is not there, or says something else, is asked again", async () => {
  for (const bad of [() => ({ ok: false }), () => { throw new TypeError("fetch failed"); }, () => ({ ok: true, text: "<h1>Sign in</h1>" })]) {
    answer = bad;
    await later();
    assert.equal(said(), "The grid");
  }
  answer = () => drawn("Round 1");
  await later();
  assert.equal(asked.length, 4);
  assert.equal(said(), "Round 1");
});
