// The playground: starts runs, follows them, steers their lanes. It owns the connection of its page and
// joins the form above (compose) to the lanes below (lanes).

import { Code } from "../code/code";
import { Compose } from "../compose/compose";
import { connect } from "../connection/connection";
import { one, tell, typing } from "../dom/dom";
import { type Draft, drop, load, save } from "../draft/draft";
import { lettersOn } from "../help/help";
import { formatLambda, same } from "../lambda/lambda";
import type { Column } from "../lanes/column";
import { Stage, type StageEvents } from "../lanes/lanes";
import { type ErrorFrame, type LaneSpec, type Message, type ServerFrame, type Spec, vector } from "../protocol/protocol";
import { MapRun } from "../map/live";
import { Rename } from "../rename/rename";
import { Rendered } from "../rendered/rendered";
import { Run, laneText } from "../run/run";
import { Share } from "../share/share";
import type { Connection, State } from "../socket/socket";
import { said } from "../thought/thought";
import { addRun, shorten } from "./history";
import { progress } from "./progress";

/** Something asked of the server that has not been answered. */
interface Asked {
  ref: string;
  spec?: Spec; // of a start
  columns: Column[]; // that wait for it
}

export class Playground implements StageEvents {
  private readonly compose: Compose;
  private readonly stage: Stage;
  private readonly code: Code;
  private readonly share: Share;
  private readonly rename: Rename;
  private readonly rendered: Rendered;
  private readonly connection: Connection;
  private run: Run | null = null;
  private readonly map: MapRun; // on the bench instead of a run on lanes
  private session: string;
  private catchingUp = false;
  private asked: Asked[] = [];
  private refs = 0;
  private mapAsked = false; // what was asked for last is a map
  private decoding = false; // as last announced
  private rate = { since: 0, from: 0 };
  private moving = new Map<Column, number>(); // timers of λ frames

  constructor(private readonly page: HTMLElement) {
    this.session = page.dataset.session ?? "";
    const form = one<HTMLFormElement>(page, "[data-compose]");
    this.compose = new Compose(form, {
      run: (newSeed) => this.start(newSeed),
      map: () => this.startMap(),
      stopAll: () => this.stopAll(),
      models: () => this.models(),
      preset: (lambdas) => this.preset(lambdas),
      changed: () => this.keep(),
    });
    this.stage = new Stage(page, this, this.betas, this.bounds);
    this.map = new MapRun(one(page, "[data-map-place]"), (message) => this.alert(message));
    this.code = new Code(one<HTMLDetailsElement>(page, "[data-code]"), () => this.onScreen());
    this.share = new Share(one(page, "[data-share]"));
    this.rename = new Rename(one<HTMLDetailsElement>(page, "[data-rename]"), one(page, "[data-session-title]"),
      (title) => this.say(`The session is called ${title}.`));
    this.rendered = new Rendered(one<HTMLDetailsElement>(page, "[data-rendered]"), () => this.promptSpec());
    this.models();
    const add = one(page, "[data-lane-add]");
    add.hidden = false;
    add.addEventListener("click", () => this.addLane());
    one(page, "[data-alert-close]").addEventListener("click", () => this.alert(""));
    one(page, "[data-alert-again]").addEventListener("click", () => (this.mapAsked ? this.startMap() : this.start(false)));
    document.addEventListener("keydown", (event) => this.key(event));
    this.adopt(form);
    this.restore(form);
    this.connection = connect((frame) => this.frame(frame), (state) => this.connected(state));
    if (this.map.id && !this.map.drawn) this.connection.watch(this.map.id, 0);
    if (this.run) this.connection.watch(this.run.id, 0);
    this.refresh();
  }

  // What the server drew.

  /** Takes over the run that the page came with: its log is read again, for what the page cannot hold. */
  private adopt(form: HTMLFormElement): void {
    const id = this.page.dataset.run ?? "";
    const spec = form.dataset.spec;
    if (!id || !spec) return;
    const read = JSON.parse(spec) as Spec;
    if (read.map) {
      this.map.adopt(id, read);
      this.mapAsked = true;
      return;
    }
    this.run = new Run(id, read);
    this.stage.setRun(this.run);
    this.catchingUp = true;
  }

