// What the server says: each frame goes to the part of the page that it is about, and answers find what was asked.

import type { Compose } from "../compose/compose";
import type { Count } from "../compose/count";
import type { ErrorFrame, ServerFrame } from "../protocol/protocol";
import type { State } from "../socket/socket";
import type { Asking } from "./asking";
import type { LanesView } from "./lanesview";
import type { SliderView } from "./sliderview";
import type { Starter } from "./starter";
import { type Status, sentence } from "./status";

/** The parts of the page that frames are about, as far as they take them. */
export interface IncomingParts {
  compose: Pick<Compose, "limits" | "setStatus" | "show">;
  asking: Asking;
  status: Pick<Status, "alert">;
  lanes: Pick<LanesView, "models"> & { shown: Pick<LanesView["shown"], "run" | "catchingUp" | "events" | "caughtUp" | "breakOff"> };
  slider: Pick<SliderView, "take"> & { thumb: Pick<SliderView["thumb"], "refused"> };
  starter: Pick<Starter, "touched" | "started">;
  count: Pick<Count, "changed">;
  refresh(): void;
  soon(): void; // refreshes at the next frame: events come faster
}

export class Incoming {
  constructor(private readonly parts: IncomingParts) {}

  take(frame: ServerFrame): void {
    const { compose, asking, lanes, slider, starter, count } = this.parts;
    if (slider.take(frame)) {
      this.parts.soon();
      return;
    }
    switch (frame.type) {
      case "hello":
        compose.limits = frame.limits;
        lanes.models();
        return;
      case "pairs":
        compose.setStatus(frame.pairs);
        count.changed();
        break;
      case "started": {
        const asked = asking.answered(frame.ref);
        if (!asked?.spec) return;
        starter.started(asked, frame.session, frame.run);
        break;
      }
      case "lanes_added":
        if (!asking.find(frame.ref)?.columns.some((c) => c.waiting)) asking.answered(frame.ref);
        return;
      case "events":
        if (frame.run !== lanes.shown.run?.id) return;
        lanes.shown.events(frame.first, frame.events);
        this.parts.soon();
        return;
      case "caught_up":
        if (frame.run !== lanes.shown.run?.id || !lanes.shown.catchingUp) return;
        lanes.shown.caughtUp();
        break;
      case "error":
        this.failed(frame);
        break;
    }
    this.parts.refresh();
  }

  private failed(frame: ErrorFrame): void {
    const { compose, asking, status, lanes, slider, starter } = this.parts;
    const asked = asking.answered(frame.ref);
    for (const column of asked?.columns ?? []) {
      column.waiting = false;
      if (!asked?.spec) column.update();
    }
    if (asked?.purpose === "thumb") slider.thumb.refused();
    if (asked?.spec) starter.touched = true;
    const { run } = lanes.shown;
    if (!asked && frame.code === "unavailable" && run && frame.run === run.id && !run.ended) {
      lanes.shown.breakOff(frame);
      return; // what has broken off is told with the run
    }
    if (!asked && frame.run && frame.code === "conflict") return; // λ was moved as what it was of ended
    const field = (frame.field ?? "").replace(/^(spec\.)?(sampling\.)?/, "").replace(/\[\d+\].*$/, "");
    const wait = frame.retry_after ? ` Try again in ${frame.retry_after} s.` : "";
    if (field && compose.show([{ field, message: sentence(frame.message) }])) return;
    status.alert(sentence(field ? `${field}: ${frame.message}` : frame.message) + wait, asked?.spec !== undefined);
  }

  /** The connection is in another state: what was asked is not answered once it has broken. */
  connected(state: State): void {
    if (state !== "waiting") return;
    const lost = this.parts.asking.lost();
    if (lost.length > 0) this.parts.status.alert("The connection broke before the server answered.", lost.some((a) => a.spec));
    this.parts.refresh();
  }
}
