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
import { files, sources, written } from "../../../docs/grafana/source/build.mjs";
import { cluster } from "../../../docs/grafana/source/cluster.mjs";
import { overview } from "../../../docs/grafana/source/overview.mjs";
import { expression, panels } from "../../../docs/grafana/source/dashboard.mjs";
import { cluster_world, clusters } from "./cluster_faults.js";
import { draw } from "./draw.js";
import { faults, wild, world } from "./faults.js";
import { until } from "./process.js";
import { Prometheus, promtool } from "./prometheus.js";
import { DIAGNOSES, is_seen, row } from "./told_apart.js";

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

const panels_of = (list) => list.flatMap((source) => panels(source).map((panel) => ({ ...panel, where: `${source.title}: ${panel.title}` })));
const all_panels = panels_of(sources);

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
    const in_clusters = Object.values(clusters).flatMap((fault) => Object.values(fault.alerts).flat());
    const made = new Set([...[...Object.values(faults), wild].flatMap((fault) => fault.alerts), ...in_clusters]);
    assert.deepEqual([...made].sort(), names_of(RULES).sort());
    const timed = new Set([...read("docs/alerts/tidings.test.yaml").matchAll(/alertname: (\w+)/g)].map((found) => found[1]));
    assert.deepEqual([...timed].sort(), names_of(RULES).sort());
  });

  test("how troubles are told apart is written down as it is tried, and each is tried in a fault of its own", () => {
    const section = OPERATING.split("\n## Dashboards\n")[1].split("\n## ")[0];
    const rows = section.split("\n").filter((line) => line.startsWith("| ") && line.includes("](#"));
    assert.deepEqual(rows, Object.values(DIAGNOSES).map(row));
    for (const { page } of Object.values(DIAGNOSES)) assert.ok(names_of(RULES).includes(page), page);
    const tried = [...Object.values(faults), wild, ...Object.values(clusters)].map((fault) => fault.trouble).filter(Boolean);
    assert.deepEqual(tried.sort(), Object.keys(DIAGNOSES).sort());
  });

  test("every bound is warned of, or it is written why not and which alert is for it; the admin page does as the alert", () => {
    const section = OPERATING.split("\n### Bounds\n")[1].split("\n### ")[0];
    const bounds = [...section.matchAll(/^\| `(\w+)`/gm)].map((found) => found[1]);
    assert.ok(bounds.length >= 17, `${bounds}`);
    const [, left_out] = /tidings_bound_used\{bound!~"([\w|]+)"\}\s+\/ \(tidings_bound_limit > 0\) > 0\.85/.exec(RULES);
    const [exceptions] = /but these:.+?\n\n/s.exec(section);
    assert.deepEqual([...exceptions.matchAll(/`(\w+)`/g)].map((found) => found[1]).sort(), left_out.split("|").sort());
    for (const bound of left_out.split("|")) assert.ok(bounds.includes(bound), bound);
    // Nor may the page call a node troubled where no alert does, and the other way round.
    const [, of_page] = /MAY_BE_FULL = new Set\(\[([^\]]+)\]\)/.exec(read("broker/src/admin/page/assets/overview.js"));
    assert.deepEqual([...of_page.matchAll(/"(\w+)"/g)].map((found) => found[1]).sort(), left_out.split("|").sort());
    const page = OPERATING.split("\n### TidingsBoundNearlyReached\n")[1].split("\n### ")[0];
    for (const bound of bounds) assert.equal(page.includes(`\`${bound}\``), !left_out.split("|").includes(bound), `${bound} on the alert's page`);
  });

  test("promtool passes rules, their tests and the configuration of the example", () => {
    promtool("check", "rules", at("docs/alerts/tidings.rules.yaml"));
    promtool("test", "rules", at("docs/alerts/tidings.test.yaml"));
    promtool("check", "config", "--syntax-only", at("docs/grafana/prometheus.yml"));
  });
});

/**
 * Plays a scene, and once more if it does not hold: a machine that stood still for a second is an honest reason for an alert which no
 * fault here made. What failed at first is always told.
 */
async function scene(t, start, then) {
  try {
    await play(await start(), then);
  } catch (error) {
    t.diagnostic(`played again, because at first: ${error.stack}`);
    await play(await start(), then);
  }
}

