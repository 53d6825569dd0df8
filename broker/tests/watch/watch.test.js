// Dashboards and alert rules against a real Prometheus: nothing is in error, nothing is empty, and each alert fires in the fault that
// was made for it and nowhere else.
//
// So that it takes no hour, time runs thirty times as fast for the rules: every `for: 5m` and `[5m]` is ten seconds here. That they
// wait as long as they say is what docs/alerts/tidings.test.yaml holds, which promtool runs.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { files, written } from "../../../docs/grafana/source/build.mjs";
import { expression, panels } from "../../../docs/grafana/source/dashboard.mjs";
import { node } from "../../../docs/grafana/source/node.mjs";
import { overview } from "../../../docs/grafana/source/overview.mjs";
import { draw } from "./draw.js";
import { faults, start_all, wild } from "./faults.js";
import { until } from "./process.js";
import { Prometheus, promtool } from "./prometheus.js";
import { SIGNS, WILD, is_seen } from "./told_apart.js";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const at = (...parts) => path.join(root, ...parts);
const read = (...parts) => readFileSync(at(...parts), "utf8");

const RULES = read("docs/alerts/tidings.rules.yaml");
const OPERATING = read("docs/OPERATING.md");
const FASTER = 30;
/** A rate needs its window of samples, an alert its `for`, and a busy machine some time more. */
const FIRE_MS = 60_000;
/** How long nothing else may fire after all that must. */
const SILENT_MS = 12_000;

const sources = [overview, node];
const all_panels = sources.flatMap((source) => panels(source).map((panel) => ({ ...panel, where: `${source.title}: ${panel.title}` })));

