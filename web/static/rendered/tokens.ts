// What the models get, token by token. Fetched when it is asked for (extras.ts).

import { make } from "../dom/dom";

export interface Prompt {
  who: string;
  tokens: { id: number; text: string }[];
}

/** The words over a prompt: whose it is and how long. */
export function promptWords(prompt: Prompt, alone: boolean): string {
  const tokens = `${prompt.tokens.length} ${prompt.tokens.length === 1 ? "token" : "tokens"}`;
  if (alone) return tokens;
  return prompt.who === "reference" ? `λ = 0, the reference: ${tokens}` : `λ = 1, ${prompt.who}: ${tokens}`;
}

/** Line breaks and tabs can be seen. */
export const visible = (text: string): string => text.replaceAll("\n", "↵\n").replaceAll("\t", "→\t");

/** The words over a prompt, and its tokens. */
export function tokensOf(prompt: Prompt, alone: boolean): HTMLElement[] {
  const text = make("pre", { class: "rendered-text", tabindex: "0", role: "region", "aria-label": `Tokens: ${promptWords(prompt, alone)}`, dir: "auto" });
  for (const { id, text: shown } of prompt.tokens) text.append(make("span", { class: "rendered-token", title: `token ${id}` }, visible(shown) || `<${id}>`));
  return [make("p", { class: "label" }, promptWords(prompt, alone)), text];
}
