// The playground: joins the form to the two views of a run, the slider and the lanes side by side. It owns the connection of
// its page, starts runs, and hands what the server says to the view that it is about.

import { at } from "../base/base";
import { Code } from "../code/code";
import { Compose } from "../compose/compose";
import { connect } from "../connection/connection";
import { all, one } from "../dom/dom";
import { type Draft, drop, load, save } from "../draft/draft";
import { loadSettings, saveSettings } from "../draft/settings";
import { formatLambda } from "../lambda/lambda";
import { type ErrorFrame, type Message, type ServerFrame, type Spec, vector } from "../protocol/protocol";
import { Rename } from "../rename/rename";
import { Rendered } from "../rendered/rendered";
import { Share } from "../share/share";
import type { Connection, State } from "../socket/socket";
import { type Asked, Asking, type Purpose } from "./asking";
import { addRun, shorten } from "./history";
import { keys } from "./keys";
import { LanesView } from "./lanesview";
import { progress } from "./progress";
import { SliderView } from "./sliderview";
import { Status, sentence } from "./status";

type View = "slider" | "lanes";

export class Playground {
  readonly compose: Compose;
  readonly asking = new Asking();
  readonly status: Status;
  readonly connection: Connection;
  private readonly lanes: LanesView;
  private readonly slider: SliderView;
  private readonly code: Code;
  private readonly share: Share;
  private readonly rename: Rename;
  private readonly rendered: Rendered;
  private view: View;
  private session: string;
  private touched = true; // something was changed since the last run began
  private decoding = false; // as last announced

  constructor(private readonly page: HTMLElement) {
    this.session = page.dataset.session ?? "";
    this.view = page.dataset.shownAs === "lanes" ? "lanes" : "slider";
    const form = one<HTMLFormElement>(page, "[data-compose]");
    this.status = new Status(page, () => this.start(false, true));
    this.compose = new Compose(form, {
      run: (newSeed) => this.start(newSeed),
      stopAll: () => this.stopAll(),
      models: () => this.lanes.models(),
      preset: (lambdas) => {
        this.show("lanes");
        this.lanes.preset(lambdas);
      },
      changed: () => this.changed(),
    });
    this.lanes = new LanesView(page, this);
    this.slider = new SliderView(page, this);
    this.code = new Code(one<HTMLDetailsElement>(page, "[data-code]"), () => this.onScreen());
    this.share = new Share(one(page, "[data-share]"));
    this.rename = new Rename(one<HTMLDetailsElement>(page, "[data-rename]"), one(page, "[data-session-title]"),
      (title) => this.status.say(`The session is called ${title}.`));
    this.rendered = new Rendered(one<HTMLDetailsElement>(page, "[data-rendered]"), () => this.promptSpec());
    this.wireKeys();
    this.wireViews();
    this.adopt(form);
    this.restore(form);
    this.connection = connect((frame) => this.frame(frame), (state) => this.connected(state));
    const { map } = this.slider;
    if (map.id && !map.drawn) this.connection.watch(map.id, 0);
    if (this.lanes.run) this.connection.watch(this.lanes.run.id, 0);
    this.refresh();
  }

  /** Takes over the run that the page came with. */
  private adopt(form: HTMLFormElement): void {
    const id = this.page.dataset.run ?? "";
    const spec = form.dataset.spec;
    if (!id || !spec) return;
    const read = JSON.parse(spec) as Spec;
    if (read.map) this.slider.map.adopt(id, read);
    else this.lanes.adopt(id, read);
    this.touched = false;
  }

