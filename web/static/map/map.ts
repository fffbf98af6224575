// Moving along a λ-map that the server has drawn: the text follows λ at once, and forks say why they are there.

import { all, one, tell, write } from "../dom/dom";
import { effectiveBeta, formatLambda, formatNumber, notNumber, parseLambda, plain, words as placeOf } from "../lambda/lambda";
import { type Along, type Branch, type MapData, between, branchAt, known, mixtureAt, mixtureWords, quoted } from "./along";
import { Forks, type ForksHost } from "./forks";
import { stepOf } from "./keys";
import { wireRiver } from "./river";
import { Written } from "./written";

/** A λ that was pointed at has few digits. */
const byEye = (x: number) => Number(x.toFixed(4));

const lambdaText = (x: number) => formatNumber(x, 4);

/** What a section tells of its slider. */
export interface SectionEvents {
  moved(lambda: number): void;
  settled(lambda: number): void;
  goesOn(): boolean; // what is read can be replied to, and gone on with
  reply(text: string): void;
  writeOn(): void;
}

export class MapSection implements ForksHost {
  data: MapData;
  lambda: number;
  private shown = -1; // place of the branch that is read
  private readonly written: Written;
  private readonly slider: HTMLInputElement;
  private readonly number: HTMLInputElement;
  private readonly forks: Forks;
  private readonly toPoint: string; // what stands where the words of a band are read
  private timer = 0; // until the text that was moved to is said

  constructor(
    private readonly section: HTMLElement,
    private readonly events: SectionEvents | null = null,
  ) {
    this.data = JSON.parse(section.dataset.map ?? "null") as MapData;
    this.written = new Written(section);
    this.slider = one(section, "[data-map-slider]");
    this.number = one(section, "[data-map-number]");
    this.lambda = Number(this.number.value);
    this.slider.hidden = this.number.hidden = false;
    one(section, "[data-map-fixed]").hidden = true;
    one(section, "[data-map-steps]").hidden = one(section, "[data-map-band]").hidden = false;
    this.slider.addEventListener("input", () => this.move(byEye(Number(this.slider.value)), this.slider));
    this.slider.addEventListener("change", () => this.events?.settled(this.lambda));
    this.slider.addEventListener("keydown", (event) => this.key(event));
    this.number.addEventListener("input", () => this.typed(false));
    this.number.addEventListener("change", () => this.typed(true));
    this.number.addEventListener("keydown", (event) => this.key(event));
    for (const button of all(section, "[data-map-step]")) {
      button.addEventListener("click", () => this.step(Number(button.dataset.mapStep)));
    }
    one(section, "[data-map-reply]").addEventListener("click", () => this.events?.reply(this.branch?.pieces.join("") ?? ""));
    one(section, "[data-map-write-on]").addEventListener("click", () => this.events?.writeOn());
    this.forks = new Forks(section, this);
    this.toPoint = one(section, "[data-map-band]").textContent ?? "";
    this.wire();
    this.move(this.lambda);
  }

  /** What the map is along. */
  get along(): Along {
    const { betas, names, line } = this.data;
    return { betas, names, ...(line ? { line } : {}) };
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
    const { explained } = this.forks;
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
    this.forks.redrawn(explained);
    this.move(this.lambda, this.number === document.activeElement ? this.number : undefined);
  }

  /** Listeners on what is drawn. */
  private wire(): void {
    wireRiver(one(this.section, "[data-map-river]"), {
      pulled: (place) => this.move(byEye(this.data.from + place * (this.data.to - this.data.from))),
      pressed: (fork) => this.forks.explain(fork),
      focused: (fork) => this.forks.focused(fork),
      chosen: () => this.forks.enter(),
      pointed: (words) => write(one(this.section, "[data-map-band]"), words || this.toPoint),
    });
  }

  // λ.

