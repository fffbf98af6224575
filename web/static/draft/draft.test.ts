import assert from "node:assert/strict";
import { test } from "node:test";
import { type Draft, drop, keyOf, load, save } from "./draft";

class Box {
  kept = new Map<string, string>();
  getItem(key: string) {
    return this.kept.get(key) ?? null;
  }
  setItem(key: string, value: string) {
    this.kept.set(key, value);
  }
  removeItem(key: string) {
    this.kept.delete(key);
  }
}

const draft: Draft = { prompt: "p", system: "", seed: "7", lanes: [{ lambda: [0.5], sample: 0 }], parent: null, history: [], at: 1000 };

test("a draft comes back, for its own run only", () => {
  const box = new Box();
  save(box, "r", draft);
  assert.deepEqual(load(box, "r", 2000), draft);
  assert.equal(load(box, "", 2000), null);
  drop(box, "r");
  assert.equal(load(box, "r", 2000), null);
});

test("an old or broken draft is none", () => {
  const box = new Box();
  save(box, "", draft);
  assert.equal(load(box, "", 1000 + 15 * 24 * 3600 * 1000), null);
  for (const bad of ["{", "null", "[]", '{"prompt":1}', '{"prompt":"","system":"","seed":"","history":[],"lanes":[{}]}']) {
    box.setItem(keyOf(""), bad);
    assert.equal(load(box, "", 1000), null, bad);
  }
});

test("a browser that keeps nothing is no error", () => {
  const full = {
    getItem: () => {
      throw new Error("forbidden");
    },
    setItem: () => {
      throw new Error("full");
    },
    removeItem: () => {
      throw new Error("forbidden");
    },
  };
  save(full, "", draft);
  drop(full, "");
  assert.equal(load(full, "", 0), null);
});
