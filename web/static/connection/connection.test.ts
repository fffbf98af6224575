import assert from "node:assert/strict";
import { test } from "node:test";
import { reason } from "./connection";

test("why there is no connection is said as far as an ordinary request tells", () => {
  assert.match(reason(400, true), /does not pass WebSockets on/);
  assert.match(reason(401, false), /Logged out/);
  assert.match(reason(403, false), /Logged out/);
  assert.match(reason(502, false), /answers 502/);
  assert.match(reason(200, false), /sign in/);
  assert.match(reason(400, false), /Something before the server answers 400/);
});
