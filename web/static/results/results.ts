// Results of a study that goes on: asked for again while somebody looks, and put in place of the old ones.

import { all, one } from "../dom/dom";

const every = 4000; // ms
const longest = 60_000; // between tries when the server does not answer

export class LiveResults {
  private readonly path: string;
  private version: string;
  private wait = every;
  private timer = 0;
  private stopped = false;

  constructor(private readonly box: HTMLElement) {
    this.path = box.dataset.results ?? "";
    this.version = box.dataset.version ?? "";
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) void this.look();
    });
    this.later();
  }

  /** Asks no more. */
  stop(): void {
    this.stopped = true;
    window.clearTimeout(this.timer);
  }

  private later(): void {
    window.clearTimeout(this.timer);
    if (this.stopped) return;
    this.timer = window.setTimeout(() => void this.look(), this.wait);
  }

  /** Asks once. A hidden page asks nothing: it asks when it is seen again. */
  async look(): Promise<void> {
    window.clearTimeout(this.timer);
    if (document.hidden) return;
    try {
      const answer = await fetch(`${this.path}/live`, {
        cache: "no-store",
        headers: { "X-Requested-With": "fetch", "If-None-Match": `"${this.version}"` },
      });
      this.wait = every;
      if (answer.status === 200) this.show(await answer.text(), answer.headers.get("ETag")?.replaceAll('"', "") ?? "");
      else if (answer.status !== 304) throw new Error(`the server answered ${answer.status}`);
    } catch {
      // The page shows what it has. It asks less and less often.
      this.wait = Math.min(longest, this.wait * 2);
    }
    this.later();
  }

  private show(html: string, version: string): void {
    const drawn = new DOMParser().parseFromString(html, "text/html");
    const before = this.headline();
    const focused = document.activeElement?.closest("[data-results] [aria-label]")?.getAttribute("aria-label");
    const scrolled = new Map(regions(this.box).map((region) => [region.getAttribute("aria-label"), region.scrollLeft]));
    this.box.replaceChildren(...drawn.body.childNodes);
    this.version = version;
    for (const region of regions(this.box)) {
      const name = region.getAttribute("aria-label");
      region.scrollLeft = scrolled.get(name) ?? 0;
      if (focused && name === focused) region.focus({ preventScroll: true });
    }
    const now = this.headline();
    if (now !== before) one(document, "[data-results-say]").textContent = now;
  }

  private headline(): string {
    return this.box.querySelector("#finding-title")?.textContent ?? "";
  }
}

function regions(box: HTMLElement): HTMLElement[] {
  return all(box, ".scroll[aria-label]");
}