/** Runs the faults of a world beside one Prometheus until all that must fire does, then a little longer; nothing else may have fired ever. */
async function play({ brokers, alerts, may, troubles, begins, run, stop: end }, then) {
  const stop = new AbortController();
  let prometheus;
  try {
    const targets = Object.fromEntries(Object.entries(brokers).map(([name, broker]) => [name, `127.0.0.1:${broker.admin}`]));
    prometheus = await Prometheus.start(targets, faster(RULES));
    // What a node shows of itself before anything happens to it is the base of every rate.
    await until(async () => (await prometheus.ask("query", { query: begins })).result[0]?.value[1] === `${Object.keys(brokers).length}`, "not all begin", 40_000);
    const running = run(stop.signal).map(([name, fault]) =>
      fault.catch((error) => {
        throw new Error(`the fault ${name}: ${error.stack}`);
      }),
    );
    running.forEach((one) => one.catch(() => {}));
    const seen = {};
    const look = async () => {
      const missing = [];
      for (const [name, fired] of Object.entries(await prometheus.firing())) (seen[name] ??= new Set()) && fired.forEach((alert) => seen[name].add(alert));
      for (const [name, must] of Object.entries(alerts)) missing.push(...must.filter((alert) => !seen[name]?.has(alert)).map((alert) => `${name}: ${alert}`));
      if (missing.length > 0) throw new Error(`silent: ${missing.join(", ")}`);
      return true;
    };
    let late;
    await until(look, "not every alert fired", FIRE_MS).catch((error) => (late = error));
    const quiet = performance.now() + (late ? 0 : SILENT_MS);
    await until(async () => (await look().catch(() => false), performance.now() > quiet), "", SILENT_MS * 2);
    const only_what_must = () => {
      for (const [name, must] of Object.entries(alerts)) {
        const fired = [...(seen[name] ?? [])].filter((alert) => must.includes(alert) || !may[name].includes(alert)).sort();
        assert.deepEqual(fired, [...must].sort(), `alerts of ${name}`);
      }
    };
    await then(prometheus, late, only_what_must, () => all_told_apart(prometheus, troubles));
    stop.abort();
    await Promise.all(running);
  } finally {
    stop.abort();
    await end();
    await prometheus?.stop();
  }
}

/** Panels that show nothing where they should, for everybody and for one node that is well. */
async function empty_panels(prometheus, list, calm) {
  const empty = [];
  for (const panel of panels_of(list)) {
    for (const [legend, query] of Object.entries(panel.queries)) {
      for (const instance of [".*", calm]) {
        const series = await prometheus.range(asked(query, instance), 10);
        if (!series.some(({ values }) => values.some((value) => Number.isFinite(number(value))))) empty.push(`${panel.where} [${legend}] of ${instance}`);
      }
    }
  }
  return empty;
}

/**
 * From the panels alone each trouble is told from all others, and from a node that is well: on each node of a scene the signs of every
 * trouble are looked for, and only those of its own may be found.
 */
async function all_told_apart(prometheus, troubles) {
  const wrong = [];
  await Promise.all(
    Object.entries(troubles).map(async ([name, { must, may }]) => {
      const seen = [];
      for (const [trouble, diagnosis] of Object.entries(DIAGNOSES)) {
        if (await is_seen(diagnosis, (query) => prometheus.range(asked(query, name), 10))) seen.push(trouble);
      }
      if (must.some((one) => !seen.includes(one)) || seen.some((one) => !may.includes(one))) wrong.push(`${name} looks like [${seen}], and is [${must}]`);
    }),
  );
  assert.deepEqual(wrong, []);
}

/** Every rule is evaluated; each metric it names is there, so that silence means a low value and no missing one. */
async function rules_are_well(prometheus, is_asked) {
  for (const rule of await prometheus.rules()) {
    assert.equal(rule.health, "ok", `${rule.name}: ${rule.lastError}`);
    for (const [name] of rule.query.matchAll(/\b(?:tidings|process)_\w+/g)) {
      if (is_asked(name)) assert.notDeepEqual(await prometheus.range(name, 10), [], `${rule.name} asks for ${name}`);
    }
  }
}

const pictures = async (prometheus, list, name, instance, seconds = 50) => {
  if (process.env.PICTURES) await draw(process.env.PICTURES, list, (query) => prometheus.range(asked(query, instance), seconds), name);
};

const number = (value) => Number(value[1]);

describe("against a real Prometheus", () => {
  const alone = sources.filter((source) => source !== cluster);

  test("each fault fires its alerts and no others; no panel is empty or in error", { timeout: 340_000 }, async (t) => {
    await scene(t, () => world(faults), async (prometheus, late, only_what_must, told_apart) => {
      await pictures(prometheus, alone, "faults");
      await pictures(prometheus, alone, "calm", "calm");
      if (late) throw late;
      only_what_must();
      assert.deepEqual(await empty_panels(prometheus, alone, "calm"), []);
      await told_apart();
      await rules_are_well(prometheus, (name) => !name.startsWith("tidings_cluster_"));
    });
  });

  test("a publisher gone wild is told from everything else", { timeout: 240_000 }, async (t) => {
    await scene(t, () => world({ wild }), async (prometheus, late, only_what_must, told_apart) => {
      await pictures(prometheus, alone, "wild", undefined, 40);
      if (late) throw late;
      only_what_must();
      await told_apart();
    });
  });

  test("faults of clusters fire their alerts and no others, a slow follower and a flapping link are told apart", { timeout: 340_000 }, async (t) => {
    await scene(t, () => cluster_world(), async (prometheus, late, only_what_must, told_apart) => {
      await pictures(prometheus, [cluster, overview], "clusters");
      await pictures(prometheus, sources, "trio", "trio-.*");
      if (late) throw late;
      only_what_must();
      assert.deepEqual(await empty_panels(prometheus, [cluster], "trio-1"), []);
      await told_apart();
      await rules_are_well(prometheus, () => true);
    });
  });
});
