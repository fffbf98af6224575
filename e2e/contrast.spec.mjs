// One model with two prompts, in a study and in a sweep: from the forms to ratings and to the best λ.

import assert from "node:assert/strict";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { studied, swept } from "./experiment.mjs";
import { withServer } from "./server.mjs";

const system = "You answer in one word.";

withServer({}, async (server) => {
  const { reference } = JSON.parse(await readFile("models/demo/pair.json", "utf8"));
  const at = join(server.data, "pairs", "brief");
  await mkdir(at, { recursive: true });
  await writeFile(join(at, "pair.json"), JSON.stringify({ name: "brief", reference: { file: resolve("models/demo", reference.file) }, contrast: { system } }));
});

test("a study of a contrast is decoded, opened and rated", { timeout: 180_000 }, () => studied("brief", "system", system));

test("a sweep of a contrast ends with its report", { timeout: 240_000 }, async () => {
  assert.doesNotMatch(await swept("brief", "system"), /effective β/);
});