  private restore(form: HTMLFormElement): void {
    if ("fork" in form.dataset) return;
    const draft = load(localStorage, this.shownRun, Date.now());
    if (!draft) return;
    if (this.shownRun === "" && this.compose.prompt.value !== "") return;
    this.compose.setPrompt(draft.prompt);
    this.compose.system.value = draft.system;
    if (draft.seed) this.compose.seed.value = draft.seed;
    if (this.shownRun) this.compose.setBefore(draft.parent, draft.history);
    if (!this.run && draft.lanes.length > 0) this.setLanes(draft.lanes);
  }

  /** The run on the bench, on lanes or a map; "" is none. */
  private get shownRun(): string {
    return this.run?.id ?? this.map.id;
  }

  private keep(): void {
    const draft: Draft = {
      prompt: this.compose.prompt.value, system: this.compose.system.value, seed: this.compose.seed.value,
      lanes: this.stage.columns.map(({ lambda, sample }) => ({ lambda, sample })),
      parent: this.compose.parent, history: this.compose.history, at: Date.now(),
    };
    save(localStorage, this.shownRun, draft);
    this.code.draw();
    this.rendered.changed();
    this.refresh();
  }

  /** The form as far as a prompt depends on it, with the conversation before it spelled out. */
  private promptSpec(): Spec {
    const { spec } = this.compose.read([]);
    delete spec.parent;
    if (this.compose.history.length > 0) spec.history = this.compose.history;
    return spec;
  }

  // Lanes of the draft.

  private get betas(): number[] {
    return this.compose.models.map((m) => m.beta);
  }

  private get bounds() {
    return { min: this.compose.limits.lambda_min, max: this.compose.limits.lambda_max };
  }

  private models(): void {
    this.stage.setModels(this.betas, this.bounds, this.compose.models.map((m) => m.name));
  }

  private setLanes(lanes: readonly { lambda: readonly number[]; sample: number }[]): void {
    this.leaveRun();
    for (const column of [...this.stage.columns]) this.stage.remove(column);
    for (const { lambda, sample } of lanes) this.stage.add(lambda, sample);
    this.models();
    this.refresh();
  }

  private preset(lambdas: number[]): void {
    const others = Math.max(1, this.betas.length) - 1;
    this.setLanes(lambdas.map((x) => ({ lambda: [x, ...Array<number>(others).fill(0)], sample: 0 })));
    this.keep();
  }

  private addLane(): void {
    if (!this.roomForLanes(1)) return;
    const last = this.stage.columns[this.stage.columns.length - 1];
    const lambda = last ? last.lambda.map((x, i) => (i === 0 ? Math.min(this.bounds.max, Math.round((x + 0.5) * 1000) / 1000) : x)) : [1];
    const column = this.stage.add(lambda, 0);
    this.models();
    this.keep();
    column.focusLambda();
  }

  private roomForLanes(n: number): boolean {
    const most = this.compose.limits.lanes;
    const now = Math.max(this.stage.columns.length, this.run?.lanes.length ?? 0);
    if (now + n <= most) return true;
    this.alert(`A run has at most ${most} lanes.`);
    return false;
  }

  // What a column asks for (StageEvents).

  lambda(column: Column, settled: boolean): void {
    const lane = column.lane;
    if (lane && column.running && this.run) {
      // A slider says a lot while it moves: every 80 ms is enough for an eye.
      const send = () => {
        this.moving.delete(column);
        if (!this.run || !column.running) return;
        this.connection.send({ type: "lambda", run: this.run.id, lane: lane.index, lambda: vector(column.lambda) });
      };
      const timer = this.moving.get(column);
      if (settled) {
        clearTimeout(timer);
        send();
      } else if (timer === undefined) this.moving.set(column, window.setTimeout(send, 80));
    }
    if (settled) this.keep();
  }

  duplicate(column: Column): void {
    if (!this.roomForLanes(1)) return;
    const taken = this.stage.columns.filter((c) => same(c.lambda, column.lambda)).map((c) => c.sample);
    const copy = this.stage.add(column.lambda, Math.max(...taken) + 1, column);
    this.models();
    this.keep();
    copy.focusLambda();
  }

