import assert from "node:assert/strict";
import { test } from "node:test";
import { type Preset, dropPreset, loadPresets, mostPresets, savePreset } from "./presets";

const shelf = () => {
  const kept = new Map<string, string>();
  return { getItem: (k: string) => kept.get(k) ?? null, setItem: (k: string, v: string) => void kept.set(k, v), removeItem: (k: string) => void kept.delete(k) };
};
const preset = (pair = "demo"): Preset => ({
  settings: { pair, aligned: ["warm"], mode: "chat", fields: { temperature: "0.7" } }, system: "Be brief.", lanes: [{ lambda: [0.5], sample: 1 }],
});

test("presets are kept by name, in the order of names, and go when they are deleted", () => {
  const box = shelf();
  assert.equal(savePreset(box, "warm", preset()), "");
  assert.equal(savePreset(box, "cold", preset("other")), "");
  assert.equal(savePreset(box, "warm", preset("demo")), "", "in place of the old one");
  assert.deepEqual([...loadPresets(box).keys()], ["cold", "warm"]);
  assert.deepEqual(loadPresets(box).get("warm"), preset());
  dropPreset(box, "cold");
  assert.deepEqual([...loadPresets(box).keys()], ["warm"]);
});

test("a preset without a name, one too many, and a browser that keeps nothing are told", () => {
  const box = shelf();
  assert.match(savePreset(box, "", preset()), /name/);
  assert.match(savePreset(box, "x".repeat(61), preset()), /61 characters: 60 at most/);
  for (let i = 0; i < mostPresets; i++) savePreset(box, `p${i}`, preset());
  assert.match(savePreset(box, "more", preset()), /delete one first/);
  assert.match(savePreset({ ...box, setItem: () => { throw new Error("full"); } }, "p1", preset()), /keeps nothing/);
});

test("what is broken is left out", () => {
  const box = shelf();
  box.setItem("realign.presets", JSON.stringify({ a: preset(), b: { settings: null }, c: { ...preset(), lanes: [{ lambda: ["x"], sample: 0 }] }, d: 5 }));
  assert.deepEqual([...loadPresets(box).keys()], ["a"]);
  box.setItem("realign.presets", "{");
  assert.equal(loadPresets(box).size, 0);
});
