import assert from "node:assert/strict";
import { test } from "node:test";
import type { ErrorFrame, Limits, ServerFrame, Spec } from "../protocol/protocol";
import { Run } from "../run/run";
import { Asking } from "./asking";
import { Incoming, type IncomingParts } from "./incoming";

const spec = { pair: "p", aligned: ["a"], prompt: "Say it.", mode: "chat", lanes: [{ lane: 0, lambda: 1, sample: 0 }], seed: "7", alternatives: 0, sampling: { max_tokens: 3 } } as unknown as Spec;

/** Parts that note what they are told. The form has a field named prompt. */
function open(run: Run | null = null) {
  const told: string[] = [];
  const note = (words: string) => void told.push(words);
  const parts: IncomingParts = {
    asking: new Asking(),
    compose: { limits: {} as Limits, setStatus: () => note("status"), show: ([fault]) => (fault?.field === "prompt" ? (note(`at the prompt: ${fault.message}`), true) : false) },
    status: { alert: (text, again = false) => note(`alert${again ? " with again" : ""}: ${text}`) },
    lanes: { models: () => note("models"), shown: { run, catchingUp: false, events: (first) => note(`news from ${first}`), caughtUp: () => note("caught up"), breakOff: () => note("broken off") } },
    slider: { take: (frame) => "run" in frame && frame.run === "map", thumb: { refused: () => note("thumb refused") } },
    starter: { touched: false, started: (_, session, id) => note(`started ${id} of ${session}`) },
    count: { changed: () => note("count") },
    refresh: () => note("refresh"), soon: () => note("soon"),
  };
  return { parts, told, incoming: new Incoming(parts) };
}

const error = (frame: Partial<ErrorFrame>): ServerFrame => ({ type: "error", code: "invalid", message: "is wrong", ...frame }) as ServerFrame;

test("events go to the view of their run, and to none where nobody shows it", () => {
  const { incoming, told } = open(new Run("r1", spec));
  incoming.take({ type: "events", run: "map", first: 1, events: [] });
  incoming.take({ type: "events", run: "r1", first: 4, events: [] });
  incoming.take({ type: "events", run: "r2", first: 1, events: [] });
  incoming.take({ type: "caught_up", run: "r1" } as ServerFrame);
  assert.deepEqual(told, ["soon", "news from 4", "soon"], "what is read already is not caught up with");
});

test("a run begins once, for whoever asked", () => {
  const { parts, incoming, told } = open();
  const ref = parts.asking.add("lanes", [], spec);
  const frame = { type: "started", ref, session: "s1", run: "r1" } as ServerFrame;
  incoming.take(frame);
  incoming.take(frame);
  assert.deepEqual(told, ["started r1 of s1", "refresh"]);
});

test("an error is told at its field, else above the form with the field's name", () => {
  const { incoming, told } = open();
  incoming.take(error({ field: "spec.prompt", message: "is empty" }));
  incoming.take(error({ field: "spec.sampling.top_k", message: "is below 0" }));
  incoming.take(error({ message: "too many", retry_after: 3 }));
  assert.deepEqual(told.filter((words) => words !== "refresh"), ["at the prompt: Is empty.", "alert: Top_k: is below 0.", "alert: Too many. Try again in 3 s."]);
});

test("a start that was refused may be asked for again", () => {
  const { parts, incoming, told } = open();
  incoming.take(error({ ref: parts.asking.add("lanes", [], spec), message: "busy" }));
  assert.ok(parts.starter.touched);
  assert.deepEqual(told, ["alert with again: Busy.", "refresh"]);
  incoming.take(error({ ref: parts.asking.add("thumb", []), message: "busy" }));
  assert.ok(told.includes("thumb refused"));
});

test("a run that the server cannot go on with is told with the run, and a move that came too late not at all", () => {
  const { incoming, told } = open(new Run("r1", spec));
  incoming.take(error({ run: "r1", code: "unavailable" } as Partial<ErrorFrame>));
  incoming.take(error({ run: "r1", code: "conflict" } as Partial<ErrorFrame>));
  assert.deepEqual(told, ["broken off", "refresh", "refresh"]);
});

test("when the connection breaks, what was asked is lost", () => {
  const { parts, incoming, told } = open();
  incoming.connected("waiting");
  assert.deepEqual(told, ["refresh"], "nothing was asked");
  parts.asking.add("lanes", [], spec);
  incoming.connected("open");
  incoming.connected("waiting");
  assert.match(told[1] ?? "", /^alert with again: The connection broke/);
  assert.ok(!parts.asking.starting);
});
