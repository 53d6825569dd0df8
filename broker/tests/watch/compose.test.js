// The example for containers, docs/grafana/compose.yaml, on a machine that has none: what it names must be there and fit, and what its
// services are told must work for the very programs, started here as processes. Names of containers become addresses; nothing else is
// changed. What this does not try: that the image is built, and Grafana itself.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import { free_port } from "./cluster.js";
import { start, until } from "./process.js";
import { Prometheus } from "./prometheus.js";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const folder = path.join(root, "docs/grafana");
const yaml = (file) => parse(readFileSync(file, "utf8"), { merge: true });

const { services } = yaml(path.join(folder, "compose.yaml"));
const brokers = Object.entries(services).filter(([name]) => name.startsWith("broker-"));
const DOCKERFILE = readFileSync(path.join(root, "Dockerfile"), "utf8");
/** What the image sets for who runs in it. */
const IMAGE = Object.fromEntries(
  [...DOCKERFILE.matchAll(/^ENV (.+)$/gm)].flatMap((found) => found[1].split(" ").map((pair) => /^(\w+)=(.+)$/.exec(pair).slice(1))),
);
const port_of = (name) => IMAGE[`TIDINGS_${name}__LISTEN`].split(":")[1];

/** Of a service: [{ from: a path here, to: a path in the container }]. */
const mounts = (service) =>
  (service.volumes ?? []).map((volume) => {
    const [from, to, mode] = volume.split(":");
    assert.equal(mode, "ro", volume);
    return { from: path.resolve(folder, from), to };
  });

/** Where a file of a service's container is here. */
function here(service, file) {
  const mount = mounts(service).find(({ to }) => file === to || file.startsWith(`${to}/`));
  assert.ok(mount, `${file} is on no volume`);
  return path.join(mount.from, file.slice(mount.to.length));
}

/** Every string of a parsed file. */
const strings = (value) => (typeof value === "string" ? [value] : value && typeof value === "object" ? Object.values(value).flatMap(strings) : []);

