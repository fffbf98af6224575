// For tests: a page that the templates rendered (web/templates/testdata), in a document without a browser.

import { readFileSync } from "node:fs";
import { Window } from "happy-dom";

export function openPage(name: string): Document {
  const window = new Window({ url: "http://localhost:8080/", width: 1280, height: 900 });
  const html = readFileSync(`web/templates/testdata/${name}.html`, "utf8");
  window.document.write(html.replace(/<script[^>]*src=[^>]*><\/script>|<link rel="stylesheet"[^>]*>/g, ""));
  const names = ["document", "HTMLElement", "HTMLInputElement", "HTMLTextAreaElement", "HTMLSelectElement", "HTMLParagraphElement", "Element", "Node", "Event", "CustomEvent", "localStorage", "location", "history", "matchMedia", "getSelection", "CSS", "innerWidth", "innerHeight", "addEventListener", "ResizeObserver", "FormData", "navigator"] as const;
  const globals = globalThis as unknown as Record<string, unknown>;
  const from = window as unknown as Record<string, unknown>;
  for (const name of names) {
    const value = from[name];
    Object.defineProperty(globals, name, { value: typeof value === "function" && !/^[A-Z]/.test(name) ? value.bind(window) : value, configurable: true, writable: true });
  }
  Object.defineProperty(globals, "window", { value: window, configurable: true, writable: true });
  globals.requestAnimationFrame = (then: () => void) => {
    then();
    return 0;
  };
  return window.document as unknown as Document;
}
