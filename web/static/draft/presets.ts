// Settings saved under a name, with the λ of the lanes, kept in the browser.

import type { Shelf } from "./draft";
import { type Settings, sound } from "./settings";

export interface Preset {
  settings: Settings;
  system: string;
  lanes: { lambda: number[]; sample: number }[];
}

const key = "realign.presets";

/** As many as a list can be read at a glance. */
export const mostPresets = 30;

/** All presets by name, in the order of their names. What is broken is left out. */
export function loadPresets(shelf: Shelf): Map<string, Preset> {
  try {
    const kept = Object.entries(JSON.parse(shelf.getItem(key) ?? "{}") as Record<string, Preset>);
    return new Map(kept.filter(([, p]) => whole(p)).sort(([a], [b]) => a.localeCompare(b)));
  } catch {
    return new Map();
  }
}

function whole(p: Preset): boolean {
  return (
    typeof p === "object" && p !== null && sound(p.settings) && typeof p.system === "string" && Array.isArray(p.lanes) &&
    p.lanes.every((l) => Array.isArray(l.lambda) && l.lambda.every((x) => Number.isFinite(x)) && Number.isInteger(l.sample))
  );
}

/** Keeps a preset, in place of one of the same name; says why it cannot, or "". */
export function savePreset(shelf: Shelf, name: string, preset: Preset): string {
  const all = loadPresets(shelf);
  if (name === "") return "Give it a name first.";
  if (name.length > 60) return `A name has ${name.length} characters: 60 at most.`;
  if (!all.has(name) && all.size >= mostPresets) return `There are ${all.size} presets, the most there may be: delete one first.`;
  all.set(name, preset);
  return write(shelf, all);
}

export function dropPreset(shelf: Shelf, name: string): string {
  const all = loadPresets(shelf);
  all.delete(name);
  return write(shelf, all);
}

function write(shelf: Shelf, all: Map<string, Preset>): string {
  try {
    shelf.setItem(key, JSON.stringify(Object.fromEntries(all)));
    return "";
  } catch {
    return "This browser keeps nothing for the page: allow it to store data.";
  }
}
