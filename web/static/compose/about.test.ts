import assert from "node:assert/strict";
import { test } from "node:test";
import { about } from "./about";

test("a pair is told in short, by its aligned models and itself", () => {
  const warm = { about: "Rewarded for warm replies." };
  assert.equal(about("A tiny model.", [warm]), "Aligned model: Rewarded for warm replies. A tiny model.");
  assert.equal(about("", [warm, { about: "" }, { about: "Short." }]), "Aligned model: Rewarded for warm replies. Aligned model: Short.");
  assert.equal(about("", []), "");
});
