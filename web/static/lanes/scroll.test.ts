import assert from "node:assert/strict";
import { test } from "node:test";
import { part } from "./scroll";

test("how far a text is scrolled, whatever its length", () => {
  assert.equal(part({ scrollTop: 50, scrollHeight: 300, clientHeight: 200 }), 0.5);
  assert.ok(Number.isNaN(part({ scrollTop: 0, scrollHeight: 200, clientHeight: 200 })), "nothing to scroll");
});
