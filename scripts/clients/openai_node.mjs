// OpenAI's package for Node.js against a server with the demo pair: REALIGN_URL says where.
import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.env.REALIGN_URL + "/v1", apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: "What did you think of the film?" }];
const asked = { model: "demo:warmth-b0.1@0.5", messages, seed: 7, max_tokens: 40, temperature: 0.7 };

const whole = await client.chat.completions.create({ ...asked, logprobs: true, top_logprobs: 2 });
const text = whole.choices[0].message.content;
assert.ok(text);
assert.equal(whole.choices[0].logprobs.content.length, whole.usage.completion_tokens);

let streamed = "";
for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
}
assert.equal(streamed, text);

const grid = await client.chat.completions.create({ ...asked, model: "demo:warmth-b0.1", lambda: [0, 0.5, 1] });
assert.deepEqual(grid.choices.map((c) => c.lambda), [0, 0.5, 1]);
assert.equal(grid.choices[1].message.content, text);

const names = [];
for await (const model of client.models.list()) names.push(model.id);
assert.ok(names.includes("demo:warmth-b0.1@1"));

await assert.rejects(client.chat.completions.create({ ...asked, model: "nobody" }), (e) => e instanceof OpenAI.NotFoundError && e.param === "model");
await assert.rejects(client.chat.completions.create({ ...asked, n: 1000 }), (e) => e instanceof OpenAI.BadRequestError && e.param === "n");

const controller = new AbortController();
const long = await client.chat.completions.create({ ...asked, max_tokens: 2000, lambda: [0, 1], stream: true }, { signal: controller.signal });
for await (const _ of long) {
  controller.abort();
  break;
}
const began = Date.now();
await client.chat.completions.create({ ...asked, max_tokens: 1 });
assert.ok(Date.now() - began < 10_000);
console.log("openai-node ok");
