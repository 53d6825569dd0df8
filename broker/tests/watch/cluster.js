// Brokers of one cluster on this machine. Between each of them and the others a relay can stand, which has a network's troubles.

import dgram from "node:dgram";
import net from "node:net";
import { Broker } from "./broker.js";

const SECRET = "a secret of the watch test";

/** Below what systems give away by themselves, for port 0 and for outgoing connections: nobody gets one of these by chance. */
const PORTS = { from: 10_000, below: 32_000 };
let next_port = PORTS.from + ((process.pid * 101) % (PORTS.below - PORTS.from));

/** A port that is free for TCP and UDP, and was not given before. A node needs it before it listens: its address is told to the others. */
export async function free_port() {
  for (;;) {
    const port = next_port++;
    if (next_port >= PORTS.below) next_port = PORTS.from;
    const tcp = net.createServer();
    const udp = dgram.createSocket("udp4");
    const are_free = await Promise.all([
      new Promise((resolve) => tcp.once("error", () => resolve(false)).listen(port, "127.0.0.1", () => resolve(true))),
      new Promise((resolve) => udp.once("error", () => resolve(false)).bind(port, "127.0.0.1", () => resolve(true))),
    ]);
    if (are_free[0]) await new Promise((resolve) => tcp.close(resolve));
    await new Promise((resolve) => udp.close(resolve));
    if (are_free.every(Boolean)) return port;
  }
}

/** Takes what is meant for a node on its advertised port, and hands it on to where it listens. */
class Relay {
  constructor(to) {
    Object.assign(this, { to, delay_ms: 0, pairs: new Set(), ways: new Map() });
  }

  async start() {
    this.port = await free_port();
    this.tcp = net.createServer((outer) => this.join(outer)).listen(this.port, "127.0.0.1");
    this.udp = dgram.createSocket("udp4").bind(this.port, "127.0.0.1");
    this.udp.on("message", (packet, from) => this.way(from).send(packet, this.to, "127.0.0.1"));
    return this;
  }

  join(outer) {
    const inner = net.connect({ host: "127.0.0.1", port: this.to, noDelay: true });
    outer.setNoDelay(true);
    const pair = [outer, inner];
    this.pairs.add(pair);
    for (const [from, to] of [pair, [inner, outer]]) {
      from.on("error", () => {});
      from.on("close", () => (this.pairs.delete(pair), to.destroy()));
      from.on("data", (bytes) => (this.delay_ms > 0 ? setTimeout(() => to.writable && to.write(bytes), this.delay_ms) : to.write(bytes)));
    }
  }

  /** The answers to each sender come by a socket of its own, and go back to it. */
  way({ address, port }) {
    const key = `${address}:${port}`;
    if (!this.ways.has(key)) {
      const socket = dgram.createSocket("udp4").bind(0, "127.0.0.1");
      socket.on("message", (packet) => this.udp.send(packet, port, address));
      this.ways.set(key, socket);
    }
    return this.ways.get(key);
  }

  /** Breaks every connection that there is. */
  cut() {
    for (const pair of this.pairs) pair.forEach((socket) => socket.destroy());
  }

  stop() {
    this.cut();
    this.tcp.close();
    this.udp.close();
    for (const socket of this.ways.values()) socket.close();
  }
}

/** The brokers of one cluster: `name-1`, `name-2` … */
export class Cluster {
  static async start(name, count, { settings = [], relayed = false, secret = SECRET } = {}) {
    const self = new Cluster();
    const ports = await Promise.all(Array.from({ length: count }, free_port));
    self.relays = relayed ? await Promise.all(ports.map((port) => new Relay(port).start())) : [];
    const seen = relayed ? self.relays.map((relay) => relay.port) : ports;
    const seeds = seen.map((port) => `"127.0.0.1:${port}"`).join(", ");
    self.seeds = seeds;
    self.brokers = await Promise.all(
      ports.map((port, at) => {
        const of = [
          `cluster.keys=["${secret}"]`, `cluster.node=${name}-${at + 1}`, `cluster.listen=127.0.0.1:${port}`,
          `cluster.advertise=127.0.0.1:${seen[at]}`, `cluster.seeds=[${seeds}]`, ...settings,
        ];
        return new Broker(`${name}-${at + 1}`, of).start();
      }),
    );
    return self;
  }

  async stop() {
    this.relays.forEach((relay) => relay.stop());
    await Promise.all(this.brokers.map((broker) => broker.stop()));
  }
}