  private restore(form: HTMLFormElement): void {
    if ("fork" in form.dataset) return;
    if (!this.shownRun && this.compose.prompt.value === "") {
      const settings = loadSettings(localStorage);
      if (settings) this.compose.settings = settings;
    }
    const draft = load(localStorage, this.shownRun, Date.now());
    if (!draft) return;
    if (this.shownRun === "" && this.compose.prompt.value !== "") return;
    this.compose.setPrompt(draft.prompt);
    this.compose.system.value = draft.system;
    if (draft.seed) this.compose.seed.value = draft.seed;
    if (this.shownRun) this.compose.setBefore(draft.parent, draft.history);
    if (!this.lanes.run && draft.lanes.length > 0) this.lanes.setLanes(draft.lanes);
  }

  /** The run that was begun or opened last; "" is none. */
  private get shownRun(): string {
    return this.page.dataset.run ?? "";
  }

  changed(): void {
    this.touched = true;
    const draft: Draft = {
      prompt: this.compose.prompt.value, system: this.compose.system.value, seed: this.compose.seed.value,
      lanes: this.lanes.draft, parent: this.compose.parent, history: this.compose.history, at: Date.now(),
    };
    save(localStorage, this.shownRun, draft);
    saveSettings(localStorage, this.compose.settings);
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

  // The two views.

  private wireViews(): void {
    const box = one(this.page, "[data-views]");
    box.hidden = false;
    box.addEventListener("change", () => this.show(one<HTMLInputElement>(box, "[data-view-lanes]").checked ? "lanes" : "slider"));
  }

  /** Shows the run as one text under the slider, or as lanes: what is not decoded yet of the same run is. */
  private show(view: View): void {
    if (view === this.view) return;
    this.view = view;
    this.page.dataset.shownAs = view;
    for (const radio of all<HTMLInputElement>(this.page, '[data-views] input[type="radio"]')) radio.checked = radio.value === view;
    one(this.page, "[data-slider-view]").hidden = view !== "slider";
    one(this.page, "[data-stage]").hidden = view !== "lanes";
    const { map, thumb } = this.slider;
    const same = view === "lanes" ? !this.lanes.run && (map.id || thumb.run) : !map.id && !thumb.run && this.lanes.run;
    if (same && !this.touched) this.start(false, true, true);
    this.refresh();
  }

  // Starting.

  /** Starts a run of what the form says. The same thing once more gets a new seed, unless it is to be kept. */
  private start(newSeed: boolean, keepSeed = false, beside = false): void {
    if (this.asking.starting) return; // one at a time
    if (newSeed || (!keepSeed && !this.touched && this.shownRun !== "")) {
      this.compose.roll();
      this.status.say(`Seed ${this.compose.seed.value}.`);
    }
    if (this.view === "lanes") this.startLanes(beside);
    else this.startSlider(beside);
  }

  private startSlider(beside: boolean): void {
    const { spec, faults } = this.compose.read([]);
    const map = this.compose.readMap(faults);
    this.compose.show(faults);
    if (faults.length > 0) return;
    const whole = this.slider.complete(spec, map);
    this.ask(whole, whole.map ? "map" : "thumb", beside);
  }

  private startLanes(beside: boolean): void {
    const sound = this.lanes.check();
    const { spec, faults } = this.compose.read([]);
    const wrong = this.wrongParent(spec);
    if (wrong) {
      this.status.alert(wrong);
      return;
    }
    this.compose.show(faults);
    if (!sound || faults.length > 0) return;
    this.ask({ ...spec, lanes: this.lanes.specs(spec) }, "lanes", beside);
  }

  /** Why the conversation cannot go on from its lane; "" if it can. */
  private wrongParent(spec: Spec): string {
    const { parent } = this.compose;
    const { run } = this.lanes;
    if (!parent || !run || parent.run !== run.id) return "";
    if (run.lanes[parent.lane]?.reason === "") return "The lane that the conversation goes on from is still running.";
    if (run.spec.mode === spec.mode) return "";
    return `The conversation so far is ${run.spec.mode === "chat" ? "a chat" : "a text"}: go on as that, or begin a new conversation.`;
  }

  /** What a run of the lanes would be asked for; null if there are none, or a field is wrong. */
  private onScreen(): Spec | null {
    const { spec, faults } = this.compose.read([]);
    spec.lanes = this.lanes.draft.map(({ lambda, sample }, lane) => ({ lane, lambda: vector(lambda), sample }));
    spec.history = this.compose.history;
    return faults.length > 0 || spec.lanes.length === 0 ? null : spec;
  }

  private ask(spec: Spec, purpose: Purpose, beside: boolean): void {
    if (!beside) this.stopAll();
    const ref = this.asking.add(purpose, purpose === "lanes" ? [...this.lanes.stage.columns] : [], spec, this.compose.history);
    this.touched = false;
    this.status.alert("");
    this.compose.fold();
    this.connection.send({ type: "start", ref, spec, ...(this.session ? { session: this.session } : {}) });
    this.refresh();
  }

  private started(asked: Asked, session: string, id: string): void {
    const spec = asked.spec as Spec;
    const before = this.shownRun;
    // The server resolves the parent; whoever goes on from this run needs to know what came before.
    if (spec.parent) spec.history = [...asked.before] as Message[];
    if (asked.purpose === "lanes") this.lanes.leave();
    else this.slider.leave();
    drop(localStorage, before);
    drop(localStorage, id);
    if (this.session !== session) this.rename.begin(session, shorten(spec.prompt, 80));
    this.session = session;
    this.connection.follow(id);
    history.replaceState(null, "", at(`/s/${session}?run=${id}`));
    this.page.dataset.session = session;
    this.page.dataset.run = id;
    for (const hook of ["[data-new-session]", "[data-export]"]) one(this.page, hook).hidden = false;
    one<HTMLAnchorElement>(this.page, "[data-export]").href = at(`/sessions/${session}/export`);
    this.share.setRun(id, shorten(spec.prompt, 80));
    this.status.begin();
    this.hand(asked, session, id, spec);
  }

  /** Gives a run that has begun to its view; the other view's is of another prompt or seed, and left. */
  private hand(asked: Asked, session: string, id: string, spec: Spec): void {
    const other = (run: Spec | null | undefined) => run && (run.prompt !== spec.prompt || run.seed !== spec.seed);
    if (asked.purpose === "lanes") {
      if (other(this.slider.map.spec) || other(this.slider.thumb.run?.spec)) this.slider.leave();
      const run = this.lanes.started(asked, id);
      addRun(this.page, session, run, `λ ${run.lanes.map((lane) => formatLambda(lane.start)).join(" · ")}`);
      return;
    }
    if (other(this.lanes.run?.spec)) this.lanes.leave();
    if (spec.map) {
      this.slider.startedMap(id, spec, session);
      addRun(this.page, session, { id, spec }, `slider, λ ${formatLambda([spec.map.from])} to ${formatLambda([spec.map.to])}`);
      return;
    }
    this.slider.startedThumb(id, spec);
    addRun(this.page, session, { id, spec }, "slider, one λ at a time");
  }

  stopAll(): void {
    this.lanes.stopAll();
    this.slider.stop();
  }

  // What the server says.

  private frame(frame: ServerFrame): void {
    if (this.slider.take(frame)) {
      this.refresh();
      return;
    }
    switch (frame.type) {
      case "hello":
        this.compose.limits = frame.limits;
        this.lanes.models();
        return;
      case "pairs":
        this.compose.setStatus(frame.pairs);
        break;
      case "started": {
        const asked = this.asking.answered(frame.ref);
        if (!asked?.spec) return;
        this.started(asked, frame.session, frame.run);
        break;
      }
      case "lanes_added":
        if (!this.asking.find(frame.ref)?.columns.some((c) => c.waiting)) this.asking.answered(frame.ref);
        return;
      case "events":
        if (frame.run !== this.lanes.run?.id) return;
        this.lanes.take(frame.first, frame.events);
        break;
      case "caught_up":
        if (frame.run !== this.lanes.run?.id || !this.lanes.catchingUp) return;
        this.lanes.caughtUp();
        break;
      case "error":
        this.failed(frame);
        break;
    }
    this.refresh();
  }

  private failed(frame: ErrorFrame): void {
    const asked = this.asking.answered(frame.ref);
    for (const column of asked?.columns ?? []) {
      column.waiting = false;
      if (!asked?.spec) column.update();
    }
    if (asked?.purpose === "thumb") this.slider.thumb.refused();
    if (asked?.spec) this.touched = true;
    const { run } = this.lanes;
    if (!asked && frame.code === "unavailable" && run && frame.run === run.id && !run.ended) {
      this.lanes.breakOff(frame);
      return; // what has broken off is told with the run
    }
    if (!asked && frame.run && frame.code === "conflict") return; // λ was moved as what it was of ended
    const field = (frame.field ?? "").replace(/^(spec\.)?(sampling\.)?/, "").replace(/\[\d+\].*$/, "");
    const wait = frame.retry_after ? ` Try again in ${frame.retry_after} s.` : "";
    if (field && this.compose.show([{ field, message: sentence(frame.message) }])) return;
    this.status.alert(sentence(field ? `${field}: ${frame.message}` : frame.message) + wait, asked?.spec !== undefined);
  }

  private connected(state: State): void {
    if (state !== "waiting") return;
    const lost = this.asking.lost();
    if (lost.length > 0) this.status.alert("The connection broke before the server answered.", lost.some((a) => a.spec));
    this.refresh();
  }

  // What the page says.

  refresh(): void {
    const { run } = this.lanes;
    const { map } = this.slider;
    const starting = this.asking.starting;
    const running = this.slider.running || this.lanes.running;
    this.compose.setRunning(running, this.shownRun !== "" && !this.touched);
    void this.lanes.tellTrust();
    for (const column of this.lanes.stage.columns) {
      column.element.dataset.runnable = String(run !== null && !starting);
      column.drawPending();
    }
    const shown = this.lanes.running ? run : this.slider.thumb.run?.ended === false ? this.slider.thumb.run : null;
    const { text, part } = progress({
      pair: this.compose.pairStatus, connected: this.connection?.state === "open", starting,
      run: shown, rate: shown ? this.status.speed(shown) : Number.NaN, map: map.ended ? null : map.progress(),
    });
    this.compose.progress(text, part);
    this.announce(running);
    const error = run && !this.lanes.catchingUp && run.ended ? run.error : map.error;
    this.status.failure(`${run?.id || map.id} ${run?.seq ?? ""}`, error, running);
  }

  private announce(running: boolean): void {
    if (running === this.decoding) return;
    this.decoding = running;
    const { run } = this.lanes;
    const { map } = this.slider;
    if (running) this.status.say(this.lanes.running ? `Decoding ${run?.lanes.length} lanes.` : "Decoding along λ.");
    else if (this.view === "slider") this.status.say(map.error ? "" : "Every text along λ is decoded.");
    else if (run) this.status.say(run.error ? "" : "All lanes have ended.");
  }

  private wireKeys(): void {
    const { stage } = this.lanes;
    keys({
      close: () => stage.inspector.close(),
      stop: () => this.stopAll(),
      lane: (place) => stage.columns[place]?.focusText(),
      letters: {
        p: () => this.compose.prompt.focus(),
        l: () => (this.view === "slider" ? this.page.querySelector<HTMLElement>("[data-map-slider]")?.focus() : (stage.columnOf(document.activeElement) ?? stage.columns[0])?.focusLambda()),
        a: () => {
          this.show("lanes");
          this.lanes.addLane();
        },
        r: () => this.start(false, true),
        n: () => this.start(true),
        m: () => this.show(this.view === "lanes" ? "slider" : "lanes"),
        c: () => stage.setView(stage.view === "ratio" ? "plain" : "ratio"),
      },
    });
  }
}
