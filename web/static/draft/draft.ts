// What somebody has typed and not run yet, kept in the browser so that a closed tab loses nothing.

import type { Message, Mix } from "../protocol/protocol";

export interface Draft {
  prompt: string;
  system: string;
  seed: string;
  lanes: { lambda: number[]; sample: number; mix?: Mix }[];
  /** The lane whose conversation it goes on from, with what was said before. */
  parent: { run: string; lane: number } | null;
  history: Message[];
  at: number; // ms since 1970
}

/** The part of Storage that is used. */
export interface Shelf {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

const lasts = 14 * 24 * 3600 * 1000;

/** Where a draft is kept: one for each run that it grew from, one for a new session. */
export function keyOf(run: string): string {
  return `realign.draft.${run || "new"}`;
}

export function save(shelf: Shelf, run: string, draft: Draft): void {
  try {
    shelf.setItem(keyOf(run), JSON.stringify(draft));
  } catch {
    // Full or forbidden: a draft is not worth an error.
  }
}

/** The draft kept for a run, unless it is old or not one. */
export function load(shelf: Shelf, run: string, now: number): Draft | null {
  try {
    const text = shelf.getItem(keyOf(run));
    if (!text) return null;
    const draft = JSON.parse(text) as Draft;
    const sound =
      typeof draft.prompt === "string" && typeof draft.system === "string" && typeof draft.seed === "string" &&
      Array.isArray(draft.history) && Array.isArray(draft.lanes) &&
      draft.lanes.every((l) => Array.isArray(l.lambda) && l.lambda.every((x) => Number.isFinite(x)) && Number.isInteger(l.sample));
    return sound && now - draft.at < lasts ? draft : null;
  } catch {
    return null;
  }
}

export function drop(shelf: Shelf, run: string): void {
  try {
    shelf.removeItem(keyOf(run));
  } catch {
    // Nothing was kept.
  }
}