  remove(column: Column): void {
    if (column.running) this.stop(column);
    const place = this.stage.columns.indexOf(column);
    this.stage.remove(column);
    const next = this.stage.columns[Math.min(place, this.stage.columns.length - 1)];
    if (next) next.focusLambda();
    else one(this.page, "[data-lane-add]").focus();
    this.keep();
  }

  /** Decodes one more lane under the run on the bench. */
  decode(column: Column): void {
    if (!this.run || !column.check() || !this.roomForLanes(column.lane ? 1 : 0)) return;
    if (column.lane) {
      const more = this.stage.add(column.lambda, column.sample, column);
      this.models();
      column.setLambda(column.lane.lambda);
      this.addToRun(more);
    } else this.addToRun(column);
  }

  branch(column: Column, index: number, id: number): void {
    const lane = column.lane;
    if (!lane || !this.run || !this.roomForLanes(1)) return;
    const token = lane.tokens[index];
    const branch = this.stage.add(token?.lambda ?? lane.lambda, lane.sample, column);
    branch.prefix = [...lane.tokens.slice(0, index).map((t) => t.id), id];
    this.models();
    this.addToRun(branch);
    branch.element.scrollIntoView({ block: "nearest", inline: "nearest" });
    branch.focusText();
  }

  stop(column: Column): void {
    if (this.run && column.lane) this.connection.send({ type: "stop", run: this.run.id, lane: column.lane.index });
  }

  continueFrom(column: Column): void {
    const { run } = this;
    const lane = column.lane;
    if (!run || !lane) return;
    const messages: Message[] = [
      ...(run.spec.history ?? []),
      { role: "user", content: run.spec.prompt },
      { role: "assistant", content: run.spec.mode === "chat" ? said(laneText(lane)) : laneText(lane) },
    ];
    this.compose.mode = run.spec.mode;
    this.compose.continueFrom(run.id, lane.index, messages);
    this.say(`The conversation goes on from the lane at λ ${formatLambda(lane.lambda)}.`);
  }

  private stopAll(): void {
    if (this.run && !this.run.ended) this.connection.send({ type: "stop", run: this.run.id });
    if (!this.map.ended) this.connection.send({ type: "stop", run: this.map.id });
  }

  // Starting.

  /** Asks for every text for every λ of an interval. */
  private startMap(): void {
    if (this.asked.some((a) => a.spec)) return;
    const { spec, faults } = this.compose.read([]);
    spec.map = this.compose.readMap(faults);
    this.compose.show(faults);
    if (faults.length > 0) return;
    this.stopAll();
    this.ask(spec, []);
  }

  private start(newSeed: boolean): void {
    if (this.asked.some((a) => a.spec)) return; // one at a time
    if (newSeed) this.compose.roll();
    if (this.stage.columns.length === 0) {
      this.alert("Add a lane first.");
      return;
    }
    const sound = this.stage.columns.map((column) => column.check()).every(Boolean);
    const { spec, faults } = this.compose.read([]);
    if (this.compose.parent && this.run && this.compose.parent.run === this.run.id) {
      if (this.run.lanes[this.compose.parent.lane]?.reason === "") {
        this.alert("The lane that the conversation goes on from is still running.");
        return;
      }
      if (this.run.spec.mode !== spec.mode) {
        this.alert(`The conversation so far is ${this.run.spec.mode === "chat" ? "a chat" : "a text"}: go on as that, or start anew.`);
        return;
      }
    }
    this.compose.show(faults);
    if (!sound || faults.length > 0) return;
    spec.lanes = this.stage.columns.map((column, lane) => this.laneSpec(column, lane, spec));
    this.stopAll();
    this.ask(spec, [...this.stage.columns]);
  }

  /** What a run of the lanes on the bench would be asked for; null if there are none, or a field is wrong. */
  private onScreen(): Spec | null {
    const { spec, faults } = this.compose.read([]);
    spec.lanes = this.stage.columns.map((column, lane) => ({ lane, lambda: vector(column.lambda), sample: column.sample }));
    spec.history = this.compose.history;
    return faults.length > 0 || spec.lanes.length === 0 ? null : spec;
  }

