import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import type { Spec } from "../protocol/protocol";
import { call, snippet } from "./snippet";

const spec: Spec = {
  pair: "demo", aligned: ["warmth-b0.1"], system: "Be brief.", prompt: "It's \"new\"?\n$HOME `x` \\", mode: "chat",
  history: [{ role: "user", content: "Hi" }, { role: "assistant", content: "Hello" }],
  lanes: [{ lane: 0, lambda: 0, sample: 0 }, { lane: 0, lambda: 0.5, sample: 0 }, { lane: 0, lambda: 0.5, sample: 1 }, { lane: 0, lambda: [2], sample: 0 }],
  sampling: {
    max_tokens: 40, temperature: 0.7, top_k: 0, top_p: 0.9, min_p: 0.1, repeat_penalty: 1, presence_penalty: 0, frequency_penalty: 0, penalty_window: 0, stop: ["\n"],
  },
  seed: "18446744073709551615", alternatives: 5,
};

test("the call has the lanes' λ, the conversation, the sampling and the seed itself", () => {
  const { path, body } = call(spec);
  assert.equal(path, "/chat/completions");
  assert.equal(body.model, "demo:warmth-b0.1");
  assert.deepEqual(body.lambda, [0, 0.5, 2]);
  assert.equal(body.n, 2);
  assert.deepEqual((body.messages as { role: string }[]).map((m) => m.role), ["system", "user", "assistant", "user"]);
  assert.equal(body.seed, 18446744073709551615n);
  assert.equal(body.seed_by_prompt, false);
  assert.equal(body.min_p, 0.1);
  assert.deepEqual(body.stop, ["\n"]);
});

test("one lane has a number, several aligned models have lists, a text is a prompt", () => {
  assert.equal(call({ ...spec, lanes: [{ lane: 0, lambda: 0.25, sample: 0 }] }).body.lambda, 0.25);
  const { path, body } = call({ ...spec, mode: "plain", aligned: ["a", "b"], lanes: [{ lane: 0, lambda: [0.5, 1], sample: 0 }] });
  assert.equal(path, "/completions");
  assert.deepEqual([body.model, body.lambda, body.prompt], ["demo:a+b", [[0.5, 1]], `HiHello${spec.prompt}`]);
});

test("lanes that start with tokens of another give their prefixes, for each choice", () => {
  const lanes = [{ lane: 0, lambda: 0, sample: 0 }, { lane: 1, lambda: 0, sample: 0, prefix: [5, 6] }, { lane: 2, lambda: 1, sample: 1 }];
  const { body } = call({ ...spec, lanes });
  assert.deepEqual([body.lambda, body.n, body.prefix], [[0, 0, 1], 2, [[], [], [5, 6], [5, 6], [], []]]);
  assert.ok(snippet("python", { ...spec, lanes }, "http://h/v1").includes('"prefix": [[], [], [5, 6], [5, 6], [], []]'));
});

test("a shell hands curl the body as it is", () => {
  const lines = snippet("curl", spec, "http://127.0.0.1:8080/v1").replace(/^curl /, "printf '%s\\n' ");
  const words = execFileSync("sh", ["-c", lines], { encoding: "utf8", env: { REALIGN_KEY: "rk-x" } });
  assert.ok(words.startsWith("http://127.0.0.1:8080/v1/chat/completions\n-H\n"));
  assert.ok(words.includes("\nAuthorization: Bearer rk-x\n"));
  const sent = words.slice(words.indexOf("\n{") + 1);
  assert.equal(JSON.parse(sent).messages[3].content, spec.prompt);
  assert.ok(sent.includes('"seed": 18446744073709551615'));
});

test("Python and TypeScript say the same in their own words", () => {
  const python = snippet("python", { ...spec, sampling: { ...spec.sampling, ignore_end: true } }, "http://h/v1");
  assert.ok(python.includes('extra_body={"lambda": [0, 0.5, 2], '));
  assert.ok(python.includes('"ignore_eos": True') && python.includes('"seed_by_prompt": False'));
  assert.ok(python.includes("    seed=18446744073709551615,\n"));
  const typescript = snippet("typescript", spec, "http://h/v1");
  assert.ok(typescript.includes("  lambda: [0, 0.5, 2],\n") && typescript.includes('  seed: "18446744073709551615",\n'));
  assert.ok(snippet("typescript", { ...spec, seed: "7", mode: "plain" }, "http://h/v1").includes("client.completions.create"));
});

test("lanes with λ in the weights are a call of their own", () => {
  const lanes = [{ lane: 0, lambda: 0.5, sample: 0 }, { lane: 1, lambda: 2, sample: 0, mix: "weights" as const }];
  const both = snippet("curl", { ...spec, lanes }, "http://h/v1");
  assert.equal(both.split("curl ").length, 3);
  assert.equal(both.split('"mix": "weights"').length, 2);
  assert.ok(both.indexOf('"lambda": 0.5') < both.indexOf('"lambda": 2') && both.indexOf('"lambda": 2') < both.indexOf('"mix": "weights"'));
  assert.ok(snippet("python", { ...spec, lanes: lanes.slice(1) }, "http://h/v1").includes('extra_body={"lambda": 2, "mix": "weights"'));
});
