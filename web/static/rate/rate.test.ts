import assert from "node:assert/strict";
import { test } from "node:test";
import { Window } from "happy-dom";
import { pause, pick, question, Rating, worthAnother } from "./rate";

test("answers are sent again after pauses that grow up to eight seconds", () => {
  const pauses = [0, 1, 2, 3, 4, 5, 50].map(pause);
  assert.deepEqual(pauses, [500, 1000, 2000, 4000, 8000, 8000, 8000]);
});

test("only what the server may take later is sent again", () => {
  for (const status of [429, 500, 502, 503]) assert.ok(worthAnother(status), String(status));
  for (const status of [400, 403, 404, 409, 413]) assert.ok(!worthAnother(status), String(status));
});

test("the first pick is the best, the second the worst, and nothing is picked twice", () => {
  assert.deepEqual(pick([], 2), [2]);
  assert.deepEqual(pick([2], 2), [2]);
  assert.deepEqual(pick([2], 0), [2, 0]);
  assert.deepEqual(pick([2, 0], 1), [2, 0]);
});

/** A page with a question, and a server that answers as it is told to. */
function page(answers: (Response | null)[]): { rating: Rating; form: HTMLFormElement; said: () => string; shown: () => string; sent: string[] } {
  const window = new Window({ url: "http://localhost/rate/x" });
  for (const name of ["document", "window", "HTMLElement", "HTMLFormElement", "HTMLButtonElement", "FormData", "DocumentFragment"])
    Object.defineProperty(globalThis, name, { value: name === "window" ? window : (window as unknown as Record<string, unknown>)[name], configurable: true });
  window.scrollTo = () => undefined;
  document.body.innerHTML = `<main data-rate="/rate/x"><p data-rate-status></p><div data-rate-body><h1 data-rate-heading tabindex="-1">1</h1>
    <form action="/rate/x/answer"><input name="question" value="q1"><input name="choice" value="first"></form></div></main>`;
  const root = document.querySelector<HTMLElement>("main")!;
  const sent: string[] = [];
  const rating = new Rating(
    root,
    (_url, init) => {
      sent.push(String(init?.body));
      const next = answers.shift();
      return next ? Promise.resolve(next) : Promise.reject(new Error("no connection"));
    },
    () => Promise.resolve(),
  );
  return {
    rating, sent, form: root.querySelector("form")!,
    said: () => root.querySelector("[data-rate-status]")!.textContent ?? "",
    shown: () => root.querySelector("[data-rate-body]")!.textContent ?? "",
  };
}

const next = '<h1 data-rate-heading tabindex="-1">Question 2</h1>';
const signIn = '<!doctype html><html><body><form action="https://sso.example"><h1>Sign in</h1></form></body></html>';

test("a proxy's login page is not taken for a saved answer: the answer is kept, and sent until the server has it", async () => {
  const told: string[] = [];
  const p = page([new Response(signIn, { status: 200 }), null, new Response(signIn, { status: 200 }), new Response(next, { status: 200 })]);
  const wait = p.rating as unknown as { wait: () => Promise<void> };
  wait.wait = () => {
    told.push(p.said());
    assert.ok(!p.shown().includes("Sign in"), "what a proxy sent is not shown");
    return Promise.resolve();
  };
  await p.rating.submit(p.form, null);
  assert.equal(p.sent.length, 4);
  assert.equal(new Set(p.sent).size, 1, "the same answer each time");
  assert.match(p.sent[0] ?? "", /question=q1&choice=first/);
  assert.match(told[0] ?? "", /^Not saved: sign in again/);
  assert.match(told[1] ?? "", /cannot be reached/);
  assert.match(told[2] ?? "", /^Not saved: sign in again/);
  assert.equal(p.said(), "");
  assert.match(p.shown(), /Question 2/);
});

test("a question is known by its heading", () => {
  page([]);
  assert.equal(question(signIn), null);
  assert.equal(question(""), null);
  assert.ok(question(next));
});
