import assert from "node:assert/strict";
import { test } from "node:test";
import { render } from "./markdown";

test("Markdown and code are rendered", () => {
  const html = render("# Title\n\n- *one*\n- **two**\n\n```js\nlet a = 1 < 2;\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |");
  for (const part of ['<p class="md-heading" data-level="1">Title</p>', "<em>one</em>", "<strong>two</strong>", "let a = 1 &lt; 2;", "<td>1</td>"]) {
    assert.ok(html.includes(part), `${part} in ${html}`);
  }
});

test("markup in a text stays text, and nothing is fetched or run", () => {
  const html = render('<script>alert(1)</script><img src=x onerror=alert(1)>\n\n![a](http://evil/x.png)\n\n[b](javascript:alert(1)) [c](https://example.org)');
  assert.doesNotMatch(html, /<script|<img|href="javascript/i);
  assert.match(html, /href="https:\/\/example.org" rel="noopener noreferrer nofollow" target="_blank"/);
});
