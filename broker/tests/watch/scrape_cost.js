// What a publish feels of a scrape: publishes one after the other over one connection while 1,000 clients listen to other channels,
// in turns of five seconds without and with a scrape each second. With `cluster` the broker is one of three nodes, 5,000 more channels are
// in use, so that a scrape has slots to look at, and what is published goes to 30 channels, a third of which each node orders.
//
//   cargo build --release && TIDINGS_BIN=target/release/tidings node broker/tests/watch/scrape_cost.js [cluster]

import { spawn } from "node:child_process";
import { Broker } from "./broker.js";
import { Cluster } from "./cluster.js";
import { until } from "./process.js";

const TURNS = 6;
const TURN_MS = 5000;
const CLIENTS = 1000;
const NODES = 3;
const USED = 5000;
const START_MS = 30_000;

const cluster = process.argv[2] === "cluster" ? await Cluster.start("scraped", NODES) : undefined;
const broker = cluster?.brokers[0] ?? (await new Broker("scraped").start());
const channels = cluster ? Array.from({ length: 30 }, (_, number) => `news-${number}`) : ["news"];
const metrics = `http://127.0.0.1:${broker.admin}/metrics`;
const socket = broker.connect();

async function publish(channel, data) {
  const { status, body } = await broker.publish(channel, data, { socket });
  if (status !== 200) throw new Error(`a publish was answered with ${status}: ${body}`);
}

if (cluster) {
  const is_whole = async ({ admin }) => {
    const text = await (await fetch(`http://127.0.0.1:${admin}/metrics`)).text();
    return text.includes(`tidings_cluster_members{state="active"} ${NODES}\n`) && text.includes("tidings_cluster_active 1\n");
  };
  for (const node of cluster.brokers) await until(() => is_whole(node), `${node.name} does not see all nodes`, START_MS);
  for (let number = 0; number < USED; number += 1) await publish(`used-${number}`, "x");
}
for (let number = 0; number < CLIENTS; number += 100) await broker.crowd(100, `/sse?channel=quiet-${number}`);
for (const channel of channels) await broker.crowd(cluster ? 1 : 10, `/sse?channel=${channel}`);

/** Publishes for a while; resolves with the time each took, in ms. */
async function turn(ms) {
  const took = [];
  for (const end = performance.now() + ms; performance.now() < end; ) {
    const channel = channels[took.length % channels.length];
    const began = performance.now();
    await publish(channel, "x".repeat(200));
    took.push(performance.now() - began);
  }
  return took;
}

const ms = (value) => value.toFixed(3).padStart(9);
function line(name, took) {
  const sorted = took.sort((a, b) => a - b);
  const at = (share) => ms(sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]);
  console.log(`${name.padEnd(16)} ${String(sorted.length).padStart(8)} ${at(0.5)} ${at(0.9)} ${at(0.99)} ${at(0.999)} ${ms(sorted.at(-1))}`);
}

await turn(2000);
const [without, within, scrapes] = [[], [], []];
for (let number = 0; number < TURNS; number += 1) {
  without.push(...(await turn(TURN_MS)));
  // By another process, so that ours does not pay for reading what it asked for.
  const loop = spawn("sh", ["-c", `while :; do curl -s -o /dev/null -w '%{time_total} %{size_download}\\n' ${metrics}; sleep 1; done`], { stdio: ["ignore", "pipe", "ignore"] });
  loop.stdout.on("data", (text) => scrapes.push(...String(text).trim().split("\n").map((one) => one.split(" ").map(Number))));
  within.push(...(await turn(TURN_MS)));
  loop.kill();
}
console.log(`publish (ms)        count       50%       90%       99%     99.9%       max`);
line("without scrapes", without);
line("scraped each s", within);
const [seconds, bytes] = [0, 1].map((column) => scrapes.map((one) => one[column]).sort((a, b) => a - b)[Math.floor(scrapes.length / 2)]);
if (cluster) {
  const text = await (await fetch(metrics)).text();
  console.log(`slots in use on the node that is scraped: ${[...text.matchAll(/tidings_cluster_slots\{part="(\w+)"\} (\d+)/g)].map(([, part, count]) => `${count} ${part}`).join(", ")}`);
}
console.log(`${scrapes.length} scrapes, median ${(seconds * 1000).toFixed(2)} ms for ${bytes} bytes`);
await (cluster ?? broker).stop();
process.exit(0);
