// The history beside the bench: runs of the session and sessions, searched, named, pinned and deleted in place.

import { at } from "../base/base";
import { all, make, one, post } from "../dom/dom";
import { toast } from "../toast/toast";

const beside = "realign.history"; // "beside" or "below", as somebody chose

export class History {
  private readonly box: HTMLElement;
  private asked = 0; // number of the newest request for the lists
  private timer = 0;

  constructor(
    private readonly page: HTMLElement,
    private readonly say: (words: string) => void,
  ) {
    this.box = one(page, "[data-past]");
    this.wireToggle();
    const search = one<HTMLFormElement>(this.box, "[data-history-search]");
    search.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.refresh();
    });
    search.addEventListener("input", () => {
      clearTimeout(this.timer);
      this.timer = window.setTimeout(() => void this.refresh(), 200);
    });
    this.wire();
  }

  /** Reads the lists again: a run has begun or ended, or something was changed. */
  async refresh(): Promise<void> {
    const mine = ++this.asked;
    const { session = "", run = "" } = this.page.dataset;
    const query = new URLSearchParams({ session, run, q: one<HTMLInputElement>(this.box, '[name="q"]').value, next: session ? `/s/${session}?run=${run}` : "/" });
    const answer = await fetch(at(`/history?${query}`), { headers: { "X-Requested-With": "fetch" } }).catch(() => null);
    if (!answer?.ok || mine !== this.asked) return;
    const lists = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector<HTMLElement>("[data-history-lists]");
    if (!lists || mine !== this.asked || this.box.querySelector("[data-item-name]")) return; // somebody types a name
    const before = one(this.box, "[data-history-lists]");
    const chosen = new Set(all<HTMLInputElement>(before, 'input[type="checkbox"]:checked').map((box) => box.value));
    const focused = placeOf(document.activeElement);
    before.replaceWith(lists);
    for (const box of all<HTMLInputElement>(lists, 'input[type="checkbox"]')) box.checked = chosen.has(box.value);
    this.box.hidden = one(this.page, "[data-history-toggle]").hidden = false;
    this.wire();
    if (focused) this.box.querySelector<HTMLElement>(focused)?.focus();
  }

  /** Beside the bench where there is room, or below it. */
  private wireToggle(): void {
    const button = one(this.page, "[data-history-toggle]");
    const wide = matchMedia("(min-width: 1400px)");
    let kept: string | null = null;
    try {
      kept = localStorage.getItem(beside);
    } catch {
      // A browser that keeps nothing shows it as the width suggests.
    }
    const show = (on: boolean) => {
      this.page.toggleAttribute("data-history-beside", on);
      button.setAttribute("aria-pressed", String(on));
    };
    button.hidden = this.box.hidden;
    show(kept ? kept === "beside" : wide.matches);
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      show(on);
      try {
        localStorage.setItem(beside, on ? "beside" : "below");
      } catch {
        // It is shown all the same.
      }
      this.box.scrollIntoView({ block: "nearest" });
      if (on) one(this.box, '[name="q"]').focus();
    });
  }

  private wire(): void {
    const form = one<HTMLFormElement>(this.box, "[data-history-lists]");
    form.addEventListener("submit", (event) => this.submit(event, form));
    form.addEventListener("change", () => this.drawMany(form));
    for (const button of all(form, "[data-item-rename]")) {
      button.hidden = false;
      button.addEventListener("click", () => this.rename(button));
    }
    this.drawMany(form);
  }

  /** What is deleted of what is shown leads to another page; all else is done in place. */
  private submit(event: SubmitEvent, form: HTMLFormElement): void {
    const button = event.submitter as HTMLButtonElement | null;
    const item = button?.closest<HTMLElement>("[data-item]");
    const body = new FormData(form, button);
    const gone = button?.dataset.itemDoes === "pin" ? [] : item ? [item.dataset.item ?? ""] : [...body.getAll("run"), ...body.getAll("session")];
    const { session = "", run = "" } = this.page.dataset;
    if (gone.includes(session) || gone.includes(run)) return;
    event.preventDefault();
    void this.send(button?.getAttribute("formaction") ?? form.action, body);
  }

  private async send(url: string, body: FormData): Promise<void> {
    try {
      const { message, undo } = await post<{ message: string; undo?: string }>(url, body);
      const back = undo && undo !== at("") ? () => void this.send(undo, new FormData()) : undefined;
      if (back) toast(message, back);
      this.say(message);
    } catch (error) {
      toast(error instanceof Error ? error.message : String(error));
    }
    await this.refresh();
  }

  /** Puts a field in place of a title: Enter or leaving it keeps the name, Esc does not. */
  private rename(button: HTMLElement): void {
    const item = button.closest("[data-item]") as HTMLElement;
    const title = one(item, "[data-item-title]");
    const field = make("input", { type: "text", dir: "auto", maxlength: "200", "aria-label": "Name", "data-item-name": "" });
    field.value = title.textContent ?? "";
    let open = true;
    const done = (keep: boolean) => {
      if (!open) return;
      open = false; // taking the field away blurs it
      const name = field.value.trim();
      const body = new FormData();
      body.set("title", name);
      field.replaceWith(title);
      button.focus();
      if (keep && name !== title.textContent) {
        title.textContent = name || title.textContent;
        void this.send(button.dataset.itemRename ?? "", body);
      }
    };
    field.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== "Escape") return;
      event.preventDefault();
      event.stopPropagation();
      done(event.key === "Enter");
    });
    field.addEventListener("blur", () => done(true));
    title.replaceWith(field);
    field.select();
    field.focus();
  }

  private drawMany(form: HTMLFormElement): void {
    const n = all(form, 'input[type="checkbox"]:checked').length;
    one(form, "[data-history-many]").hidden = n === 0;
    one(form, "[data-history-delete]").textContent = `Delete ${n} chosen`;
  }
}

/** A selector of a control in the lists, so that it gets the focus again when they are read anew; "" is none. */
function placeOf(element: Element | null): string {
  const item = element?.closest<HTMLElement>("[data-history-lists] [data-item]");
  if (!item || !element) return "";
  const hooks = ["data-item-title", "data-item-rename"].find((hook) => element.hasAttribute(hook));
  const does = element.getAttribute("data-item-does");
  const control = hooks ? `[${hooks}]` : does ? `[data-item-does="${does}"]` : 'input[type="checkbox"]';
  return `[data-item="${CSS.escape(item.dataset.item ?? "")}"] ${control}`;
}

/** A text on one line, of n characters at most. */
export function shorten(text: string, n: number): string {
  const letters = [...text.replace(/\s+/g, " ").trim()];
  return letters.length <= n ? letters.join("") : `${letters.slice(0, n - 1).join("").trimEnd()}…`;
}
