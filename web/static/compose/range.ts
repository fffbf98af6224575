// What the slider moves along: an interval of λ, or with several aligned models a line between two mixtures.

import { one } from "../dom/dom";
import { notNumber, parseLambda, plain, total } from "../lambda/lambda";
import { type Limits, type MapSpec, vector } from "../protocol/protocol";
import type { Fault } from "./faults";

type End = "from" | "to";

export class Range {
  constructor(
    private readonly form: HTMLFormElement,
    private readonly limits: () => Limits,
  ) {}

  private field(end: End): HTMLInputElement {
    return one<HTMLInputElement>(this.form, `[data-map-${end}]`);
  }

  /** The two ends as they are typed; NaN is what cannot be read. */
  end(end: End): number[] {
    return this.field(end).value.split(":").map(parseLambda);
  }

  set(end: End, lambda: readonly number[]): void {
    this.field(end).value = lambda.map(plain).join(":");
  }

  /** There are n aligned models now: an end that has another number of λ shares out its sum. */
  fit(n: number): void {
    for (const end of ["from", "to"] as const) {
      const v = this.end(end);
      const sum = total(v);
      if (n > 0 && v.length !== n && !Number.isNaN(sum)) this.set(end, Array<number>(n).fill(Math.round((sum / n) * 1e6) / 1e6));
    }
    one(this.form, "[data-map-from-words]").textContent = n > 1 ? "Slider from λ of each model, colons between" : "Slider from λ";
  }

  /** Reads it for n aligned models, and adds what is wrong with it. */
  read(n: number, faults: Fault[]): MapSpec {
    const [from, to] = [this.check("from", n, faults), this.check("to", n, faults)];
    const branches = Number(one<HTMLInputElement>(this.form, "[data-map-branches]").value);
    if (!Number.isInteger(branches) || branches < 1) faults.push({ field: "branches", message: "A whole number from 1." });
    const base = { sample: 0, branches };
    if (n > 1) {
      if (from.every((x, i) => x === to[i])) faults.push({ field: "to", message: "It is where the line begins: a line is between two λ." });
      return { ...base, from: 0, to: 1, line: { from: vector(from), to: vector(to) } };
    }
    const [a = Number.NaN, b = Number.NaN] = [from[0], to[0]];
    if (a >= b) faults.push({ field: "to", message: "Above where it begins." });
    return { ...base, from: a, to: b };
  }

  private check(end: End, n: number, faults: Fault[]): number[] {
    const { lambda_min, lambda_max } = this.limits();
    const v = this.end(end);
    if (v.length !== Math.max(1, n)) {
      faults.push({ field: end, message: `${v.length} λ, and ${n} aligned models are ticked: write ${Array<string>(Math.max(1, n)).fill("0").join(":")}, for instance.` });
      return v;
    }
    const wrong = v.findIndex((x) => Number.isNaN(x));
    if (wrong >= 0) faults.push({ field: end, message: notNumber(this.field(end).value.split(":")[wrong] ?? "") });
    else if (v.some((x) => x < lambda_min || x > lambda_max)) faults.push({ field: end, message: `From ${lambda_min} to ${lambda_max}.` });
    return v;
  }
}
