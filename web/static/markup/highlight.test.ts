import assert from "node:assert/strict";
import { test } from "node:test";
import { make } from "../dom/dom";
import { openPage } from "../dom/page";
import { render } from "../markdown";
import { type Part, highlight } from "./highlight";

openPage("map");

function marked(...parts: Part[]): string {
  const place = make("div");
  place.innerHTML = render(parts.map((part) => part.text).join(""));
  highlight(place, parts, (kind) => make("mark", { "data-kind": kind }));
  return place.innerHTML.replaceAll("\n", "");
}

test("a mark stands at its words, whatever the renderer leaves out before them", () => {
  assert.equal(
    marked({ text: "# One\n\n- a **bold", kind: "" }, { text: " word", kind: "last" }, { text: "** and\n- the rest", kind: "new" }),
    '<p class="md-heading" data-level="1">One</p><ul><li>a <strong>bold<mark data-kind="last"> word</mark></strong><mark data-kind="new"> and</mark></li>' +
      '<li><mark data-kind="new">the rest</mark></li></ul>');
});

test("links, code and entities before a mark do not move it", () => {
  const html = marked({ text: "[a](https://example.org/b) &amp; `c<d>`\n\n```\nlet e;\n```\n\n", kind: "" }, { text: "here", kind: "last" }, { text: " it is", kind: "" });
  assert.ok(html.endsWith('<p><mark data-kind="last">here</mark> it is</p>'), html);
});

test("without marks the rendered text is left alone", () => assert.equal(marked({ text: "**a** b", kind: "" }), "<p><strong>a</strong> b</p>"));
