// How texts are shown: as the models wrote them, as Markdown, coloured, or token by token. One choice for all of them, kept.

export type Shown = "plain" | "rendered" | "ratio" | "tokens";

const choices: readonly string[] = ["plain", "rendered", "ratio", "tokens"];
const key = "realign.view";
const changed = "realign:shown";

export const isShown = (view: string | null): view is Shown => view !== null && choices.includes(view);

export function keptShown(): Shown {
  try {
    const kept = localStorage.getItem(key);
    return isShown(kept) ? kept : "plain";
  } catch {
    return "plain";
  }
}

/** Keeps the choice and tells those who show texts. */
export function keepShown(view: Shown): void {
  try {
    localStorage.setItem(key, view);
  } catch {
    // A browser that keeps nothing shows the text plain next time.
  }
  document.dispatchEvent(new CustomEvent(changed, { detail: view }));
}

/** Calls f when another is chosen, as long as an element is on the page. */
export function onShown(element: HTMLElement, f: (view: Shown) => void): void {
  const listener = (event: Event) => {
    if (element.isConnected) f((event as CustomEvent<Shown>).detail);
    else document.removeEventListener(changed, listener);
  };
  document.addEventListener(changed, listener);
}
