// Moves of λ: sent while a lane runs, as often as an eye needs; and waited for until λ rests, where a lane has to be decoded anew.

import type { Column } from "../lanes/column";

const every = 80; // ms, from one frame to the next while a slider moves
const rest = 400; // ms without a move: it is where it is wanted

export class Moves {
  private readonly moving = new Map<Column, number>();
  private readonly resting = new Map<Column, number>();

  constructor(
    private readonly send: (column: Column) => void,
    private readonly rested: (column: Column) => void,
  ) {}

  /** λ of a lane that runs was moved. */
  steer(column: Column, settled: boolean): void {
    const timer = this.moving.get(column);
    if (settled) {
      clearTimeout(timer);
      this.now(column);
    } else if (timer === undefined) this.moving.set(column, window.setTimeout(() => this.now(column), every));
  }

  /** λ of a lane that does not run was let go. */
  settle(column: Column): void {
    clearTimeout(this.resting.get(column));
    this.resting.set(column, window.setTimeout(() => {
      this.resting.delete(column);
      this.rested(column);
    }, rest));
  }

  /** Whether λ of a column is being moved. */
  has(column: Column): boolean {
    return this.moving.has(column) || this.resting.has(column);
  }

  clear(): void {
    for (const timers of [this.moving, this.resting]) {
      for (const timer of timers.values()) clearTimeout(timer);
      timers.clear();
    }
  }

  private now(column: Column): void {
    this.moving.delete(column);
    this.send(column);
  }
}
