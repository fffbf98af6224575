// The token inspector: what each distribution thought of one token, and what it would have said instead.

import { make, one } from "../dom/dom";
import { formatLambda, formatNumber, percent } from "../lambda/lambda";
import { type Alternative, numbers } from "../protocol/protocol";
import { type Token, logRatio, tokenName } from "../run/run";
import { Line, lineOf } from "./line";
import { visible } from "./visible";

export interface About {
  token: Token;
  index: number;
}

/** Docked at the foot of the window: pinned to a token by a click or Enter. A pointer or arrow keys show one line beside it, and
 * take a pinned inspector along. */
export class Inspector {
  readonly id: string;
  private span: HTMLElement | null = null; // that it is pinned to
  names: readonly string[] = []; // of the aligned models
  private readonly branches: boolean;
  private readonly line: Line;

  constructor(
    private readonly box: HTMLElement,
    private readonly branch: (span: HTMLElement, id: number) => void,
    private readonly back: (span: HTMLElement) => void, // gives a token the focus again
  ) {
    this.id = box.id || "inspector";
    box.id = this.id;
    this.branches = "branches" in box.dataset;
    this.line = new Line(box);
    one(box, "[data-inspector-close]").addEventListener("click", () => this.leaveFor(this.span));
    box.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      this.leaveFor(this.span);
    });
    box.addEventListener("click", (event) => {
      const button = (event.target as Element).closest<HTMLElement>("[data-id]");
      const span = this.span;
      if (!button || !span) return;
      this.close();
      this.branch(span, Number(button.dataset.id));
    });
    document.addEventListener("scroll", () => this.line.hide(), { capture: true, passive: true });
  }

  /** A pointer rests on a token. */
  hover(span: HTMLElement, about: () => About | null): void {
    this.line.soon(span, () => {
      const found = about();
      return found ? lineOf(found.token) : "";
    });
  }

  leave(): void {
    this.line.hide();
  }

  /** The keys have come to a token: what is pinned goes along. */
  at(span: HTMLElement, about: About | null): void {
    if (this.span) this.pin(span, about);
    else if (about) this.line.show(span, lineOf(about.token));
  }

  pin(span: HTMLElement, about: About | null): void {
    this.line.hide();
    if (!about || !span.isConnected) return;
    this.span?.removeAttribute("data-inspected");
    this.span = span;
    span.dataset.inspected = "";
    this.fill(about);
    this.box.hidden = false;
    const covered = span.getBoundingClientRect().bottom - this.box.getBoundingClientRect().top;
    if (covered > 0) window.scrollBy({ top: covered + 12 });
  }

  focus(): void {
    const first = this.box.querySelector<HTMLElement>("[data-id]") ?? one(this.box, "[data-inspector-close]");
    first.focus();
  }

  /** Closes it; false if it was not open. */
  close(): boolean {
    this.line.hide();
    if (!this.span) return false;
    this.span.removeAttribute("data-inspected");
    this.span = null;
    this.box.hidden = true;
    return true;
  }

  private leaveFor(span: HTMLElement | null): void {
    this.close();
    if (span?.isConnected) this.back(span);
  }

  private fill({ token, index }: About): void {
    one(this.box, "[data-inspector-token]").textContent = visible(tokenName(token));
    one(this.box, "[data-inspector-place]").textContent = `token ${index + 1} · id ${token.id} · λ ${formatLambda(token.lambda)}`;
    const table = one(this.box, "[data-inspector-numbers]");
    const columns = one(this.box, "[data-inspector-columns]");
    const hint = one(this.box, "[data-inspector-hint]");
    table.replaceChildren();
    columns.replaceChildren();
    hint.textContent = "";
    if (!token.logp) {
      hint.textContent = "No probabilities were recorded for this token.";
      return;
    }
    const aligned = numbers(token.logp.aligned);
    const many = aligned.length > 1;
    const alone = aligned.length === 0; // λ is in the weights: one model decoded it
    const mixture = alone ? "Model" : "Mixture";
    const rows: [string, string, number][] = alone ? [] : [["reference", "Reference", value(token.logp.reference)]];
    rows.push(["mixture", mixture, value(token.logp.mixture)]);
    for (const [i, x] of aligned.entries()) rows.push(["aligned", many ? (this.names[i] ?? `Aligned ${i + 1}`) : "Aligned", x]);
    for (const [kind, name, logp] of rows) {
      table.append(make("div", { class: "inspector-row", "data-kind": kind }, make("span", {}, name), bar(logp), make("b", {}, percent(Math.exp(logp)))));
    }
    const facts = make("p", { class: "inspector-facts faint" });
    const ratio = logRatio(token);
    if (ratio !== null) {
      facts.append("log π", make("sub", {}, "al"), " − log π", make("sub", {}, "ref"), ` = ${ratio > 0 ? "+" : ""}${formatNumber(ratio, 2)}`);
    }
    if (token.kl !== undefined) facts.append(` · KL to the reference ${formatNumber(token.kl, 3)} nats`);
    table.append(facts);
    if (!token.top) return;
    const lists: [string, string, Alternative[]][] = alone ? [] : [["reference", "Reference", token.top.reference ?? []]];
    lists.push(["mixture", mixture, token.top.mixture ?? []]);
    for (const [i, list] of (token.top.aligned ?? []).entries()) lists.push(["aligned", many ? (this.names[i] ?? `Aligned ${i + 1}`) : "Aligned", list ?? []]);
    for (const [kind, name, list] of lists) columns.append(this.list(kind, name, list, token.id));
    if (this.branches) hint.textContent = "Choose an alternative to continue from it in a new lane.";
  }

  private list(kind: string, name: string, list: readonly Alternative[], chosen: number): HTMLElement {
    const items = list.map((alternative) => {
      const logp = value(alternative.logp);
      const words = [make("span", { class: "alternative-name" }, visible(alternative.name)), make("span", { class: "alternative-p num" }, percent(Math.exp(logp))), bar(logp)];
      const attributes: Record<string, string> = { class: "alternative" };
      if (alternative.id === chosen) attributes["data-chosen"] = "";
      if (!this.branches || alternative.id === chosen) return make("li", {}, make("span", attributes, ...words));
      return make("li", {}, make("button", { ...attributes, type: "button", "data-id": String(alternative.id), title: "Continue from this in a new lane" }, ...words));
    });
    return make("div", { class: "inspector-list", "data-kind": kind }, make("h3", { class: "inspector-list-name" }, name), make("ol", {}, ...items));
  }
}

function value(logp: number | null): number {
  return logp ?? Number.NEGATIVE_INFINITY;
}

/** A bar as long as a probability. */
function bar(logp: number): HTMLElement {
  const meter = make("span", { class: "meter", "aria-hidden": "true" }, make("span", { class: "meter-fill" }));
  (meter.firstElementChild as HTMLElement).style.setProperty("--p", String(Math.exp(logp)));
  return meter;
}