const SECONDS = { s: 1, m: 60, h: 3600 };
const faster = (text) =>
  text.replace(/(for: |\[)(\d+)([smh])/g, (_, before, count, unit) => `${before}${Math.max(1, Math.round((count * SECONDS[unit]) / FASTER))}s`);

/** As Grafana fills it in: everything chosen. */
const asked = (query, instance = ".*") => expression(query).replaceAll("$job", ".*").replaceAll("$instance", instance).replaceAll("$__rate_interval", "10s");

const names_of = (text) => [...text.matchAll(/- alert: (\w+)/g)].map((found) => found[1]);

describe("what is checked in", () => {
  test("the dashboards are what their sources say", () => {
    for (const [name, text] of Object.entries(files())) {
      assert.ok(written()[name] === text, `${name} is not what its source says: run node docs/grafana/source/build.mjs`);
    }
  });

  test("every panel says what it shows, in which unit, and no two have the same name", () => {
    for (const source of sources) {
      const titles = panels(source).map((panel) => panel.title);
      assert.deepEqual([...new Set(titles)], titles);
    }
    for (const panel of all_panels) {
      assert.ok(panel.unit, `${panel.where} has no unit`);
      assert.ok(panel.about?.length > 20 && panel.about.endsWith("."), `${panel.where} has no description`);
      assert.ok(Object.keys(panel.queries).length > 0, `${panel.where} shows nothing`);
    }
  });

  test("every metric of the catalogue is on a dashboard or in a rule", () => {
    const documented = [...OPERATING.matchAll(/^\| `((?:tidings|process)_\w+)/gm)].map((found) => found[1]);
    assert.ok(documented.length > 50);
    const shown = RULES + all_panels.flatMap((panel) => Object.values(panel.queries)).join("\n");
    const hidden = documented.filter((name) => !new RegExp(`\\b${name}(_bucket|_sum|_count)?\\b`).test(shown));
    // Each of these is said by another one on the same dashboard.
    const spare = ["process_virtual_memory_bytes", "process_virtual_memory_max_bytes", "tidings_open_files_limit", "tidings_subscriptions_joined_total", "tidings_subscriptions_left_total"];
    assert.deepEqual(hidden.sort(), spare);
  });

  test("every alert has its page, and every page its alert", () => {
    const pages = [...OPERATING.matchAll(/^### (Tidings\w+)$/gm)].map((found) => found[1]);
    assert.deepEqual(pages.sort(), names_of(RULES).sort());
    for (const name of names_of(RULES)) assert.ok(RULES.includes(`runbook: docs/OPERATING.md#${name.toLowerCase()}\n`), name);
  });

  test("every alert is made to fire by a fault here, and timed in the rules' own tests", () => {
    const made = new Set([...Object.values(faults), wild].flatMap((fault) => fault.alerts));
    assert.deepEqual([...made].sort(), names_of(RULES).sort());
    const timed = new Set([...read("docs/alerts/tidings.test.yaml").matchAll(/alertname: (\w+)/g)].map((found) => found[1]));
    assert.deepEqual([...timed].sort(), names_of(RULES).sort());
  });

  test("promtool passes rules, their tests and the configuration of the example", () => {
    promtool("check", "rules", at("docs/alerts/tidings.rules.yaml"));
    promtool("test", "rules", at("docs/alerts/tidings.test.yaml"));
    promtool("check", "config", "--syntax-only", at("docs/grafana/prometheus.yml"));
  });
});

/** Runs faults beside one Prometheus until all that must fire does, then a little longer; nothing else may have fired ever. */
async function scene(found, then) {
  const stop = new AbortController();
  const brokers = await start_all(found);
  let prometheus;
  try {
    const targets = Object.fromEntries(Object.entries(brokers).map(([name, broker]) => [name, `127.0.0.1:${broker.admin}`]));
    prometheus = await Prometheus.start(targets, faster(RULES));
    // What a node shows of itself before anything happens to it is the base of every rate.
    await until(async () => (await prometheus.ask("query", { query: "count(up == 1)" })).result[0]?.value[1] === `${Object.keys(found).length}`, "not all are scraped", 20_000);
    const running = Object.entries(found).map(([name, fault]) =>
      fault.run(brokers[name], stop.signal).catch((error) => {
        throw new Error(`the fault ${name}: ${error.stack}`);
      }),
    );
    running.forEach((one) => one.catch(() => {}));
    const seen = {};
    const look = async () => {
      const missing = [];
      for (const [name, alerts] of Object.entries(await prometheus.firing())) (seen[name] ??= new Set()) && alerts.forEach((alert) => seen[name].add(alert));
      for (const [name, fault] of Object.entries(found)) missing.push(...fault.alerts.filter((alert) => !seen[name]?.has(alert)).map((alert) => `${name}: ${alert}`));
      if (missing.length > 0) throw new Error(`silent: ${missing.join(", ")}`);
      return true;
    };
    let late;
    await until(look, "not every alert fired", FIRE_MS).catch((error) => (late = error));
    const quiet = performance.now() + (late ? 0 : SILENT_MS);
    await until(async () => (await look().catch(() => false), performance.now() > quiet), "", SILENT_MS * 2);
    await then(prometheus, seen, late);
    stop.abort();
    await Promise.all(running);
  } finally {
    stop.abort();
    await Promise.all(Object.values(brokers).map((broker) => broker.stop()));
    await prometheus?.stop();
  }
}

function only_what_must(found, seen) {
  for (const [name, fault] of Object.entries(found)) {
    const fired = [...(seen[name] ?? [])].filter((alert) => !fault.may?.includes(alert)).sort();
    assert.deepEqual(fired, [...fault.alerts].sort(), `alerts of ${name}`);
  }
}

const number = (value) => Number(value[1]);

describe("against a real Prometheus", () => {
  test("each fault fires its alerts and no others; no panel is empty or in error", { timeout: 170_000 }, async () => {
    await scene(faults, async (prometheus, seen, late) => {
      if (process.env.PICTURES) await draw(process.env.PICTURES, sources, (query) => prometheus.range(asked(query), 50), "faults");
      if (process.env.PICTURES) await draw(process.env.PICTURES, sources, (query) => prometheus.range(asked(query, "calm"), 50), "calm");
      if (late) throw late;
      only_what_must(faults, seen);
      const empty = [];
      for (const panel of all_panels) {
        for (const [legend, query] of Object.entries(panel.queries)) {
          for (const instance of [".*", "calm"]) {
            const series = await prometheus.range(asked(query, instance), 10);
            if (!series.some(({ values }) => values.some((value) => Number.isFinite(number(value))))) empty.push(`${panel.where} [${legend}] of ${instance}`);
          }
        }
      }
      assert.deepEqual(empty, []);
      // From the panels alone each trouble is told from the others, and from a node that is well.
      for (const [fault, signs] of Object.entries(SIGNS)) {
        const seen_on = [];
        for (const instance of [...Object.keys(SIGNS), "calm"]) {
          if (await is_seen(signs, overview, (query) => prometheus.range(asked(query, instance), 10))) seen_on.push(instance);
        }
        assert.deepEqual(seen_on, [fault], `the signs of "${fault}"`);
      }
      // Each metric a rule names is there, so that silence means a low value and no missing one.
      for (const rule of await prometheus.rules()) {
        assert.equal(rule.health, "ok", `${rule.name}: ${rule.lastError}`);
        for (const [name] of rule.query.matchAll(/\b(?:tidings|process)_\w+/g)) {
          assert.notDeepEqual(await prometheus.range(name, 10), [], `${rule.name} asks for ${name}`);
        }
      }
    });
  });

  test("a publisher gone wild is told from everything else", { timeout: 120_000 }, async () => {
    await scene({ wild }, async (prometheus, seen, late) => {
      if (process.env.PICTURES) await draw(process.env.PICTURES, sources, (query) => prometheus.range(asked(query), 40), "wild");
      if (late) throw late;
      only_what_must({ wild }, seen);
      assert.ok(await is_seen(WILD, overview, (query) => prometheus.range(asked(query), 10)), "the signs of a publisher gone wild");
    });
  });
});
