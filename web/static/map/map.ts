// Moving along a λ-map that the server has drawn: the text follows λ at once, and forks say why they are there.

import { all, make, one, tell } from "../dom/dom";
import { effectiveBeta, formatNumber, notNumber, parseLambda, plain, words as placeOf } from "../lambda/lambda";
import { type Branch, type MapData, between, branchAt, ending, known, pieces, quoted } from "./along";

/** A λ that was pointed at has few digits. */
const byEye = (x: number) => Number(x.toFixed(4));

const lambdaText = (x: number) => formatNumber(x, 4);

/** What a section tells of its slider. */
export interface SectionEvents {
  moved(lambda: number): void;
  settled(lambda: number): void;
}

export class MapSection {
  private data: MapData;
  lambda: number;
  private shown = -1; // place of the branch that is read
  private fork = ""; // number of the fork that is explained; "" is none
  private readonly slider: HTMLInputElement;
  private readonly number: HTMLInputElement;
  private timer = 0;
  private quiet = false; // a fork gets the focus back, and need not say again why it is there

  constructor(
    private readonly section: HTMLElement,
    private readonly events: SectionEvents | null = null,
  ) {
    this.data = JSON.parse(section.dataset.map ?? "null") as MapData;
    this.slider = one(section, "[data-map-slider]");
    this.number = one(section, "[data-map-number]");
    this.lambda = Number(this.number.value);
    this.slider.hidden = this.number.hidden = false;
    one(section, "[data-map-fixed]").hidden = true;
    one(section, "[data-map-steps]").hidden = false;
    this.slider.addEventListener("input", () => this.move(byEye(Number(this.slider.value)), this.slider));
    this.slider.addEventListener("change", () => this.events?.settled(this.lambda));
    this.slider.addEventListener("keydown", (event) => this.page(event));
    this.number.addEventListener("input", () => this.typed(false));
    this.number.addEventListener("change", () => this.typed(true));
    this.number.addEventListener("keydown", (event) => this.page(event));
    for (const button of all(section, "[data-map-step]")) {
      button.addEventListener("click", () => this.step(Number(button.dataset.mapStep)));
    }
    section.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.fork !== "") {
        event.preventDefault();
        this.close();
      }
    });
    this.wire();
    this.move(this.lambda);
  }

  get betas(): number[] {
    return this.data.betas;
  }

  /** Takes what is known by now, while the map grows or after it. */
  take(data: MapData, growing: boolean): void {
    this.data = data;
    this.section.dataset.mapState = growing ? "growing" : this.section.dataset.mapState === "growing" ? "read" : (this.section.dataset.mapState ?? "");
    this.shown = -1;
    this.move(this.lambda, this.number === document.activeElement ? this.number : undefined);
  }

  /** Says why the text does not follow the thumb at once; "" when it does. */
  release(why: string): void {
    tell(one(this.section, "[data-map-release]"), why);
  }

  /** Takes over what the server has drawn anew, as the map grows. What is read is not older for it. */
  update(drawn: HTMLElement): void {
    const explained = this.section.querySelector<HTMLElement>(`[data-map-fork="${this.fork}"]`)?.dataset.lambda;
    for (const part of all(this.section, "[data-map-part]")) {
      const next = drawn.querySelector<HTMLElement>(`[data-map-part="${part.dataset.mapPart}"]`);
      if (!next) continue;
      const open = all<HTMLDetailsElement>(part, "details").map((details) => details.open);
      const focused = part.contains(document.activeElement) ? (document.activeElement as HTMLElement).dataset.mapMark : undefined;
      part.replaceWith(next);
      for (const [i, details] of all<HTMLDetailsElement>(next, "details").entries()) details.open = open[i] ?? details.open;
      if (focused) next.querySelector<SVGElement>(`[data-map-mark="${focused}"]`)?.focus();
    }
    for (const name of ["map", "mapState"]) this.section.dataset[name] = drawn.dataset[name] ?? "";
    if (drawn.dataset.mapState !== "growing") this.data = JSON.parse(drawn.dataset.map ?? "null") as MapData;
    this.shown = -1;
    this.wire();
    if (this.fork !== "") this.reopen(explained);
    this.move(this.lambda, this.number === document.activeElement ? this.number : undefined);
  }

  /** Listeners on what is drawn. */
  private wire(): void {
    const river = one<HTMLElement>(this.section, "[data-map-river]");
    const drag = (event: PointerEvent) => {
      const box = river.getBoundingClientRect();
      this.move(byEye(this.data.from + ((event.clientX - box.left) / box.width) * (this.data.to - this.data.from)));
    };
    river.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || (event.target as Element).closest("[data-map-mark]")) return;
      river.setPointerCapture(event.pointerId);
      drag(event);
    });
    river.addEventListener("pointermove", (event) => {
      if (river.hasPointerCapture(event.pointerId)) drag(event);
    });
    const marks = all(river, "[data-map-mark]");
    for (const [i, mark] of marks.entries()) {
      mark.setAttribute("role", "button");
      mark.setAttribute("tabindex", i === 0 ? "0" : "-1"); // one stop for Tab; arrows go from fork to fork
      mark.addEventListener("click", (event) => {
        event.preventDefault();
        this.explain(mark.dataset.mapMark ?? "");
      });
      mark.addEventListener("focus", () => this.quiet || this.explain(mark.dataset.mapMark ?? ""));
      mark.addEventListener("keydown", (event) => {
        const to: Record<string, number> = { ArrowRight: i + 1, ArrowDown: i + 1, ArrowLeft: i - 1, ArrowUp: i - 1, Home: 0, End: marks.length - 1 };
        const place = to[event.key];
        if (place !== undefined) {
          event.preventDefault();
          marks[Math.min(Math.max(place, 0), marks.length - 1)]?.focus();
        } else if (event.key === "Enter" || event.key === " ") {
          event.preventDefault();
          one(this.section, "[data-map-why]").focus();
        }
      });
    }
  }

  // λ.

  private typed(settled: boolean): void {
    const x = parseLambda(this.number.value);
    const { from, to } = this.data;
    const sound = x >= from && x <= to;
    tell(one(this.section, "[data-map-error]"), sound ? "" : Number.isNaN(x) ? notNumber(this.number.value) : `The map is of λ from ${lambdaText(from)} to ${lambdaText(to)}.`);
    if (!sound) this.number.setAttribute("aria-invalid", "true");
    else this.move(x, settled ? undefined : this.number);
    if (sound && settled) this.events?.settled(x);
  }

  private page(event: KeyboardEvent): void {
    const way = event.key === "PageUp" ? 1 : event.key === "PageDown" ? -1 : 0;
    if (way === 0) return;
    event.preventDefault();
    this.step(way);
  }

  /** To the text above or below. */
  private step(way: number): void {
    const next = this.data.branches[this.shown + way];
    if (!next) return;
    this.move(between(next));
    this.events?.settled(this.lambda);
  }

  /** Shows the text at a λ. The field it was set in is left as it is. */
  move(lambda: number, source?: HTMLInputElement): void {
    const { from, to, branches, betas } = this.data;
    const before = this.lambda;
    this.lambda = Math.min(Math.max(lambda, from), to);
    if (this.lambda !== before) this.events?.moved(this.lambda);
    if (source !== this.slider) this.slider.value = String(this.lambda);
    if (source !== this.number) {
      this.number.value = plain(this.lambda);
      tell(one(this.section, "[data-map-error]"), "");
      this.number.removeAttribute("aria-invalid");
    }
    const place = branchAt(this.data, this.lambda);
    const branch = branches[place];
    const cursor = one(this.section, "[data-map-cursor]");
    const x = `${((100 * (this.lambda - from)) / (to - from)).toFixed(3)}%`;
    for (const name of ["x1", "x2"]) cursor.setAttribute(name, x);
    cursor.setAttribute("visibility", "visible");
    const beta = effectiveBeta([this.lambda], betas);
    const shownBeta = one(this.section, "[data-map-beta]");
    shownBeta.hidden = beta === "";
    one(shownBeta, "[data-map-beta-value]").textContent = beta;
    one(this.section, "[data-map-place-name]").textContent = placeOf([this.lambda]);
    const lane = this.section.querySelector<HTMLAnchorElement>("[data-map-lane]");
    if (lane) lane.href = `${this.section.dataset.mapLanes}${plain(this.lambda)}`;
    this.slider.setAttribute("aria-valuetext", `${lambdaText(this.lambda)}, text ${place + 1} of ${branches.length}`);
    one(this.section, "[data-map-text]").setAttribute("aria-label", `Text at λ = ${lambdaText(this.lambda)}`);
    if (place !== this.shown && branch) this.read(place, branch);
  }

  private read(place: number, branch: Branch): void {
    const first = this.shown < 0;
    this.shown = place;
    const text = one(this.section, "[data-map-text]");
    text.replaceChildren(...words(branch, this.section.dataset.mapState === "growing"));
    one(this.section, "[data-map-span]").textContent = `the same from ${lambdaText(branch.from)} to ${lambdaText(branch.to)}`;
    for (const band of all(this.section, ".map-band")) {
      const on = Number(band.dataset.from) <= branch.from && branch.to <= Number(band.dataset.to);
      band.toggleAttribute("data-on", on);
    }
    for (const row of all(this.section, "[data-map-row]")) row.toggleAttribute("data-on", row.dataset.mapRow === String(place));
    for (const button of all<HTMLButtonElement>(this.section, "[data-map-step]")) {
      const way = Number(button.dataset.mapStep);
      const next = this.data.branches[place + way];
      button.disabled = !next;
      const edge = way < 0 ? branch.from : branch.to;
      const at = way < 0 ? branch.part : (next?.part ?? 0);
      const token = next?.pieces[at];
      const what = token === undefined ? (next ? "another text" : "the end") : quoted(token);
      button.textContent = way < 0 ? `← below ${lambdaText(edge)}: ${what}` : `above ${lambdaText(edge)}: ${what} →`;
      if (!next) button.textContent = way < 0 ? "← where the map begins" : "where the map ends →";
    }
    clearTimeout(this.timer);
    if (!first && this.section.dataset.mapState !== "growing") this.timer = window.setTimeout(() => this.say(`Text ${place + 1} of ${this.data.branches.length}: ${branch.pieces.join("")}`), 600);
  }

  private say(text: string): void {
    one(this.section, "[data-map-say]").textContent = text;
  }

  // Forks.

  private explain(fork: string): void {
    const source = this.section.querySelector<HTMLElement>(`[data-map-fork="${fork}"]`);
    if (!source || fork === this.fork) return;
    this.fork = fork;
    const lambda = Number(source.dataset.lambda);
    for (const mark of all(this.section, "[data-map-mark]")) {
      const on = mark.dataset.mapMark === fork;
      mark.toggleAttribute("data-on", on);
      mark.setAttribute("tabindex", on ? "0" : "-1");
    }
    const close = make("button", { type: "button", class: "button button-quiet button-small" }, "Close");
    close.addEventListener("click", () => this.close());
    const place = branchAt(this.data, lambda);
    const go = (to: Branch | undefined, label: string) => {
      const button = make("button", { type: "button", class: "button button-small" }, label);
      button.addEventListener("click", () => to && this.move(between(to)));
      return button;
    };
    const copy = [...source.childNodes].map((node) => node.cloneNode(true));
    const panel = one(this.section, "[data-map-why]");
    panel.replaceChildren(
      make("div", { class: "map-why-head" }, make("h3", {}, "Why it forks"), close), ...copy,
      make("div", { class: "row" }, go(this.data.branches[place - 1], "Text below it"), go(this.data.branches[place], "Text above it")),
    );
    panel.hidden = false;
    this.say(panel.querySelector(".map-sentence")?.textContent ?? "");
  }

  /** Explains a fork again that was explained when the map was drawn anew; its number may be another. */
  private reopen(lambda: string | undefined): void {
    const again = all<HTMLElement>(this.section, "[data-map-fork]").find((fork) => fork.dataset.lambda === lambda)?.dataset.mapFork;
    const panel = one(this.section, "[data-map-why]");
    if (again === undefined) return this.close();
    if (panel.contains(document.activeElement)) {
      this.fork = again; // somebody reads in it, or is about to press one of its buttons
      return;
    }
    this.fork = "";
    this.explain(again);
  }

  private close(): void {
    const panel = one(this.section, "[data-map-why]");
    const within = panel.contains(document.activeElement);
    panel.hidden = true;
    const mark = this.section.querySelector<HTMLElement>(`[data-map-mark="${this.fork}"]`);
    this.fork = "";
    mark?.removeAttribute("data-on");
    this.quiet = true;
    if (within) mark?.focus();
    this.quiet = false;
  }
}

/** The text of a branch as nodes, as the server writes it. */
export function words(branch: Branch, growing = false): HTMLElement[] {
  const list: HTMLElement[] = pieces(branch).map(({ text, kind }) =>
    kind === "last" ? make("mark", { class: "map-last" }, text) : make("span", { "data-kind": kind }, text));
  if (growing && branch.reason === "") list.push(make("span", { class: "map-more", "aria-hidden": "true" }));
  else if (!known(branch)) list.push(make("span", { class: "map-rest" }, `… ${ending(branch)}`));
  return list;
}
