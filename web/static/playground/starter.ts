// Starting runs: what the form says becomes a spec, is asked for, and goes to its view once the server has begun it.

import { at } from "../base/base";
import { all, one } from "../dom/dom";
import { drop } from "../draft/draft";
import { type Message, type Spec, vector } from "../protocol/protocol";
import type { Rename } from "../rename/rename";
import type { Share } from "../share/share";
import type { Asked, Purpose } from "./asking";
import { type History, shorten } from "./history";
import type { LanesHost, LanesView } from "./lanesview";
import type { SliderView } from "./sliderview";

export type View = "slider" | "lanes";

/** The parts of the page that a run begins in. */
export interface Parts {
  host: LanesHost;
  lanes: LanesView;
  slider: SliderView;
  share: Share;
  rename: Rename;
  history: History;
}

/** Studies and sweeps are of one aligned model: of a mixture of several it is said why there is none. */
export function offerCarry(page: ParentNode, models: number): void {
  for (const part of all(page, "[data-carry-one]")) part.hidden = models > 1;
  one(page, "[data-carry-many]").hidden = models === 1;
}

export class Starter {
  touched = true; // something was changed since the last run began
  session: string;

  constructor(
    private readonly page: HTMLElement,
    private readonly parts: Parts,
  ) {
    this.session = page.dataset.session ?? "";
  }

  /** The run that was begun or opened last; "" is none. */
  get shownRun(): string {
    return this.page.dataset.run ?? "";
  }

  /** Starts a run of what the form says. The same thing once more gets a new seed, unless it is to be kept. */
  start(view: View, { newSeed = false, keepSeed = false, beside = false } = {}): void {
    const { host } = this.parts;
    if (host.asking.starting) return; // one at a time
    if (newSeed || (!keepSeed && !this.touched && this.shownRun !== "")) {
      host.compose.roll();
      host.status.say(`Seed ${host.compose.seed.value}.`);
    }
    if (view === "lanes") this.startLanes(beside);
    else this.startSlider(beside);
  }

  private startSlider(beside: boolean): void {
    const { compose } = this.parts.host;
    const { spec, faults } = compose.read([]);
    const map = compose.readMap(faults);
    compose.show(faults);
    if (faults.length > 0) return;
    const whole = this.parts.slider.complete(spec, map);
    this.ask(whole, whole.map ? "map" : "thumb", beside);
  }

  private startLanes(beside: boolean): void {
    const { host, lanes } = this.parts;
    const sound = lanes.check();
    const { spec, faults } = host.compose.read([]);
    const wrong = this.wrongParent(spec);
    if (wrong) {
      host.status.alert(wrong);
      return;
    }
    host.compose.show(faults);
    if (!sound || faults.length > 0) return;
    this.ask({ ...spec, lanes: lanes.specs(spec) }, "lanes", beside);
  }

  /** Why the conversation cannot go on from its lane; "" if it can. */
  private wrongParent(spec: Spec): string {
    const { parent } = this.parts.host.compose.before;
    const { run } = this.parts.lanes;
    if (!parent || !run || parent.run !== run.id) return "";
    if (run.lanes[parent.lane]?.reason === "") return "The lane that the conversation goes on from is still running.";
    if (run.spec.mode === spec.mode) return "";
    return `The conversation so far is ${run.spec.mode === "chat" ? "a chat" : "a text"}: go on as that, or begin a new conversation.`;
  }

  /** What a run of the lanes would be asked for; null if there are none, or a field is wrong. */
  onScreen(): Spec | null {
    const { host, lanes } = this.parts;
    const { spec, faults } = host.compose.read([]);
    spec.lanes = lanes.draft.map(({ lambda, sample, mix }, lane) => ({ lane, lambda: vector(lambda), sample, ...(mix ? { mix } : {}) }));
    spec.history = host.compose.before.history;
    return faults.length > 0 || spec.lanes.length === 0 ? null : spec;
  }

  /** Asks for a run; what is decoded stops, unless it goes on beside it. */
  ask(spec: Spec, purpose: Purpose, beside: boolean): void {
    const { host, lanes, slider } = this.parts;
    if (!beside) {
      lanes.shown.stop();
      slider.stop();
    }
    const ref = host.asking.add(purpose, purpose === "lanes" ? [...lanes.stage.columns] : [], spec, host.compose.before.history);
    this.touched = false;
    host.status.alert("");
    host.compose.fold();
    host.connection.send({ type: "start", ref, spec, ...(this.session ? { session: this.session } : {}) });
    host.refresh();
  }

  /** The server has begun a run that was asked for. */
  started(asked: Asked, session: string, id: string): void {
    const { host, lanes, slider, share, rename } = this.parts;
    const spec = asked.spec as Spec;
    const before = this.shownRun;
    // The server resolves the parent; whoever goes on from this run needs to know what came before.
    if (spec.parent) spec.history = [...asked.before] as Message[];
    if (asked.purpose === "lanes") lanes.leave();
    else slider.leave();
    drop(localStorage, before);
    drop(localStorage, id);
    if (this.session !== session) rename.begin(session, shorten(spec.prompt, 80));
    this.session = session;
    host.connection.follow(id);
    history.replaceState(null, "", at(`/s/${session}?run=${id}`));
    this.page.dataset.session = session;
    this.page.dataset.run = id;
    for (const link of all<HTMLAnchorElement>(this.page, "[data-carry-to]")) link.href = at(`${link.dataset.carryTo}${id}`);
    offerCarry(this.page, spec.aligned.length);
    for (const hook of ["[data-new-session]", "[data-export]", "[data-carry]"]) one(this.page, hook).hidden = false;
    one<HTMLAnchorElement>(this.page, "[data-export]").href = at(`/sessions/${session}/export`);
    share.setRun(id, shorten(spec.prompt, 80));
    host.status.begin();
    this.hand(asked, session, id, spec);
    void this.parts.history.refresh();
  }

  /** Gives a run that has begun to its view; the other view's is of another prompt or seed, and left. */
  private hand(asked: Asked, session: string, id: string, spec: Spec): void {
    const { lanes, slider } = this.parts;
    const other = (run: Spec | null | undefined) => run && (run.prompt !== spec.prompt || run.seed !== spec.seed);
    if (asked.purpose === "lanes") {
      if (other(slider.map.spec) || other(slider.thumb.run?.spec)) slider.leave();
      lanes.started(asked, id);
      return;
    }
    if (other(lanes.run?.spec)) lanes.leave();
    if (spec.map) slider.startedMap(id, spec, session);
    else slider.startedThumb(id, spec, session);
  }
}
