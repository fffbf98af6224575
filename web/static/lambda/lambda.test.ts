import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { effectiveBeta, formatLambda, formatNumber, hue, parseLambda, percent, ratioStep, words } from "./lambda";

interface Row {
  lambda: number[];
  text: string;
  hue: string;
  beta: number;
  effective: string;
  words: string;
}

test("λ is written as the pages write it", () => {
  const rows = JSON.parse(readFileSync("web/templates/testdata/lambda.json", "utf8")) as Row[];
  for (const row of rows) {
    const betas = row.lambda.map((_, i) => (i === 0 ? row.beta : 0));
    assert.deepEqual(
      { text: formatLambda(row.lambda), hue: hue(row.lambda), effective: effectiveBeta(row.lambda, betas), words: words(row.lambda) },
      { text: row.text, hue: row.hue, effective: row.effective, words: row.words },
      `λ ${row.lambda}`,
    );
  }
});

test("λ is read as people write it", () => {
  const good: Record<string, number> = {
    "0": 0, "0.5": 0.5, "0,5": 0.5, ".5": 0.5, "1.": 1, "−1": -1, "-1.25": -1.25, "+2": 2, "1/6": 1 / 6, "2 / 3": 2 / 3, "-1/2": -0.5,
    "½": 0.5, "1½": 1.5, "⅔": 2 / 3, "1e-3": 0.001, " 3 ": 3,
  };
  for (const [text, want] of Object.entries(good)) assert.equal(parseLambda(text), want, text);
  for (const text of ["", "x", "1/0", "1/", "0x10", "1 2", "NaN", "Infinity", "--1", "x½"]) {
    assert.ok(Number.isNaN(parseLambda(text)), text);
  }
});

test("what is written can be read again", () => {
  for (const x of [0, 0.5, 1 / 6, -1.25, 19.999]) assert.ok(Math.abs(parseLambda(formatNumber(x, 6)) - x) < 1e-6);
});

test("log-ratios fall into steps, alike on both sides", () => {
  for (const [x, want] of [[0, 0], [0.09, 0], [0.1, 1], [0.5, 2], [1.5, 3], [3, 4], [40, 4]] as const) {
    assert.equal(ratioStep(x), want);
    assert.equal(Math.abs(ratioStep(-x)), want);
  }
});

test("probabilities", () => {
  assert.deepEqual([1, 0.431, 0.0949, 0.0123, 0.0012, 0.00001, 0].map(percent), ["100%", "43%", "9.5%", "1.2%", "0.12%", "<0.01%", "0%"]);
});
