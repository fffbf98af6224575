// Marks in a text that was rendered: where in the source a mark was is found again by its letters.

/** A part of the source and what it is; "" is nothing to be marked. */
export interface Part {
  text: string;
  kind: string;
}

/** Syntax that the renderer leaves out between two letters is no longer than this. */
const longestSyntax = 400;

const blank = (character: string) => character.trim() === "";

/**
 * Wraps the parts of a rendered text in what wrap makes for their kind. The renderer leaves characters of the source out, and
 * adds none but white space: each letter that it shows is the next such one of the source.
 */
export function highlight(place: HTMLElement, parts: readonly Part[], wrap: (kind: string) => HTMLElement): void {
  if (parts.every((part) => part.kind === "")) return;
  const source = parts.map((part) => part.text).join("");
  const kinds = parts.flatMap((part) => Array.from({ length: part.text.length }, () => part.kind));
  let at = 0; // in the source
  let kind = "";
  const nodes: Text[] = [];
  const walker = document.createTreeWalker(place, 4 /* NodeFilter.SHOW_TEXT */);
  while (walker.nextNode()) nodes.push(walker.currentNode as Text);
  for (const node of nodes) {
    const runs: Part[] = [];
    let spaces = ""; // behind syntax: they belong to what follows
    for (const character of node.data) {
      const next = blank(character) ? (source.startsWith(character, at) ? at : -1) : source.indexOf(character, at);
      if (next >= 0 && next - at <= longestSyntax) {
        kind = kinds[next] ?? "";
        at = next + character.length;
      } else if (blank(character)) {
        spaces += character;
        continue;
      }
      const last = runs[runs.length - 1];
      if (last?.kind === kind) last.text += spaces + character;
      else runs.push({ text: spaces + character, kind });
      spaces = "";
    }
    if (spaces) runs.push({ text: spaces, kind: "" });
    if (blank(node.data) || runs.every((run) => run.kind === "")) continue;
    node.replaceWith(...runs.map((run) => {
      if (run.kind === "") return run.text;
      const element = wrap(run.kind);
      element.textContent = run.text;
      return element;
    }));
  }
}
