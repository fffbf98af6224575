// A question at a time: keys, and answers that are sent until the server says that it has them. Without this
// the forms do the same, page by page.

import { all, one, tell, typing } from "../dom/dom";
import { lettersOn } from "../help/help";

/** How long to wait before an answer is sent again: longer each time, and not for ever longer. */
export function pause(attempt: number): number {
  return Math.min(500 * 2 ** attempt, 8000);
}

/** Whether the server may take it later what it did not take now. */
export function worthAnother(status: number): boolean {
  return status === 429 || status >= 500;
}

/** What a picked answer does to the best and the worst of a ranking: the first pick is the best, the second the worst. */
export function pick(picked: number[], choice: number): number[] {
  if (picked.length >= 2 || picked.includes(choice)) return picked;
  return [...picked, choice];
}

/** The body of a question as the server renders it; null for anything else that was answered in its place, such as the login page
 * of a proxy, which is not shown: it is not ours. */
export function question(html: string): DocumentFragment | null {
  const sent = document.createElement("template");
  sent.innerHTML = html;
  return sent.content.querySelector("[data-rate-heading]") ? sent.content : null;
}

type Way = "done" | "refused";

export class Rating {
  private busy = false;

  constructor(
    private readonly root: HTMLElement,
    private readonly send: typeof fetch = (input, init) => fetch(input, init),
    private readonly wait = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms)),
  ) {
    document.addEventListener("keydown", (event) => this.key(event));
    if (root.hasAttribute("data-rate-preview")) return; // the forms lead on by themselves, and nothing is kept
    root.addEventListener("submit", (event) => {
      event.preventDefault();
      if (event.target instanceof HTMLFormElement) void this.submit(event.target, event.submitter);
    });
  }

  private get body(): HTMLElement {
    return one(this.root, "[data-rate-body]");
  }

  private say(words: string): void {
    tell(one(this.root, "[data-rate-status]"), words);
  }

  /** Sends a form until the server has it. The form carries the question's id, so that sending twice is saying once. */
  async submit(form: HTMLFormElement, button: HTMLElement | null): Promise<void> {
    if (this.busy) return;
    this.busy = true;
    this.body.setAttribute("aria-busy", "true");
    const fields = new URLSearchParams();
    for (const [name, value] of new FormData(form)) if (typeof value === "string") fields.append(name, value);
    if (button instanceof HTMLButtonElement && button.name) fields.append(button.name, button.value);
    try {
      if ((await this.deliver(form.action, fields)) === "refused") await this.look();
    } finally {
      this.busy = false;
      this.body.removeAttribute("aria-busy");
    }
  }

  private async deliver(url: string, fields: URLSearchParams): Promise<Way> {
    for (let attempt = 0; ; attempt++) {
      const answer = await this.ask(url, { method: "POST", body: fields });
      const next = answer?.ok ? question(await answer.text().catch(() => "")) : null;
      if (next) {
        this.show(next);
        this.say("");
        return "done";
      }
      if (answer?.ok || answer?.redirected) {
        // Who signs in again in another tab has this tab's answer sent by the next try.
        this.say("Not saved: sign in again, in another tab. Something on the way to the server asks for it. The answer is kept, and sent then.");
        await this.wait(pause(attempt));
        continue;
      }
      if (answer && !worthAnother(answer.status)) {
        const said = (await answer.json().catch(() => null)) as { message?: string } | null;
        this.say(said?.message ?? `The server answered ${answer.status}.`);
        return "refused";
      }
      this.say("Not saved yet: the server cannot be reached. It is sent again until it is.");
      await this.wait(pause(attempt));
    }
  }

  private async ask(url: string, init: RequestInit): Promise<Response | null> {
    try {
      return await this.send(url, { ...init, headers: { Accept: "application/json", "X-Requested-With": "fetch" }, signal: AbortSignal.timeout(15_000) });
    } catch {
      return null; // no connection, or none in time
    }
  }

  /** Shows the question that is there now, after one that the server refused. Why it did stays to be read. */
  private async look(): Promise<void> {
    const url = this.root.dataset.rate;
    const answer = url ? await this.ask(url, {}) : null;
    const next = answer?.ok ? question(await answer.text()) : null;
    if (next) this.show(next);
  }

  private show(next: DocumentFragment): void {
    // The server rendered it, as it renders whole pages: texts are escaped there.
    this.body.replaceChildren(next);
    window.scrollTo(0, 0);
    one(this.body, "[data-rate-heading]").focus();
  }

  private key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.key === "Escape" && typing(event.target)) {
      (event.target as HTMLElement).blur();
      return;
    }
    const sheet = document.querySelector<HTMLDialogElement>("dialog[data-help]");
    if (typing(event.target) || !lettersOn() || this.busy) return;
    if (event.key === "g" && sheet) {
      event.preventDefault();
      if (sheet.open) sheet.close();
      else sheet.showModal();
      return;
    }
    if (sheet?.open || event.repeat) return;
    if (this.act(event)) event.preventDefault();
  }

  /** Does what a key stands for. Says whether it stands for anything. */
  private act(event: KeyboardEvent): boolean {
    const body = this.body;
    const choice = body.querySelector<HTMLElement>(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
    switch (true) {
      case choice !== null:
        choice.click();
        return true;
      case event.key === "c":
        return reach(body.querySelector("[data-rate-comment]"));
      case event.key === "u":
        return press(body.querySelector("[data-rate-undo] button"));
      case event.key === "s": {
        const skip = body.querySelector<HTMLDetailsElement>("[data-rate-skip]");
        if (!skip) return false;
        skip.open = true;
        return reach(skip.querySelector("input[type=radio]:checked"));
      }
      case event.key === "Enter" && !(event.target instanceof HTMLButtonElement || event.target instanceof HTMLAnchorElement || event.target instanceof HTMLElement && event.target.closest("summary, [data-rate-skip]")):
        return press(body.querySelector("[data-rate-save]"));
      case /^[1-9]$/.test(event.key):
        return this.score(Number(event.key)) || this.rank(Number(event.key) - 1);
      case event.key === "Backspace":
        return this.back();
      default:
        return false;
    }
  }

  private get scales(): HTMLElement[] {
    return all(this.body, "[data-rate-scale]");
  }

  /** Scores the first criterion that has no score. */
  private score(points: number): boolean {
    const scale = this.scales.find((one) => !one.querySelector("input:checked"));
    const input = scale?.querySelector<HTMLInputElement>(`input[value="${points}"]`);
    if (!input) return false;
    input.checked = true;
    input.focus();
    return true;
  }

  private picked(): number[] {
    return ["best", "worst"].flatMap((name) => all<HTMLInputElement>(this.body, `input[name="${name}"]:checked`).map((input) => Number(input.value)));
  }

  private rank(choice: number): boolean {
    const before = this.picked();
    const after = pick(before, choice);
    const name = after.length === 1 ? "best" : "worst";
    const input = after.length > before.length ? this.body.querySelector<HTMLInputElement>(`input[name="${name}"][value="${choice}"]`) : null;
    if (!input) return false;
    input.checked = true;
    input.focus();
    return true;
  }

  /** Takes the last score or pick of this question back. */
  private back(): boolean {
    const inputs = all<HTMLInputElement>(this.body, '[data-rate-scale] input:checked, input[name="worst"]:checked');
    const last = inputs[inputs.length - 1] ?? this.body.querySelector<HTMLInputElement>('input[name="best"]:checked');
    if (!last) return false;
    last.checked = false;
    return true;
  }
}

function reach(element: HTMLElement | null): boolean {
  element?.focus();
  return element !== null;
}

function press(button: HTMLElement | null): boolean {
  button?.click();
  return button !== null;
}
