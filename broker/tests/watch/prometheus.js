// A real Prometheus in a folder of its own, and the questions a test asks it.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { start, until } from "./process.js";

const PROMETHEUS = process.env.PROMETHEUS ?? "prometheus";
const PROMTOOL = process.env.PROMTOOL ?? "promtool";
const START_MS = 20000;

/** Runs promtool; what it complains of is the test's failure. */
export function promtool(...args) {
  return execFileSync(PROMTOOL, args, { encoding: "utf8", stdio: "pipe" });
}

const freePort = () =>
  new Promise((resolve) => {
    const server = net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

export class Prometheus {
  /** Scrapes `targets` (name → address) as job `tidings` each second, with these rules. */
  static start(targets, rules) {
    const statics = Object.entries(targets).map(([name, address]) => `      - targets: ["${address}"]\n        labels: { instance: ${name} }\n`);
    return this.start_with(
      `global: { scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }\n` +
        `rule_files: [rules.yaml]\nscrape_configs:\n  - job_name: tidings\n    static_configs:\n${statics.join("")}`,
      { "rules.yaml": rules },
    );
  }

  /** With this configuration, and files beside it. */
  static async start_with(config, files) {
    const home = mkdtempSync(path.join(tmpdir(), "tidings-prometheus-"));
    for (const [name, text] of Object.entries({ ...files, "prometheus.yml": config })) writeFileSync(path.join(home, name), text);
    const port = await freePort();
    const args = [`--config.file=${home}/prometheus.yml`, `--storage.tsdb.path=${home}/data`, `--web.listen-address=127.0.0.1:${port}`];
    const self = new Prometheus();
    Object.assign(self, { home, port, process: start(PROMETHEUS, [...args, "--log.level=warn"], { cwd: home }) });
    try {
      await until(async () => (await fetch(`http://127.0.0.1:${port}/-/ready`)).ok, "Prometheus is not ready", START_MS);
    } catch (error) {
      const said = self.process.lines.join("\n");
      await self.stop();
      throw new Error(`${error.message}\n${said}`);
    }
    return self;
  }

  async stop() {
    await this.process.stop();
    rmSync(this.home, { recursive: true, force: true });
  }

  async ask(endpoint, parameters = {}) {
    const response = await fetch(`http://127.0.0.1:${this.port}/api/v1/${endpoint}?${new URLSearchParams(parameters)}`);
    const answer = await response.json();
    assert.equal(answer.status, "success", `${JSON.stringify(parameters)}: ${answer.error}`);
    assert.deepEqual(answer.warnings ?? [], [], JSON.stringify(parameters));
    return answer.data;
  }

  /** The series of an expression over the last `seconds`. */
  async range(query, seconds, step = 1) {
    const end = Date.now() / 1000;
    return (await this.ask("query_range", { query, start: end - seconds, end, step })).result;
  }

  /** Node → the alerts that fire there now. */
  async firing() {
    const { alerts } = await this.ask("alerts");
    const found = {};
    for (const { labels } of alerts.filter((alert) => alert.state === "firing")) (found[labels.instance] ??= new Set()).add(labels.alertname);
    return found;
  }

  async rules() {
    return (await this.ask("rules")).groups.flatMap((group) => group.rules);
  }
}