  private ask(spec: Spec, columns: Column[]): void {
    const ref = `r${++this.refs}`;
    this.mapAsked = spec.map !== undefined;
    this.asked.push({ ref, spec, columns });
    this.alert("");
    this.connection.send({ type: "start", ref, spec, ...(this.session ? { session: this.session } : {}) });
    this.refresh();
  }

  /** A lane keeps the tokens it was given as long as what comes before them is the same. */
  private laneSpec(column: Column, lane: number, spec: Spec): LaneSpec {
    const made: LaneSpec = { lane, lambda: vector(column.lambda), sample: column.sample };
    const before = this.run?.spec;
    const kept =
      column.lane && before && before.pair === spec.pair && before.prompt === spec.prompt && before.mode === spec.mode &&
      (before.system ?? "") === (spec.system ?? "") && before.parent?.run === spec.parent?.run && before.parent?.lane === spec.parent?.lane
        ? column.lane.tokens.slice(0, column.lane.prefix).map((t) => t.id)
        : column.prefix;
    if (kept.length > 0) made.prefix = kept;
    return made;
  }

  private addToRun(column: Column): void {
    if (!this.run) return;
    const ref = `r${++this.refs}`;
    const { lane: _, ...lane } = { lane: 0, lambda: vector(column.lambda), sample: column.sample, ...(column.prefix.length > 0 ? { prefix: column.prefix } : {}) };
    column.waiting = true;
    column.update();
    this.asked.push({ ref, columns: [column] });
    this.connection.send({ type: "lanes", ref, run: this.run.id, lanes: [lane] });
    this.refresh();
  }

  /** The run on the bench goes on by itself; the bench is for something else. */
  private leaveRun(): void {
    if (this.map.id) {
      this.stopAll();
      this.connection.unwatch(this.map.id);
      this.map.leave();
      this.share.setRun("", "");
    }
    this.showStage(true);
    if (!this.run) return;
    if (!this.run.ended) this.stopAll();
    this.connection.unwatch(this.run.id);
    this.run = null;
    this.catchingUp = false;
    this.asked = this.asked.filter((a) => a.spec);
    for (const timer of this.moving.values()) clearTimeout(timer);
    this.moving.clear();
    this.stage.setRun(null);
    this.share.setRun("", "");
  }

  private started(asked: Asked, session: string, id: string): void {
    const spec = asked.spec as Spec;
    const before = this.shownRun;
    this.leaveRun();
    drop(localStorage, before);
    drop(localStorage, id);
    if (this.session !== session) this.rename.begin(session, shorten(spec.prompt, 80));
    this.session = session;
    this.connection.follow(id);
    history.replaceState(null, "", `/s/${session}?run=${id}`);
    this.page.dataset.session = session;
    this.page.dataset.run = id;
    for (const hook of ["[data-new-session]", "[data-export]"]) one(this.page, hook).hidden = false;
    one<HTMLAnchorElement>(this.page, "[data-export]").href = `/sessions/${session}/export`;
    this.share.setRun(id, shorten(spec.prompt, 80));
    this.rate = { since: 0, from: 0 };
    if (spec.map) {
      this.map.begin(id, spec);
      this.showStage(false);
      addRun(this.page, session, { id, spec }, `λ-map ${formatLambda([spec.map.from])} to ${formatLambda([spec.map.to])}`);
      return;
    }
    const run = new Run(id, spec);
    this.run = run;
    this.stage.setRun(run);
    const lambdas = asked.columns.map((column) => [...column.lambda]);
    for (const [i, column] of asked.columns.entries()) {
      column.bind(run.lanes[i] ?? null);
      const set = lambdas[i];
      const lane = column.lane;
      // A slider that was moved while the server answered is not forgotten.
      if (set && lane && !same(set, lane.lambda)) {
        column.setLambda(set);
        this.lambda(column, true);
      }
    }
    addRun(this.page, session, run, `λ ${run.lanes.map((lane) => formatLambda(lane.start)).join(" · ")}`);
  }

