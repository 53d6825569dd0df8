// A client's first message names its channel. Everything published there in Redis goes to it as it is.
const { WebSocketServer } = require("ws");
const { createClient } = require("redis");

const [port, redisPort] = process.argv.slice(2).map(Number);
const listeners = new Map();

async function main() {
  const redis = createClient({ socket: { host: "127.0.0.1", port: redisPort } });
  await redis.connect();

  const http = require("http").createServer();
  const server = new WebSocketServer({ server: http, perMessageDeflate: false });
  server.on("connection", (socket) => {
    socket.once("message", async (data) => {
      const channel = data.toString();
      let sockets = listeners.get(channel);
      if (!sockets) {
        sockets = new Set();
        listeners.set(channel, sockets);
        sockets.subscribed = redis.subscribe(channel, (message) => {
          const bytes = Buffer.from(message);
          for (const one of sockets) one.send(bytes, { binary: false });
        });
      }
      sockets.add(socket);
      socket.on("close", () => sockets.delete(socket));
      await sockets.subscribed;
      socket.send("ok");
    });
    socket.on("error", () => {});
  });
  http.listen({ host: "127.0.0.1", port, backlog: 4096 });
}

main();
