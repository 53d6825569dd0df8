// A broker with one shard on free ports, and clients that are no more than a socket: hundreds of them must cost next to nothing.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { start } from "./process.js";

const START_MS = 20000;
const ANSWER_BYTES_MAX = 1 << 20;

export class Broker {
  /**
   * `open_files` is the limit it starts with; `prepare(folder)` puts files where it starts. A second start of the same broker takes
   * the same admin port.
   */
  constructor(name, settings = [], { open_files, prepare } = {}) {
    Object.assign(this, { name, settings, open_files, prepare, admin: undefined, sockets: new Set() });
  }

  async start() {
    const program = process.env.TIDINGS_BIN;
    assert.ok(program, "TIDINGS_BIN must name the tidings program, for instance target/release/tidings");
    // An empty working directory, so that no config.yaml is found by chance; and nobody's own TIDINGS_… either.
    if (!this.home) {
      this.home = mkdtempSync(path.join(tmpdir(), "tidings-watch-"));
      this.prepare?.(this.home);
    }
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("TIDINGS_")));
    const admin = `admin.listen=127.0.0.1:${this.admin ?? 0}`;
    const set = ["http.listen=127.0.0.1:0", "grpc.listen=127.0.0.1:0", admin, "shards=1", ...this.settings].flatMap((one) => ["--set", one]);
    // Open, but without the demo, which publishes too.
    const open = "namespaces.default={allow: {subscribe: anyone, publish: anyone, history: anyone}, unlisted: true}";
    let command = [path.resolve(program), "serve", "--set", open, ...set];
    if (this.open_files) command = ["sh", "-c", `ulimit -n ${this.open_files}; exec "$@"`, "sh", ...command];
    const ports = {};
    let listens;
    const listening = new Promise((resolve) => (listens = resolve));
    const hear = (line) => {
      const found = /^ +(http|grpc|admin) +http:\/\/127\.0\.0\.1:(\d+)/.exec(line);
      if (found) ports[found[1]] = Number(found[2]);
      if (ports.http && ports.admin) listens(true);
    };
    this.process = start(command[0], command.slice(1), { cwd: this.home, env, hear });
    const late = new Promise((resolve) => setTimeout(resolve, START_MS, false).unref());
    const up = await Promise.race([listening, late, this.process.exited.then(() => false)]);
    assert.ok(up, `${this.name} did not start:\n${this.process.lines.join("\n")}`);
    Object.assign(this, { port: ports.http, admin: ports.admin });
    return this;
  }

  async stop(signal = "SIGKILL") {
    for (const socket of this.sockets) socket.destroy();
    await this.process?.stop(signal);
    if (this.home) rmSync(this.home, { recursive: true, force: true });
  }

  /** A client that asks for something and takes what comes. `bytes_per_second`: what it reads of it, 0 for nothing. */
  listen(target, { bytes_per_second = Infinity } = {}) {
    const socket = net.connect({ host: "127.0.0.1", port: this.port });
    this.sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => this.sockets.delete(socket));
    socket.write(`GET ${target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`);
    if (bytes_per_second === Infinity) socket.resume();
    else if (bytes_per_second > 0) throttle(socket, bytes_per_second);
    return socket;
  }

  /** Many of them, after the last of which was heard from. */
  async crowd(count, target, options) {
    const sockets = Array.from({ length: count }, () => this.listen(target, options));
    await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.once("connect", resolve).once("close", resolve))));
    return sockets;
  }

  /** One request over a connection of its own, or over one that is kept; resolves with status and body. */
  async ask(method, target, { body = "", headers = {}, socket: kept } = {}) {
    const socket = kept ?? this.connect();
    const head = { host: "127.0.0.1", "content-length": Buffer.byteLength(body), ...headers };
    socket.write(`${method} ${target} HTTP/1.1\r\n${Object.entries(head).map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n${body}`);
    try {
      return await answer(socket);
    } finally {
      if (!kept) socket.destroy();
    }
  }

  /** A connection for [`Broker.ask`] that is kept. */
  connect() {
    const socket = net.connect({ host: "127.0.0.1", port: this.port, noDelay: true });
    this.sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => this.sockets.delete(socket));
    return socket;
  }

  /** Publishes without waiting for answers, as fast as the broker reads, and costs this program next to nothing. */
  flood(channel, data) {
    const one = `POST /v1/channels/${channel}/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\nContent-Length: ${data.length}\r\n\r\n${data}`;
    const many = Buffer.from(one.repeat(32));
    const socket = this.connect();
    const write = () => socket.destroyed || socket.write(many, write);
    socket.resume();
    write();
  }

  publish(channel, data, { socket, id, headers = {} } = {}) {
    return this.ask("POST", `/v1/channels/${channel}/messages${id ? `?id=${id}` : ""}`, { body: data, headers: { "content-type": "text/plain", ...headers }, socket });
  }
}

/** Reads in sips of a tenth of a second. */
function throttle(socket, bytes_per_second) {
  let allowed = 0;
  socket.on("data", (bytes) => {
    allowed -= bytes.length;
    if (allowed <= 0) socket.pause();
  });
  const sip = setInterval(() => {
    allowed = Math.min(allowed + bytes_per_second / 10, bytes_per_second);
    if (allowed > 0) socket.resume();
  }, 100);
  socket.once("close", () => clearInterval(sip));
}

/** One HTTP/1 answer with a length; what is broken or too large is an error. */
function answer(socket) {
  return new Promise((resolve, reject) => {
    let text = "";
    const end = (settle, value) => {
      socket.off("data", hear).off("close", cut);
      settle(value);
    };
    const cut = () => end(reject, new Error("the connection was closed before the answer"));
    const hear = (bytes) => {
      text += bytes.toString("latin1");
      const split = text.indexOf("\r\n\r\n");
      if (split < 0) return;
      const length = Number(/\r\ncontent-length: *(\d+)/i.exec(text.slice(0, split + 2))?.[1] ?? 0);
      if (length > ANSWER_BYTES_MAX) return end(reject, new Error(`an answer of ${length} bytes`));
      const body = text.slice(split + 4);
      if (body.length >= length) end(resolve, { status: Number(text.slice(9, 12)), body });
    };
    socket.on("data", hear).on("close", cut);
  });
}
