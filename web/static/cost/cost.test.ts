import assert from "node:assert/strict";
import { test } from "node:test";
import { costWords, promptsIn } from "./cost";

test("prompts are counted as they are read", () => {
  assert.equal(promptsIn("a\n\nb\n", "lines"), 2);
  assert.equal(promptsIn("a\nb\n\nc", "blocks"), 2);
  assert.equal(promptsIn("prompt,category\na,x\nb,y\n", "csv"), 2);
  assert.equal(promptsIn(" \n", "lines"), 0);
});

test("what a sweep takes is said before it begins", () => {
  const asked = { prompts: 10, lambdas: 9, samples: 4, tokens: 64, rounds: 2, budget: 0 };
  assert.equal(costWords(asked, 0), "At most 33,280 tokens to decode: 23,040 of them on the grid.");
  assert.equal(costWords({ ...asked, rounds: 0 }, 1000), "At most 23,040 tokens to decode, about 23 s at 1000 tokens/s, as this pair was decoded last.");
  assert.equal(costWords({ ...asked, budget: 20000 }, 10), "At most 20,000 tokens to decode, about 33 min at 10 tokens/s, as this pair was decoded last.");
  assert.equal(costWords({ ...asked, prompts: 0 }, 0), "At most 2,304 tokens for each prompt.");
  assert.equal(costWords({ ...asked, tokens: Number.NaN }, 0), "");
});
