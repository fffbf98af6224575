import assert from "node:assert/strict";
import { test } from "node:test";
import type { Column } from "../lanes/column";
import type { Spec } from "../protocol/protocol";
import { Asking } from "./asking";

const column = () => ({ waiting: true }) as unknown as Column;

test("an answer finds what was asked, once", () => {
  const asking = new Asking();
  const spec = { prompt: "Hello" } as Spec;
  const start = asking.add("map", [], spec, [{ role: "user", content: "Before" }]);
  const more = asking.add("lanes", [column()]);
  assert.notEqual(start, more);
  assert.ok(asking.starting);
  assert.equal(asking.find(start)?.purpose, "map");
  assert.equal(asking.answered(start)?.spec, spec);
  assert.equal(asking.answered(start), undefined);
  assert.equal(asking.answered(undefined), undefined);
  assert.ok(!asking.starting);
  assert.equal(asking.waiting.length, 1);
});

test("a lane that came is no longer waited for; a run that is left takes its lanes along", () => {
  const asking = new Asking();
  const [a, b] = [column(), column()];
  asking.add("lanes", [a]);
  asking.add("lanes", [b]);
  asking.arrived(a);
  assert.deepEqual(asking.waiting, [b]);
  const [c, d] = [column(), column()];
  asking.add("lanes", [c, d]);
  asking.arrived(c);
  assert.deepEqual(asking.waiting, [b, d], "those that were asked for with it still wait");
  const start = asking.add("lanes", [], {} as Spec);
  const thumb = asking.add("thumb", []);
  asking.left();
  assert.deepEqual(asking.waiting, []);
  assert.ok(asking.find(start) && asking.find(thumb));
});

test("what is lost with the connection no longer waits", () => {
  const asking = new Asking();
  const a = column();
  asking.add("lanes", [a]);
  asking.add("map", [], {} as Spec);
  assert.deepEqual(asking.lost().map((x) => x.purpose), ["lanes", "map"]);
  assert.equal(a.waiting, false);
  assert.ok(!asking.starting);
});
