// The token inspector: what each distribution thought of one token, and what it would have said instead.

import { make, one } from "../dom/dom";
import { formatLambda, formatNumber, percent } from "../lambda/lambda";
import { type Alternative, numbers } from "../protocol/protocol";
import { type Token, logRatio, tokenName } from "../run/run";

export interface About {
  token: Token;
  index: number;
}

export class Inspector {
  readonly id: string;
  private span: HTMLElement | null = null;
  names: readonly string[] = []; // of the aligned models
  private pinned = false;
  private timer = 0;
  private readonly branches: boolean;

  constructor(
    private readonly box: HTMLElement,
    private readonly branch: (span: HTMLElement, id: number) => void,
    private readonly back: (span: HTMLElement) => void, // gives a token the focus again
  ) {
    this.id = box.id || "inspector";
    box.id = this.id;
    this.branches = "branches" in box.dataset;
    one(box, "[data-inspector-close]").addEventListener("click", () => this.leaveFor(this.span));
    box.addEventListener("pointerenter", () => clearTimeout(this.timer));
    box.addEventListener("pointerleave", () => this.leave());
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
    document.addEventListener("pointerdown", (event) => {
      const target = event.target as Element;
      if (this.span && !this.box.contains(target) && !target.closest(".t[data-i]")) this.close();
    });
    document.addEventListener("scroll", () => this.span && this.place(), { capture: true, passive: true });
    window.addEventListener("resize", () => this.span && this.place());
  }

  /** A pointer rests on a token: show it after a moment, unless one is pinned. */
  hover(span: HTMLElement, about: () => About | null): void {
    clearTimeout(this.timer);
    if (this.pinned) return;
    this.timer = window.setTimeout(() => this.show(span, about()), this.span ? 60 : 180);
  }

  /** The pointer has gone: close after a moment, so that it can travel into the inspector. */
  leave(): void {
    clearTimeout(this.timer);
    if (this.pinned) return;
    this.timer = window.setTimeout(() => !this.box.contains(document.activeElement) && this.close(), 250);
  }

  pin(span: HTMLElement, about: About | null): void {
    this.show(span, about);
    this.pinned = this.span !== null;
  }

  focus(): void {
    const first = this.box.querySelector<HTMLElement>("[data-id]") ?? one(this.box, "[data-inspector-close]");
    first.focus();
  }

  show(span: HTMLElement, about: About | null): void {
    clearTimeout(this.timer);
    if (!about || !span.isConnected) return;
    this.span?.removeAttribute("data-inspected");
    this.span = span;
    span.dataset.inspected = "";
    this.fill(about);
    this.box.hidden = false;
    this.place();
  }

  /** Closes it; false if it was not open. */
  close(): boolean {
    clearTimeout(this.timer);
    this.pinned = false;
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
    const rows: [string, string, number][] = [["reference", "Reference", value(token.logp.reference)]];
    rows.push(["mixture", "Mixture", value(token.logp.mixture)]);
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
    const lists: [string, string, Alternative[]][] = [
      ["reference", "Reference", token.top.reference ?? []],
      ["mixture", "Mixture", token.top.mixture ?? []],
    ];
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

  private place(): void {
    const span = this.span;
    if (!span?.isConnected) {
      this.close();
      return;
    }
    const at = span.getBoundingClientRect();
    if (at.bottom < 0 || at.top > innerHeight) {
      if (!this.box.contains(document.activeElement)) this.close();
      return;
    }
    const { offsetWidth: width, offsetHeight: height } = this.box;
    const below = at.bottom + 6;
    const top = below + height <= innerHeight - 8 ? below : Math.max(8, at.top - height - 6);
    const left = Math.max(8, Math.min(at.left - 12, innerWidth - width - 8));
    this.box.style.setProperty("--x", `${Math.round(left)}px`);
    this.box.style.setProperty("--y", `${Math.round(top)}px`);
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

/** A token's name with its white space made visible. */
export function visible(name: string): string {
  return name.replace(/\n/g, "⏎").replace(/\t/g, "⇥").replace(/^ | $/g, "␣") || "∅";
}
