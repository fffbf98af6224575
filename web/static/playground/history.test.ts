import assert from "node:assert/strict";
import { test } from "node:test";
import { all, one } from "../dom/dom";
import { openPage } from "../dom/page";
import { History, shorten } from "./history";

const key = (name: string) => new (window as unknown as { KeyboardEvent: typeof KeyboardEvent }).KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true });

function open() {
  const page = openPage("session");
  const main = one(page, "[data-playground]");
  const asked: string[] = [];
  globalThis.fetch = (async (url: string) => {
    asked.push(String(url));
    return { ok: false, json: async () => ({ message: "not now" }) };
  }) as unknown as typeof fetch;
  new History(main, () => {});
  return { page, main, asked };
}

test("a name is typed in place of a title; Esc leaves it, Enter sends it", async () => {
  const { main, asked } = open();
  const item = all(main, "[data-runs] .run")[0] as HTMLElement;
  const button = one(item, "[data-item-rename]");
  assert.ok(!button.hidden);
  const before = one(item, "[data-item-title]").textContent;
  button.click();
  const field = one<HTMLInputElement>(item, "[data-item-name]");
  assert.equal(field.value, before);
  field.value = "Other";
  field.dispatchEvent(key("Escape"));
  assert.equal(one(item, "[data-item-title]").textContent, before);
  assert.equal(asked.length, 0);
  button.click();
  const again = one<HTMLInputElement>(item, "[data-item-name]");
  again.value = "Other";
  again.dispatchEvent(key("Enter"));
  assert.equal(one(item, "[data-item-title]").textContent, "Other");
  for (let i = 0; asked.length === 0 && i < 500; i++) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.match(asked[0] ?? "", /\/runs\/run1\/rename$/);
});

test("how many are chosen stands on the button that deletes them", () => {
  const { main } = open();
  const many = one(main, "[data-history-many]");
  assert.ok(many.hidden);
  const box = one<HTMLInputElement>(main, '[data-runs] input[type="checkbox"]');
  box.checked = true;
  box.dispatchEvent(new (window as unknown as { Event: typeof Event }).Event("change", { bubbles: true }));
  assert.ok(!many.hidden);
  assert.equal(one(many, "button").textContent, "Delete 1 chosen");
});

test("a text is shortened to one line", () => {
  assert.equal(shorten("a\n  b", 10), "a b");
  assert.equal(shorten("abcdef", 4), "abc…");
});
