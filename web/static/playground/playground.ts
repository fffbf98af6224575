// The playground: joins the form to the two views of a run, the slider and the lanes side by side. It owns the connection of
// its page, starts runs, and hands what the server says to the view that it is about.

import { Code } from "../code/code";
import { Compose } from "../compose/compose";
import { Count } from "../compose/count";
import { connect } from "../connection/connection";
import { all, one } from "../dom/dom";
import type { Spec } from "../protocol/protocol";
import { Rename } from "../rename/rename";
import { Rendered } from "../rendered/rendered";
import { Share } from "../share/share";
import type { Connection } from "../socket/socket";
import { Asking, type Purpose } from "./asking";
import { Drafts } from "./drafts";
import { History } from "./history";
import { Incoming } from "./incoming";
import { keys } from "./keys";
import { LanesView } from "./lanesview";
import { Mixing } from "./mixing";
import { progress } from "./progress";
import { SliderView } from "./sliderview";
import { Starter, type View } from "./starter";
import { Status } from "./status";

export class Playground {
  readonly compose: Compose;
  readonly asking = new Asking();
  readonly status: Status;
  readonly connection: Connection;
  private readonly lanes: LanesView;
  private readonly slider: SliderView;
  private readonly code: Code;
  private readonly starter: Starter;
  private readonly drafts: Drafts;
  private readonly history: History;
  private readonly mixing: Mixing;
  private readonly rendered: Rendered;
  private readonly count: Count;
  private view: View;
  private decoding = false; // as last announced
  private refreshing = false;

  constructor(private readonly page: HTMLElement) {
    this.view = page.dataset.shownAs === "lanes" ? "lanes" : "slider";
    const form = one<HTMLFormElement>(page, "[data-compose]");
    this.status = new Status(page, () => this.start({ keepSeed: true }));
    this.compose = new Compose(form, {
      run: () => this.start(),
      stopAll: () => this.stopAll(),
      models: () => {
        this.lanes.models();
        this.refresh();
      },
      preset: (lambdas, both) => {
        this.show("lanes");
        this.lanes.preset(lambdas, both);
      },
      changed: () => this.changed(),
      lanes: () => this.lanes.draft,
      setLanes: (lanes) => this.lanes.retake(lanes),
    });
    this.lanes = new LanesView(page, this);
    this.slider = new SliderView(page, this);
    this.code = new Code(one<HTMLDetailsElement>(page, "[data-code]"), () => this.starter.onScreen());
    this.mixing = new Mixing(page, this);
    this.history = new History(page, (words) => this.status.say(words));
    this.drafts = new Drafts(this.compose, this.lanes);
    this.starter = new Starter(page, {
      host: this, lanes: this.lanes, slider: this.slider, history: this.history, share: new Share(one(page, "[data-share]")),
      rename: new Rename(one<HTMLDetailsElement>(page, "[data-rename]"), one(page, "[data-session-title]"),
        (title) => this.status.say(`The session is called ${title}.`)),
    });
    this.rendered = new Rendered(one<HTMLDetailsElement>(page, "[data-rendered]"), () => this.promptSpec());
    this.count = new Count(one(page, "[data-prompt-count]"), () => this.promptSpec(), () => this.compose.pairStatus?.state === "ready");
    this.wireKeys();
    this.wireViews();
    this.adopt(form);
    this.drafts.restore(form, this.starter.shownRun);
    const { asking, compose, count, lanes, slider, starter, status } = this;
    const incoming = new Incoming({ asking, compose, count, lanes, slider, starter, status, refresh: () => this.refresh(), soon: () => this.soon() });
    this.connection = connect((frame) => incoming.take(frame), (state) => incoming.connected(state));
    if (slider.map.id && !slider.map.drawn) this.connection.watch(slider.map.id, 0);
    if (lanes.run) this.connection.watch(lanes.run.id, 0);
    if ("begin" in page.dataset) this.start({ keepSeed: true });
    this.refresh();
  }