describe("the example for containers", () => {
  test("whatever it builds, mounts, publishes or depends on is there", () => {
    assert.ok(brokers.length === 3, "three brokers");
    for (const [name, service] of Object.entries(services)) {
      const known = ["build", "image", "ulimits", "stop_grace_period", "environment", "ports", "entrypoint", "command", "depends_on", "volumes"];
      for (const key of Object.keys(service)) assert.ok(known.includes(key), `${name}.${key}`);
      if (service.build) assert.ok(existsSync(path.resolve(folder, service.build, "Dockerfile")), `${name} has no Dockerfile`);
      else assert.match(service.image, /:v?\d+\.\d+\.\d+$/, `${name}: an image with a version`);
      for (const { from } of mounts(service)) assert.ok(existsSync(from), `${name}: ${from}`);
      for (const other of service.depends_on ?? []) assert.ok(services[other], `${name} depends on ${other}`);
      for (const port of service.ports ?? []) assert.match(port, /^127\.0\.0\.1:\d+:\d+$/, `${name}: nobody else reaches it`);
      for (const value of Object.values(service.environment ?? {})) assert.equal(typeof value, "string", `${name}: quoted, so that all tools read the same`);
    }
    const published = Object.values(services).flatMap((service) => service.ports ?? []).map((port) => port.split(":")[1]);
    assert.deepEqual([...new Set(published)], published, "no port twice");
    for (const [, { ports }] of brokers) for (const port of ports) assert.ok([port_of("HTTP"), port_of("GRPC")].includes(port.split(":")[2]), port);
  });

  test("Prometheus finds its rules and the nodes, Grafana its data, its dashboards and its first page", () => {
    const { prometheus, grafana } = services;
    const config = yaml(here(prometheus, "/etc/prometheus/prometheus.yml"));
    for (const file of config.rule_files) assert.ok(statSync(here(prometheus, file)).isFile());
    const [job] = config.scrape_configs;
    assert.equal(job.job_name, "tidings");
    assert.deepEqual(job.static_configs.flatMap((one) => one.targets), brokers.map(([name]) => `${name}:${port_of("ADMIN")}`));

    const provisioning = (kind) => {
      const at = here(grafana, `/etc/grafana/provisioning/${kind}`);
      return readdirSync(at).map((name) => yaml(path.join(at, name)));
    };
    const [{ apiVersion, datasources }] = provisioning("datasources");
    assert.equal(apiVersion, 1);
    const [{ type, url, isDefault, jsonData }] = datasources;
    assert.deepEqual({ type, isDefault, every: jsonData.timeInterval }, { type: "prometheus", isDefault: true, every: config.global.scrape_interval });
    const [, host, port] = /^http:\/\/([\w-]+):(\d+)$/.exec(url);
    assert.ok(services[host].ports.some((published) => published.endsWith(`:${port}`)), url);
    const [{ providers }] = provisioning("dashboards");
    const dashboards = here(grafana, providers[0].options.path);
    const names = readdirSync(dashboards);
    assert.ok(names.length >= 4 && names.every((name) => name.endsWith(".json")));
    const uids = names.map((name) => JSON.parse(readFileSync(path.join(dashboards, name), "utf8")).uid);
    assert.deepEqual([...new Set(uids)], uids);
    assert.ok(existsSync(here(grafana, grafana.environment.GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH)));
  });

  test("the daemon takes what its containers are told, and a word that it does not know it refuses", () => {
    const program = path.resolve(process.env.TIDINGS_BIN);
    const check = (env) => execFileSync(program, ["check"], { cwd: tmpdir(), env: { ...IMAGE, ...env }, encoding: "utf8", stdio: "pipe" });
    for (const [name, { environment }] of brokers) assert.match(check(environment), /fine/, name);
    assert.throws(() => check({ ...brokers[0][1].environment, TIDINGS_CLUSTER__NOD: "broker-1" }), /TIDINGS_CLUSTER__NOD/);
  });

  test("told so, three daemons become one cluster, the traffic goes through it, and Prometheus sees it", { timeout: 120_000 }, async () => {
    const home = mkdtempSync(path.join(tmpdir(), "tidings-compose-"));
    const running = [];
    let [prometheus, traffic] = [];
    try {
      const nodes = {};
      for (const [name] of brokers) {
        nodes[name] = { HTTP: await free_port(), GRPC: await free_port(), ADMIN: await free_port(), CLUSTER: await free_port() };
      }
      const clustered = (text) => text.replace(/(broker-\d):8003/g, (_, name) => `127.0.0.1:${nodes[name].CLUSTER}`);
      for (const [name, { environment }] of brokers) {
        const told = Object.fromEntries(Object.entries(environment).map(([key, value]) => [key, clustered(value)]));
        const listens = Object.fromEntries(Object.entries(nodes[name]).map(([which, port]) => [`TIDINGS_${which}__LISTEN`, `127.0.0.1:${port}`]));
        running.push(start(path.resolve(process.env.TIDINGS_BIN), [], { cwd: home, env: { ...IMAGE, ...told, ...listens } }));
      }
      const ready = async ({ ADMIN }) => {
        const answer = await (await fetch(`http://127.0.0.1:${ADMIN}/readyz`)).json();
        const cluster = await (await fetch(`http://127.0.0.1:${ADMIN}/cluster`)).json();
        return answer.ready && answer.cluster === "whole" && cluster.nodes.filter((node) => node.state === "active").length === brokers.length;
      };
      const whole = async () => (await Promise.all(Object.values(nodes).map(ready))).every(Boolean);
      await until(whole, `no cluster of three:\n${running.map((one) => one.lines.join("\n")).join("\n")}`, 40_000);

      // The container's own curl finds the nodes by their names.
      const reach = Object.entries(nodes).map(([name, { HTTP }]) => `--connect-to ${name}:${port_of("HTTP")}:127.0.0.1:${HTTP}`).join(" ");
      const curl = execFileSync("sh", ["-c", "command -v curl"], { encoding: "utf8" }).trim();
      writeFileSync(path.join(home, "curl"), `#!/bin/sh\nexec ${curl} ${reach} "$@"\n`, { mode: 0o755 });
      const { entrypoint, command } = services.traffic;
      const [shell, ...rest] = [...entrypoint, ...command.map((text) => text.replaceAll("$$", "$"))];
      // Of a group of its own, so that all that it starts ends with it: by us, or by itself if we are gone.
      traffic = start("timeout", ["--signal=KILL", "110", shell, ...rest], { cwd: home, env: { PATH: `${home}:${process.env.PATH}` }, detached: true });

      let config = readFileSync(here(services.prometheus, "/etc/prometheus/prometheus.yml"), "utf8").replaceAll("10s", "1s");
      for (const [name, { ADMIN }] of Object.entries(nodes)) config = config.replace(`${name}:${port_of("ADMIN")}`, `127.0.0.1:${ADMIN}`);
      config = config.replaceAll("/etc/prometheus/", "");
      prometheus = await Prometheus.start_with(config, { "tidings.rules.yaml": readFileSync(here(services.prometheus, "/etc/prometheus/tidings.rules.yaml"), "utf8") });
      const value = async (query) => Number((await prometheus.ask("query", { query })).result[0]?.value[1]);
      await until(async () => (await value('count(up{job="tidings"} == 1)')) === 3, "Prometheus does not see three nodes", 30_000);
      await until(async () => (await value('sum(tidings_sessions{front="sse"})')) === 30, "not ten listeners on each node", 30_000);
      await until(async () => (await value("sum(rate(tidings_messages_delivered_total[10s]))")) > 30, "what is published does not come to all", 30_000);
      const rules = await prometheus.rules();
      assert.ok(rules.length > 20 && rules.every((rule) => rule.health !== "err"), JSON.stringify(rules.map(({ name, lastError }) => [name, lastError])));
    } finally {
      if (traffic && traffic.child.exitCode === null) process.kill(-traffic.child.pid, "SIGKILL");
      for (const one of running) await one.stop("SIGKILL");
      await prometheus?.stop();
      rmSync(home, { recursive: true, force: true });
    }
  });
});
