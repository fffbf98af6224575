import assert from "node:assert/strict";
import { test } from "node:test";
import type { ServerFrame } from "../protocol/protocol";
import { Connection, type State, type Wire, backoff } from "./socket";

class FakeWire implements Wire {
  onopen: (() => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  sent: unknown[] = [];
  send(data: string): void {
    this.sent.push(JSON.parse(data));
  }
  close(): void {
    this.onclose?.({ code: 1000, reason: "" });
  }
  says(frame: unknown): void {
    this.onmessage?.({ data: typeof frame === "string" ? frame : JSON.stringify(frame) });
  }
}

function world() {
  const wires: FakeWire[] = [];
  const frames: ServerFrame[] = [];
  const states: State[] = [];
  let pending: (() => void) | null = null;
  const connection = new Connection({
    open: () => {
      const wire = new FakeWire();
      wires.push(wire);
      return wire;
    },
    onFrame: (frame) => frames.push(frame),
    onState: (state) => states.push(state),
    later: (_, then) => {
      pending = then;
      return () => {
        pending = null;
      };
    },
    random: () => 1,
  });
  connection.start();
  return { connection, wires, frames, states, wake: () => pending?.(), last: () => wires[wires.length - 1] as FakeWire };
}

const events = (first: number, n: number) => ({ type: "events", run: "r", first, events: Array.from({ length: n }, () => ({ type: "token" })) });

test("what is asked before the connection is open is sent when it is", () => {
  const w = world();
  w.connection.send({ type: "stop", run: "r" });
  assert.deepEqual(w.last().sent, []);
  w.last().onopen?.();
  assert.deepEqual(w.last().sent, [{ type: "stop", run: "r" }]);
});

test("a new connection goes on where the old one broke off", () => {
  const w = world();
  w.last().onopen?.();
  w.connection.watch("r", 0);
  w.last().says({ type: "hello", version: 1, build: "", limits: {} });
  w.last().says(events(1, 5));
  w.last().says(events(6, 2));
  w.last().close();
  assert.equal(w.connection.state, "waiting");
  w.wake();
  w.last().onopen?.();
  assert.deepEqual(w.last().sent, [{ type: "watch", run: "r", after: 7 }]);
  assert.deepEqual(w.states, ["connecting", "open", "waiting", "connecting", "open"]);
});

test("a gap is never shown: it asks again from its cursor", () => {
  const w = world();
  w.last().onopen?.();
  w.connection.watch("r", 0);
  w.last().says(events(1, 2));
  w.last().says(events(4, 2));
  assert.equal(w.frames.length, 1);
  assert.deepEqual(w.last().sent[1], { type: "watch", run: "r", after: 2 });
  w.last().says(events(2, 4));
  assert.equal(w.frames.length, 2);
});

test("runs that are not watched any more are not heard", () => {
  const w = world();
  w.last().onopen?.();
  w.connection.follow("r");
  w.connection.unwatch("r");
  w.last().says(events(1, 2));
  assert.equal(w.frames.length, 0);
});

test("frames that are not of this version are passed over", () => {
  const w = world();
  w.last().onopen?.();
  for (const bad of ["", "{", "[1]", "null", '"x"', '{"type":"news"}', "{}"]) w.last().says(bad);
  assert.equal(w.frames.length, 0);
});

test("waits double up to a limit, with jitter", () => {
  const waits = Array.from({ length: 12 }, (_, i) => backoff(i, () => 1));
  assert.deepEqual(waits.slice(0, 6), [500, 1000, 2000, 4000, 8000, 15000]);
  assert.equal(Math.max(...waits), 15000);
  assert.equal(backoff(3, () => 0), 2000);
});

test("closed is for good", () => {
  const w = world();
  w.last().onopen?.();
  w.connection.close();
  w.connection.retry();
  assert.equal(w.wires.length, 1);
  assert.equal(w.connection.state, "closed");
});
