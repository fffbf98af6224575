// Servers that share a PostgreSQL database and a NATS server, all of a test's own.

import { execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { freePort, startServer, until } from "./server.mjs";

const call = promisify(execFile);

/** Where a PostgreSQL server is that databases can be made in: scripts/postgres says so. */
export const postgres = process.env.REALIGN_TEST_POSTGRES;

/** Starts so many servers. Each can be stopped by itself; stop ends what is left. */
export async function startServers(count) {
  const folder = await mkdtemp(join(tmpdir(), "realign-cluster-"));
  const name = `e2e_${process.pid}_${Date.now()}`;
  const sql = (text) => call("psql", ["-q", "-d", postgres, "-c", text]);
  await sql(`CREATE DATABASE ${name}`);
  const db = postgres.replace(/^(postgres:\/\/[^/]*\/)[^?]*/, `$1${name}`);
  const { broker, nats } = await startNATS(folder);
  const servers = await Promise.all(Array.from({ length: count }, () => startServer({ args: ["--db", db, "--nats", nats] })));
  const running = new Set(servers);
  return {
    servers,
    /** Ends a server at once, and its workers with it. */
    async kill(server) {
      running.delete(server);
      await server.stop("SIGKILL");
    },
    async stop() {
      await Promise.all([...running].map((server) => server.stop()));
      broker.kill();
      await sql(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function startNATS(folder) {
  const program = "build/nats-server";
  if (!existsSync(program)) await call("go", ["build", "-o", program, "github.com/nats-io/nats-server/v2"]);
  const port = await freePort();
  const config = join(folder, "nats.conf");
  await writeFile(config, `listen: 127.0.0.1:${port}\nmax_payload: 8MB\njetstream: {store_dir: "${folder}/nats"}\n`);
  const broker = spawn(program, ["-c", config], { stdio: "ignore" });
  await until(() => answers(port), "NATS answers");
  return { broker, nats: `nats://127.0.0.1:${port}` };
}

function answers(port) {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
}
