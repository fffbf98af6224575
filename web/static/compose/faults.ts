// What is wrong with fields of a form, told beside them.

import { all, tell } from "../dom/dom";

/** A wrong field: its name, as the server names it too, and what is wrong. */
export interface Fault {
  field: string;
  message: string;
}

export class Faults {
  constructor(private readonly form: HTMLFormElement) {}

  /** Shows what is wrong at the fields; true if every fault found its place. */
  show(faults: readonly Fault[]): boolean {
    for (const place of all(this.form, "[data-error]")) this.set(place.dataset.error ?? "", "");
    let first: HTMLElement | null = null;
    let placed = true;
    for (const { field, message } of faults) {
      const input = this.set(field, message);
      if (!input) placed = false;
      first ??= input;
    }
    for (let box = first?.closest("details"); box; box = box.parentElement?.closest("details")) box.open = true;
    first?.focus();
    return placed;
  }

  /** Says what is wrong with one field, or takes it back with "". */
  set(field: string, message: string): HTMLElement | null {
    const place = this.form.querySelector<HTMLElement>(`[data-error="${CSS.escape(field)}"]`);
    if (!place) return null;
    tell(place, message);
    place.id ||= `${field}-error`;
    const input = this.form.querySelector<HTMLElement>(`[name="${CSS.escape(field)}"]`);
    if (!input) return null;
    if (message) {
      input.setAttribute("aria-invalid", "true");
      input.setAttribute("aria-errormessage", place.id);
    } else {
      input.removeAttribute("aria-invalid");
      input.removeAttribute("aria-errormessage");
    }
    describe(input, place.id, message !== "");
    return input;
  }
}

/** Takes an id into what describes an input, or out of it: not everything that reads a page knows aria-errormessage. */
function describe(input: HTMLElement, id: string, on: boolean): void {
  const ids = new Set((input.getAttribute("aria-describedby") ?? "").split(" ").filter(Boolean));
  if (on) ids.add(id);
  else ids.delete(id);
  if (ids.size > 0) input.setAttribute("aria-describedby", [...ids].join(" "));
  else input.removeAttribute("aria-describedby");
}
