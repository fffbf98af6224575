// Times in the reader's own zone and language. The server writes them in UTC.

import { all } from "../dom/dom";

export function times(): void {
  const form = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  for (const time of all<HTMLTimeElement>(document, "time[datetime]")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    time.title = time.textContent ?? "";
    time.textContent = form.format(at);
  }
}
