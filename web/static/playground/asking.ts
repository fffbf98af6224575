// What was asked of the server and has not been answered. No DOM here.

import type { Column } from "../lanes/column";
import type { Message, Spec } from "../protocol/protocol";

/** Which part of the page a run is for: lanes side by side, the map under the slider, or the text at the slider's λ alone. */
export type Purpose = "lanes" | "map" | "thumb";

export interface Asked {
  ref: string;
  purpose: Purpose;
  spec?: Spec; // of a start
  before: readonly Message[]; // the conversation that the spec's parent stands for
  columns: Column[]; // that wait for it
}

export class Asking {
  private list: Asked[] = [];
  private refs = 0;

  /** True while a run is being started. */
  get starting(): boolean {
    return this.list.some((a) => a.spec);
  }

  add(purpose: Purpose, columns: Column[], spec?: Spec, before: readonly Message[] = []): string {
    const ref = `r${++this.refs}`;
    this.list.push({ ref, purpose, columns, before, ...(spec ? { spec } : {}) });
    return ref;
  }

  /** Takes what an answer belongs to off the list. */
  answered(ref: string | undefined): Asked | undefined {
    const found = ref === undefined ? undefined : this.list.find((a) => a.ref === ref);
    if (found) this.list = this.list.filter((a) => a !== found);
    return found;
  }

  find(ref: string | undefined): Asked | undefined {
    return this.list.find((a) => a.ref === ref);
  }

  /** Columns that wait for lanes to be added to the run. */
  get waiting(): Column[] {
    return this.list.filter((a) => !a.spec).flatMap((a) => a.columns);
  }

  /** The lane that a column waited for has come. */
  arrived(column: Column): void {
    this.list = this.list
      .map((a) => (a.spec ? a : { ...a, columns: a.columns.filter((other) => other !== column) }))
      .filter((a) => a.spec || a.columns.length > 0);
  }

  /** Only starts are still waited for: the lanes' run was left. */
  left(): void {
    this.list = this.list.filter((a) => a.spec || a.purpose !== "lanes");
  }

  /** The connection broke: no answer comes any more. */
  lost(): Asked[] {
    const lost = this.list;
    this.list = [];
    for (const a of lost) for (const column of a.columns) column.waiting = false;
    return lost;
  }
}
