// Programs that a test starts and that must not outlive it.

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

const LINES_KEPT = 100;
const STOP_MS = 5000;
const running = new Set();
process.once("exit", () => running.forEach((child) => child.kill("SIGKILL")));

/** Starts a program. `hear` gets each line it prints; `stop` ends it, by force when it does not listen. */
export function start(program, args, { hear = () => {}, ...options } = {}) {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], ...options });
  running.add(child);
  const lines = [];
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on("line", (line) => {
      lines.push(line);
      if (lines.length > LINES_KEPT) lines.shift();
      hear(line);
    });
  }
  const exited = new Promise((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("exit", (code, signal) => resolve(signal ?? code));
  });
  exited.then(() => running.delete(child));
  const stop = async (signal = "SIGTERM") => {
    child.kill(signal);
    const hard = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
    await exited;
    clearTimeout(hard);
  };
  return { child, lines, exited, stop };
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Asks `what` again until it gives something, or fails with what it said last. */
export async function until(what, why, ms) {
  const end = performance.now() + ms;
  for (;;) {
    let said;
    try {
      const found = await what();
      if (found) return found;
    } catch (error) {
      said = error;
    }
    if (performance.now() > end) throw new Error(`${why} within ${ms} ms${said ? `: ${said.message}` : ""}`);
    await pause(100);
  }
}
