// One connection to the server that comes back by itself and misses nothing: each watched run has a
// cursor, and a new connection asks for what comes after it.

import { type ClientFrame, type ServerFrame, readFrame } from "../protocol/protocol";

export type State = "connecting" | "open" | "waiting" | "closed";

/** The part of WebSocket that is used. */
export interface Wire {
  onopen: (() => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  send(data: string): void;
  close(): void;
}

export interface Options {
  open: () => Wire;
  onFrame: (frame: ServerFrame) => void;
  /** retryMs is how long it waits before it tries again. */
  onState: (state: State, retryMs: number) => void;
  later: (ms: number, then: () => void) => () => void;
  random: () => number;
}

/** Waits before a try: doubling from half a second to 15 s, with jitter so that browsers do not come at once. */
export function backoff(tries: number, random: () => number): number {
  const top = Math.min(15_000, 500 * 2 ** Math.min(tries, 10));
  return Math.round(top * (0.5 + 0.5 * random()));
}

export class Connection {
  state: State = "connecting";
  private wire: Wire | null = null;
  private tries = 0;
  private cancel: (() => void) | null = null;
  private readonly cursors = new Map<string, number>();
  private readonly unsent: ClientFrame[] = [];

  constructor(private readonly options: Options) {}

  start(): void {
    this.connect();
  }

  /** Tries now instead of waiting out the back-off. */
  retry(): void {
    if (this.state !== "waiting") return;
    this.cancel?.();
    this.connect();
  }

  close(): void {
    this.set("closed", 0);
    this.cancel?.();
    this.wire?.close();
    this.wire = null;
  }

  /** Sends now, or as soon as there is a connection. */
  send(frame: ClientFrame): void {
    if (this.state === "open" && this.wire) this.wire.send(JSON.stringify(frame));
    else this.unsent.push(frame);
  }

  /** Follows a run from a number on, now and after every reconnect. */
  watch(run: string, after: number): void {
    const told = this.cursors.has(run);
    this.cursors.set(run, after);
    if (!told && this.state === "open") this.send({ type: "watch", run, after });
  }

  /** The server follows this run for us without being asked, as it does after start. */
  follow(run: string): void {
    if (!this.cursors.has(run)) this.cursors.set(run, 0);
  }

  unwatch(run: string): void {
    if (!this.cursors.delete(run)) return;
    if (this.state === "open") this.send({ type: "unwatch", run });
  }

  private connect(): void {
    this.set("connecting", 0);
    const wire = this.options.open();
    this.wire = wire;
    wire.onopen = () => {
      if (wire !== this.wire) return;
      this.set("open", 0);
      for (const [run, after] of this.cursors) wire.send(JSON.stringify({ type: "watch", run, after }));
      for (const frame of this.unsent.splice(0)) wire.send(JSON.stringify(frame));
    };
    wire.onmessage = (event) => {
      if (wire !== this.wire || typeof event.data !== "string") return;
      const frame = readFrame(event.data);
      if (frame) this.receive(frame);
    };
    wire.onclose = () => {
      if (wire !== this.wire || this.state === "closed") return;
      this.wire = null;
      const wait = backoff(this.tries++, this.options.random);
      this.set("waiting", wait);
      this.cancel = this.options.later(wait, () => this.connect());
    };
  }

  private receive(frame: ServerFrame): void {
    if (frame.type === "hello") this.tries = 0;
    if (frame.type === "events") {
      const cursor = this.cursors.get(frame.run);
      if (cursor === undefined) return; // not watched any more
      const last = frame.first + frame.events.length - 1;
      if (frame.first > cursor + 1) {
        // A gap must not be shown: ask again from the cursor.
        this.send({ type: "watch", run: frame.run, after: cursor });
        return;
      }
      if (last > cursor) this.cursors.set(frame.run, last);
    }
    this.options.onFrame(frame);
  }

  private set(state: State, retryMs: number): void {
    this.state = state;
    this.options.onState(state, retryMs);
  }
}
