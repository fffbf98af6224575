// What only some people use of a page is a file of its own, fetched when it is used.

import { at } from "./base";

type Extras = typeof import("../extras");

let fetched: Promise<Extras> | null = null;

export function extras(): Promise<Extras> {
  fetched ??= import(at("/static/extras.js")) as Promise<Extras>;
  fetched.catch(() => (fetched = null)); // the next use tries again
  return fetched;
}
