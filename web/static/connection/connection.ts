// The state of the connection, in words, at the top of the page.

import { one, tell } from "../dom/dom";
import { type State, type Wire, Connection } from "../socket/socket";
import type { ServerFrame } from "../protocol/protocol";

/** Opens the page's connection and shows its state. */
export function connect(onFrame: (frame: ServerFrame) => void, onState: (state: State) => void): Connection {
  const box = one(document, "[data-connection]");
  const words = one(box, "[data-connection-words]");
  const retry = one(box, "[data-connection-retry]");
  box.hidden = false;
  const connection = new Connection({
    open: () => new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`) as unknown as Wire,
    onFrame,
    onState: (state, retryMs) => {
      box.dataset.state = state;
      retry.hidden = state !== "waiting";
      if (state === "open") words.textContent = "Connected";
      else if (state === "connecting") words.textContent = "Connecting";
      else if (state === "waiting") {
        // From the first trouble on it is said aloud; that all is well needs no words.
        words.setAttribute("role", "status");
        tell(words, retryMs > 3000 ? "No connection. Trying again" : "Reconnecting");
      }
      onState(state);
    },
    later: (ms, then) => {
      const timer = setTimeout(then, ms);
      return () => clearTimeout(timer);
    },
    random: Math.random,
  });
  retry.addEventListener("click", () => connection.retry());
  window.addEventListener("online", () => connection.retry());
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && connection.retry());
  window.addEventListener("pagehide", (event) => !event.persisted && connection.close());
  connection.start();
  return connection;
}
