// The few helpers that every controller uses.

/** The one element a hook names. It throws where the page lacks it: page and script are built together. */
export function one<E extends HTMLElement = HTMLElement>(root: ParentNode, selector: string): E {
  const found = root.querySelector<E>(selector);
  if (!found) throw new Error(`the page has no ${selector}`);
  return found;
}

export function all<E extends HTMLElement = HTMLElement>(root: ParentNode, selector: string): E[] {
  return [...root.querySelectorAll<E>(selector)];
}

/** Makes an element. Strings become text, never markup. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, string> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export function svg(tag: string, attributes: Record<string, string | number> = {}, ...children: (Node | string)[]): SVGElement {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/** Makes an element say a text. One that says it already is left alone: it would be laid out again. */
export function write(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Says something to screen readers and on the page, or clears it. */
export function tell(element: HTMLElement, text: string): void {
  write(element, text);
  if (element.hidden !== (text === "")) element.hidden = text === "";
}

export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Without a secure context there is no clipboard, but a selection can still be copied.
    const box = make("textarea", { class: "visually-hidden", readonly: "" });
    box.value = text;
    document.body.append(box);
    box.select();
    const done = document.execCommand("copy");
    box.remove();
    return done;
  }
}

/** Sends a form the way a program does: JSON comes back, or an error with the server's words. */
export async function post<T>(url: string, body: FormData): Promise<T> {
  const token = document.querySelector<HTMLMetaElement>('meta[name="csrf-token"]')?.content ?? "";
  const fields = new URLSearchParams();
  for (const [name, value] of body) if (typeof value === "string") fields.append(name, value);
  const answer = await fetch(url, {
    method: "POST",
    headers: { Accept: "application/json", "X-CSRF-Token": token, "X-Requested-With": "fetch" },
    body: fields,
  });
  const said = (await answer.json().catch(() => null)) as (T & { message?: string }) | null;
  if (!answer.ok || said === null) throw new Error(said?.message ?? `The server answered ${answer.status}.`);
  return said;
}

/** Whether a key press belongs to a field that somebody types in. */
export function typing(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement &&
    (target.isContentEditable ||
      target instanceof HTMLTextAreaElement ||
      target instanceof HTMLSelectElement ||
      (target instanceof HTMLInputElement && !["checkbox", "radio", "range", "button"].includes(target.type)))
  );
}
