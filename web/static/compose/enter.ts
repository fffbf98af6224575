// Which key runs a prompt. No DOM but the event.

/** Whether a key runs what is typed: Enter in the prompt, and Ctrl+Enter or Cmd+Enter in every field. Enter that chooses a word of an
    input method does not, and neither does Enter where thumbs type, which have no Shift+Enter for a new line. */
export function runs(event: KeyboardEvent, prompt: EventTarget): boolean {
  if (event.key !== "Enter" || event.isComposing || event.keyCode === 229) return false; // Safari tells of composing by 229 alone
  if (event.ctrlKey || event.metaKey) return true;
  return event.target === prompt && !event.shiftKey && !event.altKey && !matchMedia("(pointer: coarse)").matches;
}
