// Starts the real daemon on free ports and reads from its output where it listens.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";

const START_MS = 15000;
const STOP_MS = 15000;
const LINES_KEPT = 200;

/** The daemon in dev mode. `settings` are `--set` arguments such as "cors.origins=…". */
export async function startBroker(...settings) {
  const program = process.env.TIDINGS_BIN;
  assert.ok(program, "TIDINGS_BIN must name the tidings program, for instance target/release/tidings");
  // An empty working directory, so that no config.yaml is found by chance.
  const home = await mkdtemp(path.join(tmpdir(), "tidings-browser-"));
  const args = ["serve", "--dev"];
  for (const setting of ["http.listen=127.0.0.1:0", "grpc.listen=127.0.0.1:0", "admin.listen=127.0.0.1:0", ...settings]) args.push("--set", setting);
  // The daemon takes TIDINGS_… for its configuration; neither ours nor somebody's own may reach it.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("TIDINGS_")));
  const child = spawn(path.resolve(program), args, { cwd: home, env, stdio: ["ignore", "pipe", "pipe"] });
  const exited = new Promise((resolve) => child.once("exit", (code, signal) => resolve(signal ?? code)));

  const addresses = {};
  const lines = [];
  const ready = new Promise((resolve, reject) => {
    const hear = (line) => {
      lines.push(line);
      if (lines.length > LINES_KEPT) lines.shift();
      const found = /^ +(http|grpc|admin) +(http:\/\/[^/\s]+)/.exec(line);
      if (!found) return;
      addresses[found[1]] = found[2];
      if (addresses.http && addresses.grpc && addresses.admin) resolve();
    };
    for (const stream of [child.stdout, child.stderr]) createInterface({ input: stream }).on("line", hear);
    child.once("error", (error) => reject(new Error(`${program} cannot be started: ${error.message}`)));
    exited.then((how) => reject(new Error(`the broker ended (${how}) before it listened:\n${lines.join("\n")}`)));
    setTimeout(() => reject(new Error(`the broker printed no addresses within ${START_MS} ms:\n${lines.join("\n")}`)), START_MS).unref();
  });

  const stop = async () => {
    child.kill("SIGTERM");
    // A second SIGTERM ends the broker at once; only a broken one needs more.
    const again = setTimeout(() => child.kill("SIGTERM"), 2000);
    const hard = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
    const how = await exited;
    clearTimeout(again);
    clearTimeout(hard);
    await rm(home, { recursive: true, force: true });
    assert.notEqual(how, "SIGKILL", `the broker did not stop within ${STOP_MS} ms:\n${lines.join("\n")}`);
  };
  try {
    await ready;
  } catch (error) {
    child.kill("SIGKILL");
    await rm(home, { recursive: true, force: true });
    throw error;
  }

  return {
    url: addresses.http,
    addresses,
    lines,
    stop,
    /** Ends at once, as by a power cut. */
    async kill() {
      child.kill("SIGKILL");
      await exited;
      await rm(home, { recursive: true, force: true });
    },
    async publish(channel, data, more = {}) {
      const response = await fetch(`${addresses.http}/v1/publish`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ channel, data, ...more }),
      });
      const answer = await response.json();
      assert.equal(response.status, 200, JSON.stringify(answer));
      return answer;
    },
  };
}
