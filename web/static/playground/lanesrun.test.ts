import assert from "node:assert/strict";
import { test } from "node:test";
import { one } from "../dom/dom";
import { openPage } from "../dom/page";
import type { Column } from "../lanes/column";
import { Stage, type StageEvents } from "../lanes/lanes";
import type { ClientFrame, RunEvent, Spec } from "../protocol/protocol";
import { Asking } from "./asking";
import { LanesRun } from "./lanesrun";

const spec = {
  pair: "p", aligned: ["a"], prompt: "Say it.", mode: "chat", seed: "7", alternatives: 0, sampling: { max_tokens: 3 },
  lanes: [{ lane: 0, lambda: 0, sample: 0 }, { lane: 1, lambda: 1, sample: 0 }],
} as unknown as Spec;

const token = (lane: number, id: number, text: string, lambda = 0): RunEvent => ({ type: "token", lane, id, text, lambda }) as RunEvent;

function open() {
  const page = openPage("playground");
  const nothing = () => {};
  const set: Column[] = [];
  const bench: StageEvents = { lambda: (column) => void set.push(column), duplicate: nothing, beside: nothing, remove: nothing, decode: nothing, stop: nothing, reply: nothing, writeOn: nothing, branch: nothing };
  const stage = new Stage(one(page, "main"), bench, [0.1], { min: -5, max: 20 });
  const sent: ClientFrame[] = [];
  const asking = new Asking();
  const moving = new Set<Column>();
  const shown = new LanesRun(stage,
    { asking, connection: { send: (frame: ClientFrame) => void sent.push(frame), unwatch: (id: string) => void sent.push({ type: "unwatch", run: id }) }, refresh: nothing },
    { moving: (column) => moving.has(column), added: nothing });
  return { stage, shown, sent, asking, moving, set };
}

function begun() {
  const bench = open();
  const run = bench.shown.begin("r1", spec);
  for (const [i, column] of bench.stage.columns.entries()) column.bind(run.lanes[i] ?? null);
  return bench;
}

const text = (column: Column | undefined) => column?.text.box.textContent;

test("a lane that was asked for goes to the column that waits for it, and one of another window gets its own", () => {
  const { stage, shown, sent, asking } = begun();
  const column = stage.add([0.5], 0);
  shown.add([column]);
  assert.deepEqual(sent, [{ type: "lanes", ref: "r1", run: "r1", lanes: [{ lambda: 0.5, sample: 0 }] }]);
  assert.ok(column.waiting);
  shown.events(1, [{ type: "lanes", lanes: [{ lane: 2, lambda: 2, sample: 0 }, { lane: 3, lambda: 0.5, sample: 0 }] } as unknown as RunEvent, token(2, 5, "Hey", 2), token(3, 6, "Ho", 0.5)]);
  assert.equal(stage.columns.length, 4);
  assert.equal(text(column), "Ho");
  assert.equal(text(stage.columnFor(2)), "Hey");
  assert.ok(!column.waiting);
  assert.deepEqual(asking.waiting, []);
});

test("λ that was changed while the lane was on its way stays the column's, and the lane follows", () => {
  const { stage, shown, set } = begun();
  const column = stage.add([0.5], 0);
  shown.add([column]);
  column.move([0.55], false);
  set.length = 0;
  shown.events(1, [{ type: "lanes", lanes: [{ lane: 2, lambda: 0.5, sample: 0 }] } as unknown as RunEvent]);
  assert.equal(stage.columns.length, 3, "there is no column beside it");
  assert.equal(stage.columnFor(2), column);
  assert.deepEqual(column.lambda, [0.55]);
  assert.deepEqual(set, [column]);
});

test("λ that was moved in another window moves the column, unless somebody is moving it here", () => {
  const { stage, shown, moving } = begun();
  const moved = (lane: number): RunEvent => ({ type: "lambda", lane, index: 0, lambda: 1.5 }) as RunEvent;
  const [here, there] = stage.columns as [Column, Column];
  moving.add(here);
  shown.events(1, [moved(0), moved(1)]);
  assert.deepEqual(here.lambda, [0]);
  assert.deepEqual(there.lambda, [1.5]);
});

test("what the server drew stands until the run's log has been read", () => {
  const { stage, shown } = open();
  shown.adopt("r1", spec);
  const before = text(stage.columns[0]);
  shown.events(1, [token(0, 5, "Hey")]);
  assert.equal(text(stage.columns[0]), before);
  assert.ok(!shown.running, "nobody knows yet");
  shown.caughtUp();
  assert.equal(text(stage.columnFor(0)), "Hey");
  assert.ok(shown.running);
});

test("a run that is left is stopped, and what its columns waited for is forgotten", () => {
  const { stage, shown, sent, asking } = begun();
  shown.add([stage.add([0.5], 0)]);
  sent.length = 0;
  shown.leave();
  assert.deepEqual(sent, [{ type: "stop", run: "r1" }, { type: "unwatch", run: "r1" }]);
  assert.equal(shown.run, null);
  assert.deepEqual(asking.waiting, []);
  shown.events(1, [token(0, 5, "Hey")]); // of the run that is not shown any more
  shown.leave();
  assert.equal(sent.length, 2);
});
