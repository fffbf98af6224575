// How far a run's replies may be from whole replies at their λ, in the server's words. No DOM here.

import { at } from "../base/base";

/** The words of each lane of a run, in order; "" where there is nothing to say. Nothing when the server cannot be asked. */
export async function trust(run: string): Promise<string[]> {
  const answer = await fetch(at(`/runs/${encodeURIComponent(run)}/trust`), { headers: { Accept: "application/json" } }).catch(() => null);
  if (!answer?.ok) return [];
  const said = (await answer.json().catch(() => null)) as { lanes?: unknown } | null;
  return Array.isArray(said?.lanes) ? said.lanes.map((words) => (typeof words === "string" ? words : "")) : [];
}
