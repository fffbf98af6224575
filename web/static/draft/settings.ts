// The settings of the last run or change, kept in the browser: a new page begins with them.

import type { Shelf } from "./draft";

/** Values of the form's fields by name, and the aligned models that are ticked. */
export interface Settings {
  pair: string;
  aligned: string[];
  mode: string;
  fields: Record<string, string>;
}

const key = "realign.settings";

export function saveSettings(shelf: Shelf, settings: Settings): void {
  try {
    shelf.setItem(key, JSON.stringify(settings));
  } catch {
    // Full or forbidden: the next page begins with the pair's own.
  }
}

export function loadSettings(shelf: Shelf): Settings | null {
  try {
    const s = JSON.parse(shelf.getItem(key) ?? "null") as Settings | null;
    return sound(s) ? s : null;
  } catch {
    return null;
  }
}

/** Whether what was kept are settings. */
export function sound(s: Settings | null | undefined): s is Settings {
  const texts = (list: unknown[]) => list.every((x) => typeof x === "string");
  return Boolean(s) && typeof s === "object" && s !== null && texts([s.pair, s.mode]) && Array.isArray(s.aligned) && texts(s.aligned) &&
    typeof s.fields === "object" && s.fields !== null && texts(Object.values(s.fields));
}
