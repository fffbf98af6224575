import assert from "node:assert/strict";
import { test } from "node:test";
import { all, one } from "../dom/dom";
import { openPage } from "../dom/page";
import { listTerms } from "./terms";

test("words that are explained are no stops of Tab, and the sheet of keys lists each once", () => {
  const page = openPage("map");
  const words = all<HTMLAnchorElement>(one(page, "main"), "a.term");
  assert.ok(words.length > 5);
  assert.ok(words.every((word) => word.getAttribute("tabindex") === "-1"));
  const place = one(page, "[data-help-terms]");
  listTerms(place);
  listTerms(place); // a page that grows is listed anew
  const listed = all<HTMLAnchorElement>(place, "a").map((word) => word.href);
  assert.deepEqual(listed, [...new Set(words.map((word) => word.href))]);
  assert.ok(!place.hidden && all(place, "a").every((word) => !word.hasAttribute("tabindex")));
});
