// A reverse proxy that passes one path of its host on, as it is, and nothing else.

import { createServer, request } from "node:http";
import { connect } from "node:net";

/** Listens on a free port and passes what is below path on to the port, which can change. Requests for anything else are in `strays`. */
export async function startProxy(path, port) {
  let target = port;
  const strays = [];
  const below = (url) => url === path || url.startsWith(`${path}/`);
  const proxy = createServer((from, to) => {
    if (!below(from.url)) {
      if (from.url !== "/favicon.ico") strays.push(`${from.method} ${from.url}`);
      to.writeHead(404).end();
      return;
    }
    const onward = request({ port: target, host: "127.0.0.1", method: from.method, path: from.url, headers: from.headers }, (answer) => {
      to.writeHead(answer.statusCode, answer.rawHeaders);
      answer.pipe(to);
    });
    onward.on("error", () => to.destroy());
    from.pipe(onward);
  });
  proxy.on("upgrade", (from, socket, head) => {
    if (!below(from.url)) {
      strays.push(`upgrade ${from.url}`);
      socket.destroy();
      return;
    }
    const onward = connect(target, "127.0.0.1", () => {
      const lines = [`${from.method} ${from.url} HTTP/1.1`];
      for (let i = 0; i < from.rawHeaders.length; i += 2) lines.push(`${from.rawHeaders[i]}: ${from.rawHeaders[i + 1]}`);
      onward.write(`${lines.join("\r\n")}\r\n\r\n`);
      onward.write(head);
      onward.pipe(socket).pipe(onward);
    });
    for (const end of [onward, socket]) end.on("error", () => {});
    socket.on("close", () => onward.destroy());
    onward.on("close", () => socket.destroy());
  });
  await new Promise((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  return {
    base: `http://127.0.0.1:${proxy.address().port}${path}`,
    strays,
    /** Passes all that comes from now on to another port. */
    moveTo: (other) => {
      target = other;
    },
    stop: () => {
      proxy.closeAllConnections();
      return new Promise((resolve) => proxy.close(resolve));
    },
  };
}
