// Tokens under the pointer and the keys: a line about the one that is pointed at, and the inspector for the one that is pressed.

import { one } from "../dom/dom";
import type { Inspector } from "../inspect/inspect";
import { type Token, tokenName } from "../run/run";
import type { Column } from "./column";

export interface TokenStage {
  readonly box: HTMLElement;
  readonly inspector: Inspector;
  columnOf(node: Node | null): Column | undefined;
}

const tokenAt = (target: EventTarget | null) => (target instanceof Element ? target.closest<HTMLElement>(".t[data-i]") : null);

export class Tokens {
  constructor(private readonly stage: TokenStage) {}

  wire(): void {
    const { box } = this.stage;
    box.addEventListener("pointerover", (event) => {
      const span = tokenAt(event.target);
      if (span && event.pointerType === "mouse") this.stage.inspector.hover(span, () => this.describe(span));
    });
    box.addEventListener("pointerout", (event) => {
      if (event.pointerType === "mouse" && tokenAt(event.target)) this.stage.inspector.leave();
    });
    box.addEventListener("click", (event) => {
      const span = tokenAt(event.target);
      if (!span || !(getSelection()?.isCollapsed ?? true)) return;
      this.focus(span);
      this.stage.inspector.pin(span, this.describe(span));
    });
    box.addEventListener("keydown", (event) => this.key(event));
    box.addEventListener("focusout", (event) => {
      const span = tokenAt(event.target);
      if (span) unmark(span);
    });
  }

  wireColumn(column: Column): void {
    one(column.element, "[data-parting-button]").addEventListener("click", () => {
      const span = column.text.span(column.text.parts.left);
      if (span) this.go(span);
    });
  }

  private describe(span: HTMLElement) {
    const column = this.stage.columnOf(span);
    const index = Number(span.dataset.i);
    const token = column?.lane?.tokens[index];
    return token ? { token, index } : null;
  }

  private go(span: HTMLElement): void {
    this.focus(span);
    span.scrollIntoView({ block: "nearest" });
    this.stage.inspector.at(span, this.describe(span));
  }

  focus(span: HTMLElement): void {
    const about = this.describe(span);
    if (!about) return;
    mark(span, about.token, about.index, this.stage.inspector.id);
    span.focus();
  }

  /** Keys inside the text of a lane. */
  private key(event: KeyboardEvent): void {
    const target = event.target as HTMLElement;
    if (!target.closest("[data-text]") || event.ctrlKey || event.metaKey || event.altKey) return;
    const column = this.stage.columnOf(target);
    const tokens = column?.lane?.tokens ?? [];
    if (!column || tokens.length === 0) return;
    const here = target.matches(".t") ? Number(target.dataset.i) : -1;
    const { left, right } = column.text.parts;
    const places: Record<string, number> = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: tokens.length - 1, d: left >= 0 ? left : right };
    const to = places[event.key];
    if (to === undefined) {
      this.press(event, target, here);
      return;
    }
    event.preventDefault();
    event.stopPropagation();
    const span = column.text.span(Math.max(0, Math.min(tokens.length - 1, to)));
    if (span && to >= 0) this.go(span);
  }

  private press(event: KeyboardEvent, target: HTMLElement, here: number): void {
    const { inspector } = this.stage;
    if ((event.key === "Enter" || event.key === " ") && here >= 0) {
      event.preventDefault();
      inspector.pin(target, this.describe(target));
      inspector.focus();
    } else if (event.key === "Escape" && inspector.close()) {
      event.preventDefault();
      event.stopPropagation();
    }
  }
}

/** A token is text until it has the focus: only then is it a button, so that text reads as text. */
function mark(span: HTMLElement, token: Token, index: number, controls: string): void {
  span.tabIndex = -1;
  span.setAttribute("role", "button");
  span.setAttribute("aria-haspopup", "dialog");
  span.setAttribute("aria-controls", controls);
  span.setAttribute("aria-label", `Token ${index + 1}: ${tokenName(token).trim() || "white space"}`);
}

function unmark(span: HTMLElement): void {
  for (const name of ["tabindex", "role", "aria-haspopup", "aria-controls", "aria-label"]) span.removeAttribute(name);
}
