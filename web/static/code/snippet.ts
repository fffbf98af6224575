// The call of the API that gives what is on the bench, as a program would write it.

import { type LaneSpec, type Message, numbers, type Spec } from "../protocol/protocol";

export type Language = "curl" | "python" | "typescript";

/** A value of a body. A bigint is a whole number of any size. */
type Value = string | number | bigint | boolean | Value[] | { [name: string]: Value };
type Body = { [name: string]: Value };

/** Fields that OpenAI's packages do not know. */
const own = new Set(["lambda", "top_k", "min_p", "repeat_penalty", "penalty_window", "ignore_eos", "seed_by_prompt", "prefix", "mix"]);

/** The body of the call and where it goes, below /v1. */
export function call(spec: Spec): { path: string; body: Body } {
  const before = spec.history ?? [];
  const chat = spec.mode === "chat";
  const starts = startsOf(spec.lanes);
  const messages: Message[] = [
    ...(spec.system ? [{ role: "system", content: spec.system }] : []), ...before, { role: "user", content: spec.prompt },
  ];
  const body: Body = {
    model: `${spec.pair}:${spec.aligned.join("+")}`,
    ...(chat
      ? { messages: messages.map(({ role, content }) => ({ role, content })) }
      : { prompt: [...before.map((m) => m.content), spec.prompt].join("") }),
    lambda: lambdas(starts),
  };
  const samples = 1 + Math.max(0, ...spec.lanes.map((lane) => lane.sample));
  if (spec.lanes.some((lane) => lane.mix === "weights")) body.mix = "weights";
  if (samples > 1) body.n = samples;
  if (starts.some(({ prefix }) => prefix.length > 0)) body.prefix = starts.flatMap(({ prefix }) => Array<number[]>(samples).fill(prefix));
  const s = spec.sampling;
  // Also what is off: the pair may recommend something else.
  Object.assign(body, {
    max_tokens: s.max_tokens, temperature: s.temperature, top_p: s.top_p, top_k: s.top_k, min_p: s.min_p, repeat_penalty: s.repeat_penalty,
    presence_penalty: s.presence_penalty, frequency_penalty: s.frequency_penalty, penalty_window: s.penalty_window,
  });
  if (s.stop && s.stop.length > 0) body.stop = s.stop;
  if (s.exact) body.exact = s.exact;
  if (s.ignore_end) body.ignore_eos = true;
  body.seed = BigInt(spec.seed);
  body.seed_by_prompt = false;
  return { path: chat ? "/chat/completions" : "/completions", body };
}

/** A λ with the tokens that its lanes start with. */
interface Start {
  lambda: number[];
  prefix: number[];
}

/** The λ and prefixes of the lanes, each once, in the order of the lanes. */
function startsOf(lanes: readonly LaneSpec[]): Start[] {
  const each = new Map<string, Start>();
  for (const lane of lanes) {
    const start = { lambda: [...numbers(lane.lambda)], prefix: lane.prefix ?? [] };
    each.set(JSON.stringify(start), start);
  }
  return [...each.values()];
}

/** A number for a single λ with one aligned model, else a list. */
function lambdas(starts: readonly Start[]): Value {
  const values = starts.map(({ lambda }): Value => (lambda.length === 1 ? (lambda[0] ?? 0) : lambda));
  return values.length === 1 && typeof values[0] === "number" ? values[0] : values;
}

/** The calls in a language, to a server's API at base: one for each way to mix that the lanes have. */
export function snippet(language: Language, spec: Spec, base: string): string {
  const [weights, logits] = [true, false].map((is) => spec.lanes.filter((lane) => (lane.mix === "weights") === is));
  return [logits, weights].filter((lanes) => lanes?.length).map((lanes) => one(language, { ...spec, lanes: lanes as LaneSpec[] }, base)).join("\n");
}

function one(language: Language, spec: Spec, base: string): string {
  const { path, body } = call(spec);
  switch (language) {
    case "curl":
      return `curl ${base}${path} \\\n  -H 'Content-Type: application/json' -H "Authorization: Bearer $REALIGN_KEY" \\\n  -d ${quoted(json(body))}\n`;
    case "python":
      return python(path, body, base);
    case "typescript":
      return typescript(path, body, base);
  }
}

function python(path: string, body: Body, base: string): string {
  const literal = (value: Value) => json(value, { yes: "True", no: "False" });
  const known = Object.entries(body).filter(([name]) => !own.has(name)).map(([name, value]) => `    ${name}=${literal(value)},\n`);
  const extra = Object.fromEntries(Object.entries(body).filter(([name]) => own.has(name)));
  const [create, text] = path === "/completions" ? ["completions", "choice.text"] : ["chat.completions", "choice.message.content"];
  return `import os
from openai import OpenAI

client = OpenAI(base_url=${json(base)}, api_key=os.environ.get("REALIGN_KEY", "none"))
reply = client.${create}.create(
${known.join("")}    extra_body=${literal(extra)},
)
for choice in reply.choices:
    print(choice.model_extra["lambda"], ${text})
`;
}

function typescript(path: string, body: Body, base: string): string {
  const [create, type, text] = path === "/completions"
    ? ["completions", "CompletionCreateParamsNonStreaming", "choice.text"]
    : ["chat.completions", "ChatCompletionCreateParamsNonStreaming", "choice.message.content"];
  const lines = Object.entries(body).map(([name, value]) => `  ${name}: ${json(value, { big: true })},\n`);
  return `import OpenAI from "openai";

const client = new OpenAI({ baseURL: ${json(base)}, apiKey: process.env.REALIGN_KEY ?? "none" });
const body = {
${lines.join("")}};
const reply = await client.${create}.create(body as unknown as OpenAI.${type});
for (const choice of reply.choices) console.log(${text});
`;
}

/** A value as JSON with a space behind commas and colons. big writes whole numbers that no double holds as texts. */
function json(value: Value, words: { yes?: string; no?: string; big?: boolean } = {}): string {
  if (Array.isArray(value)) return `[${value.map((v) => json(v, words)).join(", ")}]`;
  if (typeof value === "bigint") return words.big && value > BigInt(Number.MAX_SAFE_INTEGER) ? `"${value}"` : `${value}`;
  if (typeof value === "boolean") return value ? (words.yes ?? "true") : (words.no ?? "false");
  if (typeof value !== "object") return JSON.stringify(value);
  return `{${Object.entries(value).map(([name, v]) => `${JSON.stringify(name)}: ${json(v, words)}`).join(", ")}}`;
}

/** A text as one word of a shell. */
const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
