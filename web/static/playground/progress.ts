// What the line under the prompt says while a run starts and goes on. No DOM here.

import type { PairStatus } from "../protocol/protocol";
import type { Run } from "../run/run";

export interface Moment {
  pair: Pick<PairStatus, "name" | "state" | "progress" | "message"> | undefined;
  connected: boolean;
  starting: boolean; // asked for, and not answered
  run: Run | null; // that runs; null: none does
  map?: { text: string; part: number } | null; // that grows
  rate: number; // tokens/s; NaN is not known yet
}

/** Words, and how far it has come from 0 to 1 where that is known. */
export function progress({ pair, connected, starting, run, map, rate }: Moment): { text: string; part: number | null } {
  const line = (text: string, part: number | null = null) => ({ text, part });
  const busy = starting || run !== null || map;
  switch (pair?.state) {
    case "starting":
      return line(`Starting ${pair.name}`);
    case "loading":
      return line(`Loading ${pair.name}`, pair.progress);
    case "restarting":
      return line(`Starting ${pair.name} again`);
    case "failed":
      return line(`${pair.name} cannot be loaded${pair.message ? `: ${pair.message}` : ""}`);
  }
  if (!busy) return line("");
  if (starting) return line(connected ? "Starting" : "Waiting for the connection");
  if (!run) return map ? line(map.text, map.part) : line("");
  if (run.lanes.every((lane) => lane.tokens.length === 0)) {
    const p = run.prompt;
    if (!p) return line("Waiting for its turn");
    return p.done < p.total ? line(`Reading the prompt, ${p.done} of ${p.total} tokens`, p.done / p.total) : line("Decoding");
  }
  const live = run.lanes.filter((lane) => lane.reason === "").length;
  const speed = Number.isNaN(rate) ? "" : `, ${Math.round(rate)} tokens/s`;
  return line(`Decoding ${live} of ${run.lanes.length} lanes${speed}`);
}
