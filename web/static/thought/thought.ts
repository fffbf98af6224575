// What a thinking model considers before its answer. internal/decode.CutThought cuts replies alike.

const begins = "<think>";
const ends = "</think>";

/** How many characters from the beginning of a reply are thought, marks and the white space behind them included. */
export function thoughtLength(text: string): number {
  const start = text.length - text.trimStart().length;
  const begun = text.startsWith(begins, start);
  const at = text.indexOf(ends, begun ? start + begins.length : 0);
  if (at < 0) return begun ? text.length : 0;
  const end = at + ends.length;
  return end + (text.length - end - text.slice(end).trimStart().length);
}

/** What the reply says after its thought. */
export const said = (text: string): string => text.slice(thoughtLength(text));
