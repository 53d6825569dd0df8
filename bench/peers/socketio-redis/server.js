// A client joins rooms; everything published in Redis under a room's name is emitted to it.
const { createServer } = require("http");
const { Server } = require("socket.io");
const { createClient } = require("redis");

const [port, redisPort] = process.argv.slice(2).map(Number);
const subscribed = new Map();

async function main() {
  const redis = createClient({ socket: { host: "127.0.0.1", port: redisPort } });
  await redis.connect();

  const http = createServer();
  const io = new Server(http, {
    transports: ["websocket"],
    perMessageDeflate: false,
    // Pings would have to be answered by the load generator.
    pingInterval: 3_600_000,
    serveClient: false,
    wsEngine: require("ws").Server,
  });
  io.on("connection", (socket) => {
    socket.on("join", async (room) => {
      if (!subscribed.has(room)) {
        subscribed.set(room, redis.subscribe(room, (message) => io.to(room).emit("message", message)));
      }
      await subscribed.get(room);
      socket.join(room);
      socket.emit("joined");
    });
  });
  http.listen({ host: "127.0.0.1", port, backlog: 4096 });
}

main();