  /** Takes over the run that the page came with. */
  private adopt(form: HTMLFormElement): void {
    const id = this.page.dataset.run ?? "";
    const spec = form.dataset.spec;
    if (!id || !spec) return;
    const read = JSON.parse(spec) as Spec;
    if (read.map) this.slider.map.adopt(id, read);
    else this.lanes.shown.adopt(id, read);
    this.starter.touched = false;
  }

  changed(): void {
    this.starter.touched = true;
    this.keep();
  }

  /** Keeps the draft, and shows what depends on it. */
  keep(): void {
    this.drafts.keep(this.starter.shownRun);
    this.code.draw();
    this.rendered.changed();
    this.count.changed();
    this.refresh();
  }

  /** The form as far as a prompt depends on it, with the conversation before it spelled out. */
  private promptSpec(): Spec {
    const { spec } = this.compose.read([]);
    delete spec.parent;
    if (this.compose.before.history.length > 0) spec.history = this.compose.before.history;
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
    if (same && !this.starter.touched) this.start({ keepSeed: true, beside: true });
    this.refresh();
  }

  private start(options: { newSeed?: boolean; keepSeed?: boolean; beside?: boolean } = {}): void {
    this.starter.start(this.view, options);
  }

  ask(spec: Spec, purpose: Purpose): void {
    this.starter.ask(spec, purpose, false);
  }

  stopAll(): void {
    this.lanes.shown.stop();
    this.slider.stop();
  }

  // What the page says.

  /** Refreshes at the next frame: events come faster. */
  private soon(): void {
    if (this.refreshing) return;
    this.refreshing = true;
    requestAnimationFrame(() => {
      this.refreshing = false;
      this.refresh();
    });
  }

  refresh(): void {
    const { run } = this.lanes;
    const { map } = this.slider;
    const starting = this.asking.starting;
    this.mixing.draw(this.view === "lanes" ? this.lanes.stage.columns : null);
    const running = this.slider.running || this.lanes.shown.running;
    this.compose.line.running(running, this.starter.shownRun !== "" && !this.starter.touched);
    void this.lanes.shown.tellTrust();
    for (const column of this.lanes.stage.columns) {
      column.element.dataset.runnable = String(run !== null && !starting);
      column.drawPending();
    }
    const shown = this.lanes.shown.running ? run : this.slider.thumb.run?.ended === false ? this.slider.thumb.run : null;
    const { text, part } = progress({
      pair: this.compose.pairStatus, connected: this.connection?.state === "open", starting,
      run: shown, rate: shown ? this.status.speed(shown) : Number.NaN, map: map.ended ? null : map.progress(),
    });
    this.compose.line.progress(text, part);
    this.announce(running);
    const error = run && !this.lanes.shown.catchingUp && run.ended ? run.error : map.error;
    this.status.failure(`${run?.id || map.id} ${run?.seq ?? ""}`, error, running);
  }

  private announce(running: boolean): void {
    if (running === this.decoding) return;
    this.decoding = running;
    if (!running) void this.history.refresh();
    const { run } = this.lanes;
    const { map } = this.slider;
    if (running) this.status.say(this.lanes.shown.running ? `Decoding ${run?.lanes.length} lanes.` : "Decoding along λ.");
    else if (this.view === "slider") this.status.say(map.error ? "" : "Every text along λ is decoded.");
    else if (run) this.status.say(run.error ? "" : "All lanes have ended.");
  }

  private wireKeys(): void {
    const { stage } = this.lanes;
    keys({
      close: () => stage.inspector.close() || stage.view.read(false),
      stop: () => this.stopAll(),
      lane: (place) => stage.columns[place]?.focusText(),
      letters: {
        p: () => this.compose.prompt.focus(),
        l: () => (this.view === "slider" ? this.page.querySelector<HTMLElement>("[data-map-slider]")?.focus() : (stage.columnOf(document.activeElement) ?? stage.columns[0])?.focusLambda()),
        a: () => {
          this.show("lanes");
          this.lanes.addLane();
        },
        r: () => this.start({ keepSeed: true }),
        n: () => this.start({ newSeed: true }),
        m: () => this.show(this.view === "lanes" ? "slider" : "lanes"),
        c: () => stage.view.set(stage.view.shown === "ratio" ? "plain" : "ratio"),
      },
    });
  }
}