  /** Lanes, or a map in their place. */
  private showStage(shown: boolean): void {
    one(this.page, "[data-stage]").hidden = !shown;
  }

  // What the server says.

  private frame(frame: ServerFrame): void {
    if (this.map.take(frame)) {
      this.refresh();
      return;
    }
    switch (frame.type) {
      case "hello":
        this.compose.limits = frame.limits;
        this.models();
        return;
      case "pairs":
        this.compose.setStatus(frame.pairs);
        break;
      case "started": {
        const asked = this.asked.find((a) => a.ref === frame.ref);
        if (!asked?.spec) return;
        this.asked = this.asked.filter((a) => a !== asked);
        this.started(asked, frame.session, frame.run);
        break;
      }
      case "lanes_added":
        this.asked = this.asked.filter((a) => a.ref !== frame.ref || a.columns.some((c) => c.waiting));
        return;
      case "events":
        if (frame.run !== this.run?.id) return;
        this.take(frame.first, frame.events);
        break;
      case "caught_up":
        if (frame.run !== this.run?.id || !this.catchingUp) return;
        this.catchUp();
        break;
      case "error":
        this.failed(frame);
        break;
    }
    this.refresh();
  }

  private take(first: number, events: Parameters<Run["take"]>[1]): void {
    const run = this.run as Run;
    const known = run.lanes.length;
    const change = run.take(first, events);
    if (this.catchingUp) return;
    if (change.added) for (const lane of run.lanes.slice(known)) this.adoptLane(lane.index);
    for (const index of change.lanes) {
      const column = this.stage.columnFor(index);
      if (!column) continue;
      if (column.running && !this.moving.has(column) && !column.element.contains(document.activeElement)) {
        const lane = column.lane;
        if (lane && !same(column.lambda, lane.lambda) && events.some((e) => e.type === "lambda" && e.lane === index)) column.setLambda(lane.lambda);
      }
      this.stage.draw(column);
    }
  }

  /** A lane was added to the run: by one of our columns, or in another window. */
  private adoptLane(index: number): void {
    const lane = this.run?.lanes[index];
    if (!lane) return;
    const waits = this.asked
      .filter((a) => !a.spec)
      .flatMap((a) => a.columns)
      .find((c) => c.waiting && same(c.lambda, lane.start) && c.sample === lane.sample && c.prefix.length === lane.prefix);
    const column = waits ?? this.stage.add(lane.start, lane.sample);
    this.asked = this.asked.filter((a) => !waits || a.spec || !a.columns.includes(waits));
    column.bind(lane);
    this.models();
    this.stage.draw(column);
  }

  /** All that is stored has been read: what the server drew gives way to columns that know every token. */
  private catchUp(): void {
    const run = this.run as Run;
    this.catchingUp = false;
    for (const lane of run.lanes) {
      const column = this.stage.columns.find((c) => c.drawnIndex === lane.index) ?? this.stage.add(lane.start, lane.sample);
      column.bind(lane);
    }
    this.models();
    this.stage.flush();
  }

  private failed(frame: ErrorFrame): void {
    const asked = this.asked.find((a) => a.ref === frame.ref && frame.ref !== undefined);
    if (asked) {
      this.asked = this.asked.filter((a) => a !== asked);
      for (const column of asked.columns) {
        column.waiting = false;
        if (!asked.spec) column.update();
      }
    }
    if (!asked && frame.code === "unavailable" && this.run && frame.run === this.run.id && !this.run.ended) {
      for (const index of this.run.breakOff({ code: frame.code, message: frame.message })) {
        const column = this.stage.columnFor(index);
        if (column) this.stage.draw(column);
      }
      return; // what has broken off is told with the run
    }
    const field = (frame.field ?? "").replace(/^(spec\.)?(sampling\.)?/, "").replace(/\[\d+\].*$/, "");
    const wait = frame.retry_after ? ` Try again in ${frame.retry_after} s.` : "";
    if (field && this.compose.show([{ field, message: sentence(frame.message) }])) return;
    this.alert(sentence(field ? `${field}: ${frame.message}` : frame.message) + wait, asked?.spec !== undefined);
  }

