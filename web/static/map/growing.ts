// A live λ-map as its events add up to it: what is certain for every λ so far. No DOM here.

import type { RunEvent } from "../protocol/protocol";
import type { Along, Branch, MapData } from "./along";

export class GrowingMap {
  private readonly parts: Branch[]; // side by side in the order of λ
  private readonly forks = new Map<number, number>(); // λ of a fork to the token at which the texts part
  texts = 0; // known to their end
  covered = 0; // share of the interval that they have, 0 to 1

  constructor(
    readonly from: number,
    readonly to: number,
    private readonly along: Along,
  ) {
    this.parts = [{ from, to, reason: "", pieces: [], at: [], part: 0 }];
  }

  /** Takes an event; true if it changed what is known. */
  take(event: RunEvent): boolean {
    switch (event.type) {
      case "step": {
        const { span, index, text } = event;
        if (!span || index === undefined) return false;
        // What ends at a token and what goes on after it may lie in one part until now.
        this.cut(span.from);
        this.cut(span.to);
        for (const part of this.within(span.from, span.to)) if (part.pieces.length === index) part.pieces.push(text ?? "");
        return true;
      }
      case "fork":
        if (!event.fork) return false;
        this.forks.set(event.fork.lambda, event.fork.index);
        this.cut(event.fork.lambda);
        return true;
      case "branch": {
        const { branch } = event;
        if (!branch) return false;
        this.cut(branch.from);
        this.cut(branch.to);
        for (const part of this.within(branch.from, branch.to)) {
          part.reason = branch.reason;
          if (branch.pieces) part.pieces = [...branch.pieces];
        }
        if (branch.reason === "stop" || branch.reason === "length") {
          this.texts++;
          this.covered += (branch.to - branch.from) / (this.to - this.from);
        }
        return true;
      }
    }
    return false;
  }

  /** The map as it is read: the parts with the tokens at which texts at other λ go another way. */
  data(): MapData {
    const parts = this.parts.map((part, i) => ({ ...part, part: i === 0 ? 0 : this.parting(i) }));
    for (const [i, part] of parts.entries()) part.at = this.path(parts, i);
    return { from: this.from, to: this.to, ...this.along, branches: parts };
  }

  /** The token at which a part goes another way than the one below it. */
  private parting(i: number): number {
    const below = this.parts[i - 1] as Branch;
    const above = this.parts[i] as Branch;
    const told = this.forks.get(above.from);
    if (told !== undefined) return told;
    let at = 0;
    while (at < below.pieces.length && at < above.pieces.length && below.pieces[at] === above.pieces[at]) at++;
    return at;
  }

  private path(parts: readonly Branch[], i: number): number[] {
    const seen = new Set<number>();
    const walk = (list: readonly Branch[]) => {
      let low = Number.POSITIVE_INFINITY;
      for (const { part } of list) seen.add((low = Math.min(low, part)));
    };
    walk(parts.slice(1, i + 1).reverse());
    walk(parts.slice(i + 1));
    return [...seen].sort((a, b) => a - b);
  }

  private within(from: number, to: number): Branch[] {
    return this.parts.filter((part) => from <= part.from && part.to <= to);
  }

  /** Makes a λ the edge of two parts. */
  private cut(lambda: number): void {
    const i = this.parts.findIndex((part) => part.from < lambda && lambda < part.to);
    const part = this.parts[i];
    if (!part) return;
    this.parts.splice(i, 1, { ...part, to: lambda }, { ...part, from: lambda, pieces: [...part.pieces] });
  }
}