  private typed(settled: boolean): void {
    const x = parseLambda(this.number.value);
    const { from, to } = this.data;
    const sound = x >= from && x <= to;
    tell(one(this.section, "[data-map-error]"), sound ? "" : Number.isNaN(x) ? notNumber(this.number.value) : `The map is of ${this.data.line ? "places" : "λ"} from ${lambdaText(from)} to ${lambdaText(to)}. The settings say from where to where the next one goes.`);
    if (!sound) this.number.setAttribute("aria-invalid", "true");
    else this.move(x, settled ? undefined : this.number);
    if (sound && settled) this.events?.settled(x);
  }

  /** Keys on the slider and in the number, where arrows to the sides are the caret's. */
  private key(event: KeyboardEvent): void {
    const { data: { from, to }, number } = this;
    const by = stepOf(event, to - from);
    if (by === 0 || event.altKey || event.ctrlKey || event.metaKey || (event.target === number && /Left|Right/.test(event.key))) return;
    event.preventDefault();
    if (event.shiftKey && event.key.startsWith("Page")) return this.step(Math.sign(by));
    this.move(byEye(this.lambda + by));
    this.events?.settled(this.lambda);
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
    const { from, to, branches, betas, names, line } = this.data;
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
    const mixture = mixtureAt(line, this.lambda);
    const beta = effectiveBeta(mixture, betas);
    const shownBeta = one(this.section, "[data-map-beta]");
    shownBeta.hidden = beta === "";
    one(shownBeta, "[data-map-beta-value]").textContent = beta;
    one(this.section, "[data-map-place-name]").textContent = placeOf(mixture);
    tell(one(this.section, "[data-map-mix]"), line ? mixtureWords(names, mixture) : "");
    const lane = this.section.querySelector<HTMLAnchorElement>("[data-map-lane]");
    if (lane) lane.href = `${this.section.dataset.mapLanes}${mixture.map(plain).join(":")}`;
    this.slider.setAttribute("aria-valuetext", `${line ? `${mixtureWords(names, mixture)}` : lambdaText(this.lambda)}, text ${place + 1} of ${branches.length}`);
    this.written.label(`Text at λ = ${line ? formatLambda(mixture) : lambdaText(this.lambda)}`);
    if (place !== this.shown && branch) this.read(place, branch);
  }

  private read(place: number, branch: Branch): void {
    const first = this.shown < 0;
    this.shown = place;
    this.offer();
    this.written.show(branch, this.section.dataset.mapState === "growing");
    one(this.section, "[data-map-span]").textContent = `the same text from ${lambdaText(branch.from)} to ${lambdaText(branch.to)}`;
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
      const token = next?.pieces[at]; // "" for one without a text, as that which ends a reply
      const what = token ? quoted(token) : next?.reason === "stop" && at === next.pieces.length - 1 ? "the end" : "another text";
      button.textContent = way < 0 ? `← below ${lambdaText(edge)}: ${what}` : `above ${lambdaText(edge)}: ${what} →`;
      if (!next) button.textContent = way < 0 ? "← where the map begins" : "where the map ends →";
    }
    clearTimeout(this.timer);
    if (!first && this.section.dataset.mapState !== "growing") this.timer = window.setTimeout(() => this.say(`Text ${place + 1} of ${this.data.branches.length}: ${branch.pieces.join("")}`), 600);
  }

  private get branch(): Branch | undefined {
    return this.data.branches[this.shown];
  }

  /** Offers to go on from what is read: to reply to a text that has ended, to write on one that was cut off. */
  offer(): void {
    const { branch } = this;
    const can = branch !== undefined && known(branch) && (this.events?.goesOn() ?? false);
    one(this.section, "[data-map-reply]").hidden = !can;
    one(this.section, "[data-map-write-on]").hidden = !can || branch?.reason !== "length";
  }

  /** Says something to screen readers. */
  say(text: string): void {
    one(this.section, "[data-map-say]").textContent = text;
  }
}
