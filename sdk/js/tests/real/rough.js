// Wires between client and broker that do what real ones do at their worst.

import { createServer as createHttpServer, request } from "node:http";
import { connect, createServer } from "node:net";

/** Numbers from 0 to 1 that a seed repeats (mulberry32). */
export function chance(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A seed, printed, so that a failure can be repeated: SEED=… npm test. */
export function seed(what) {
  const value = Number(process.env.SEED) || Math.floor(Math.random() * 2 ** 32);
  console.log(`${what}: SEED=${value}`);
  return value;
}

const port = (url) => Number(new URL(url).port);
const listening = async (server) => {
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${server.address().port}`;
};

/** Cuts each connection after a random number of bytes that came from the broker. `to` changes where it leads. */
export async function roughWire(target, { random, least, most }) {
  const sockets = new Set();
  const wire = { cuts: 0, to: target, calm: false };
  const server = createServer((near) => {
    const far = connect(port(wire.to), "127.0.0.1");
    let left = least + Math.floor(random() * (most - least));
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        sockets.delete(socket);
        near.destroy();
        far.destroy();
      });
    }
    near.pipe(far);
    far.on("data", (bytes) => {
      if (wire.calm || bytes.length < left) {
        left -= bytes.length;
        if (!near.write(bytes)) {
          far.pause();
          near.once("drain", () => far.resume());
        }
        return;
      }
      wire.cuts++;
      far.destroy();
      // What was sent before the cut still arrives.
      near.end(bytes.subarray(0, left), () => near.destroy());
    });
  });
  wire.url = await listening(server);
  wire.drop = () => {
    for (const socket of sockets) socket.destroy();
  };
  wire.stop = async () => {
    wire.drop();
    await new Promise((resolve) => server.close(resolve));
  };
  return wire;
}

/**
 * A proxy that passes an answer on when it has all of it, as virus scanners do, and knows nothing of WebSockets.
 * `paths` is what went through it.
 */
export async function bufferingProxy(target) {
  const paths = [];
  const proxy = { paths, holds: true, upgrades: false };
  const server = createHttpServer((near, answer) => {
    paths.push(near.url.split("?")[0]);
    const far = request({ port: port(target), host: "127.0.0.1", path: near.url, method: near.method, headers: near.headers }, (response) => {
      if (!proxy.holds) {
        answer.writeHead(response.statusCode, response.headers);
        return response.pipe(answer);
      }
      const held = [];
      response.on("data", (bytes) => held.push(bytes));
      response.on("end", () => answer.writeHead(response.statusCode, response.headers).end(Buffer.concat(held)));
      response.on("error", () => {});
      return undefined;
    });
    far.on("error", () => answer.destroy());
    answer.on("close", () => far.destroy());
    near.pipe(far);
  });
  server.on("upgrade", (near, socket, head) => {
    paths.push(near.url.split("?")[0]);
    socket.on("error", () => {});
    if (!proxy.upgrades) return socket.end("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    const far = connect(port(target), "127.0.0.1", () => {
      const headers = near.rawHeaders.map((text, at) => (at % 2 ? `${text}\r\n` : `${text}: `)).join("");
      far.write(`GET ${near.url} HTTP/1.1\r\n${headers}\r\n`);
      far.write(head);
      far.pipe(socket).pipe(far);
    });
    far.on("error", () => socket.destroy());
    far.on("close", () => socket.destroy());
    socket.on("close", () => far.destroy());
    return undefined;
  });
  proxy.url = await listening(server);
  proxy.stop = async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  return proxy;
}
