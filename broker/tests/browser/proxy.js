// A wire that can be cut: passes bytes on to the broker, keeps the heads of requests, and drops everything on demand.

import { createServer, connect } from "node:net";

export async function startWire(target) {
  const { hostname, port } = new URL(target);
  const sockets = new Set();
  const heads = [];
  let cut = false;
  const server = createServer((near) => {
    if (cut) return near.destroy();
    const far = connect(Number(port), hostname);
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        sockets.delete(socket);
        near.destroy();
        far.destroy();
      });
    }
    near.on("data", (bytes) => {
      const text = bytes.toString("latin1");
      // A browser sends each head in one piece here; bodies are of no interest.
      if (/^(GET|POST|OPTIONS|DELETE) /.test(text)) heads.push(text.split("\r\n\r\n")[0]);
    });
    near.pipe(far).pipe(near);
    return undefined;
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const drop = () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    heads,
    cut() {
      cut = true;
      drop();
    },
    mend() {
      cut = false;
    },
    async stop() {
      drop();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
