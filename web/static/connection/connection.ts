// The state of the connection, in words, at the top of the page.

import { at } from "../base/base";
import { one, tell } from "../dom/dom";
import { type State, type Wire, Connection } from "../socket/socket";
import type { ServerFrame } from "../protocol/protocol";

/** What the server, or what stands before it, says of a connection that does not come about: a WebSocket tells nobody why. An
 * ordinary request to the same address is answered by our server with 400, which names WebSocket. */
export function reason(status: number, ours: boolean): string {
  if (status === 401 || status === 403) return "Logged out. Load the page again to log in";
  if (status === 429) return "Too many connections are open. Trying again";
  if (ours && status === 400) return "The server answers, but a proxy before it does not pass WebSockets on (Upgrade). Trying again";
  if (status >= 500) return `The server answers ${status}. Trying again`;
  return `Something before the server answers ${status}. It may want you to sign in: load the page again`;
}

/** Asks why there is no connection; "" when nothing answers. */
async function ask(): Promise<string> {
  try {
    const answer = await fetch(at("/ws"), { headers: { Accept: "application/json" }, cache: "no-store", redirect: "manual", signal: AbortSignal.timeout(5000) });
    const said = (await answer.json().catch(() => null)) as { code?: string } | null;
    return reason(answer.status, said?.code === "invalid");
  } catch {
    return "";
  }
}

/** Opens the page's connection and shows its state. */
export function connect(onFrame: (frame: ServerFrame) => void, onState: (state: State) => void): Connection {
  const box = one(document, "[data-connection]");
  const words = one(box, "[data-connection-words]");
  const retry = one(box, "[data-connection-retry]");
  box.hidden = false;
  let fails = 0; // since it was open
  const connection = new Connection({
    open: () => new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${at("/ws")}`) as unknown as Wire,
    onFrame,
    onState: (state, retryMs) => {
      box.dataset.state = state;
      retry.hidden = state !== "waiting";
      if (state === "open") fails = 0;
      if (state === "open") words.textContent = "Connected";
      else if (state === "connecting") words.textContent = "Connecting";
      else if (state === "waiting") {
        // From the first trouble on it is said aloud; that all is well needs no words.
        words.setAttribute("role", "status");
        fails++;
        tell(words, retryMs > 3000 ? "No connection. Trying again" : "Reconnecting");
        if (fails >= 2) void ask().then((why) => why && connection.state === "waiting" && tell(words, why));
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
