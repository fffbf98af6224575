// What stands below the text of a lane: how long it is, how far from the reference, why it ended, and what can be done.

import { one, tell, write } from "../dom/dom";
import { formatNumber } from "../lambda/lambda";
import type { Lane } from "../run/run";

/** Why a lane ended, as the pages say it (web/templates/format.go). Fewer tokens than the limit: the context had no room for more. */
export function ending(reason: string, tokens: number, most: number): string {
  if (reason === "length") return most > 0 && tokens < most ? "cut off: the context is full" : "cut off at the token limit";
  const names: Record<string, string> = { stop: "ended by itself", cancelled: "stopped", error: "broken off" };
  return names[reason] ?? reason;
}

export class Foot {
  private readonly box: HTMLElement;
  private readonly count: HTMLElement;
  private readonly klLine: HTMLElement;
  private readonly kl: HTMLElement;
  private readonly reason: HTMLElement;
  private readonly failure: HTMLElement;

  constructor(private readonly element: HTMLElement) {
    this.box = one(element, "[data-foot]");
    this.count = one(this.box, "[data-count]");
    this.klLine = one(this.box, "[data-kl-line]");
    this.kl = one(this.box, "[data-kl]");
    this.reason = one(this.box, "[data-reason]");
    this.failure = one(this.box, "[data-failure]");
  }

  /** Says what has become of a lane; most is its run's token limit. */
  draw(lane: Lane | null, most: number): void {
    this.box.hidden = lane === null;
    if (!lane) return;
    write(this.count, String(lane.tokens.length));
    this.klLine.hidden = !lane.traced;
    if (lane.traced) write(this.kl, formatNumber(lane.kl, 2));
    write(this.reason, lane.reason === "" ? "" : ending(lane.reason, lane.tokens.length, most));
    tell(this.failure, lane.error?.message ?? "");
    this.show("[data-stop]", lane.reason === "");
    this.show("[data-reply]", lane.reason !== "" && lane.tokens.length > 0 && lane.reason !== "error");
    this.show("[data-write-on]", lane.reason === "length");
  }

  private show(hook: string, shown: boolean): void {
    const button = this.element.querySelector<HTMLElement>(hook);
    if (button && button.hidden === shown) button.hidden = !shown;
  }
}
