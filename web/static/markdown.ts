// Markdown to HTML, in a file of its own: it is fetched when somebody asks for it. Markup in a text stays text, pictures are not
// fetched, and addresses that run scripts are no links.

import MarkdownIt from "markdown-it";

export { highlight } from "./markup/highlight";

const reader = new MarkdownIt({ html: false, linkify: false, breaks: true }).disable("image");

// Headings of a model are no headings of the page.
reader.renderer.rules.heading_open = (tokens, i) => `<p class="md-heading" data-level="${tokens[i]?.tag.slice(1) ?? "1"}">`;
reader.renderer.rules.heading_close = () => "</p>";

reader.renderer.rules.link_open = (tokens, i, options, _env, self) => {
  tokens[i]?.attrSet("rel", "noopener noreferrer nofollow");
  tokens[i]?.attrSet("target", "_blank");
  return self.renderToken(tokens, i, options);
};

export function render(text: string): string {
  return reader.render(text);
}