  private connected(state: State): void {
    if (state !== "waiting") return;
    const lost = this.asked;
    this.asked = [];
    for (const a of lost) for (const column of a.columns) column.waiting = false;
    if (lost.length > 0) this.alert("The connection broke before the server answered.", lost.some((a) => a.spec));
    this.refresh();
  }

  // What the page says.

  private refresh(): void {
    const { run } = this;
    const starting = this.asked.some((a) => a.spec);
    const mapping = !this.map.ended;
    const running = mapping || (run !== null && !run.ended && !this.catchingUp);
    this.compose.setRunning(running, run !== null);
    for (const column of this.stage.columns) {
      column.element.dataset.runnable = String(run !== null && !starting);
      column.drawPending();
    }
    const { text, part } = progress({
      pair: this.compose.pairStatus, connected: this.connection?.state === "open", starting,
      run: running ? run : null, rate: running && run ? this.speed(run) : Number.NaN,
      map: mapping ? this.map.progress() : null,
    });
    this.compose.progress(text, part);
    if (running !== this.decoding) {
      this.decoding = running;
      if (running) this.say(run ? `Decoding ${run.lanes.length} lanes.` : "Mapping λ.");
      else if (this.map.id) this.say(this.map.error ? "" : "The map has ended.");
      else if (run) this.say(run.error ? "" : "All lanes have ended.");
    }
    const error = run && !this.catchingUp && run.ended ? run.error : this.map.error;
    const tale = `${this.shownRun} ${run?.seq}`;
    if (error && this.page.dataset.told !== tale) {
      this.page.dataset.told = tale;
      this.alert(error.code === "unavailable" ? `The run was broken off: ${sentence(error.message)}` : sentence(error.message), true);
    } else if (running && this.page.dataset.told?.startsWith(`${this.shownRun} `)) {
      delete this.page.dataset.told; // it goes on after all
      this.alert("");
    }
  }

  /** Tokens a second since the first of them was shown; NaN for the first half second. */
  private speed(run: Run): number {
    const tokens = run.lanes.reduce((sum, lane) => sum + lane.tokens.length, 0);
    const now = performance.now();
    if (tokens > 0 && this.rate.since === 0) this.rate = { since: now, from: tokens };
    const seconds = (now - this.rate.since) / 1000;
    return this.rate.since === 0 || seconds < 0.5 ? Number.NaN : (tokens - this.rate.from) / seconds;
  }

  private alert(text: string, again = false): void {
    const box = one(this.page, "[data-alert]");
    box.hidden = text === "";
    one(box, "[data-alert-words]").textContent = text;
    one(box, "[data-alert-again]").hidden = !again;
  }

  private say(text: string): void {
    const place = one(this.page, "[data-announce]");
    tell(place, text);
    place.hidden = false;
  }

  // Keys.

  private key(event: KeyboardEvent): void {
    if (event.defaultPrevented || document.querySelector("dialog[open]")) return;
    if (event.key === "Escape") {
      if (this.stage.inspector.close()) return;
      const menu = document.querySelector<HTMLDetailsElement>("details.menu[open]");
      if (menu) {
        menu.open = false;
        menu.querySelector("summary")?.focus();
      } else this.stopAll();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || !lettersOn()) return;
    const place = /^[1-9]$/.test(event.key) ? this.stage.columns[Number(event.key) - 1] : undefined;
    const keys: Record<string, () => void> = {
      p: () => this.compose.prompt.focus(),
      l: () => (this.stage.columnOf(document.activeElement) ?? this.stage.columns[0])?.focusLambda(),
      a: () => this.addLane(),
      r: () => this.start(false),
      n: () => this.start(true),
      m: () => this.startMap(),
      c: () => this.stage.setView(this.stage.view === "ratio" ? "plain" : "ratio"),
    };
    const does = place ? () => place.focusText() : keys[event.key];
    if (!does) return;
    event.preventDefault();
    does();
  }
}

/** The server's words as a sentence. */
function sentence(text: string): string {
  const said = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(said) ? said : `${said}.`;
}
