import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { effectiveBeta, formatLambda, formatNumber, hue, notNumber, parseLambda, percent, ratioStep, words } from "./lambda";

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
  const table = JSON.parse(readFileSync("internal/decode/testdata/numbers.json", "utf8")) as {
    numbers: Record<string, number>; none: string[]; commas: Record<string, string>;
  };
  for (const [text, want] of Object.entries(table.numbers)) assert.equal(parseLambda(text), want, text);
  for (const text of table.none) {
    assert.ok(Number.isNaN(parseLambda(text)), text);
    assert.match(notNumber(text), /^λ is a number/);
  }
  for (const [text, says] of Object.entries(table.commas)) {
    assert.ok(Number.isNaN(parseLambda(text)), text);
    assert.equal(notNumber(text), `“${text}” has a comma: write ${says}.`);
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
