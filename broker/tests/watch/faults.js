// The faults: each is a broker of its own, what is done to it until the end, and the alerts that must fire there, and no others; `trouble` is
// what the dashboards must show it to be (told_apart.js), and nothing else: without one, none of those.

import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { Broker } from "./broker.js";
import { pause, until } from "./process.js";

/** Does something again and again, `every` so many milliseconds, until `signal` says stop. What fails is done again. */
export async function keep(signal, every, act) {
  while (!signal.aborted) {
    const began = performance.now();
    try {
      await act();
    } catch {
      // Who is refused or cut asks again, as a client would.
    }
    await pause(Math.max(1, every - (performance.now() - began)));
  }
}

const word = (bytes) => "x".repeat(bytes);
const cursor_of = (answer) => JSON.parse(answer.body).cursor;

/** Publishes on one kept connection. */
function publisher(broker, signal, every, channel, body, headers = () => ({})) {
  let socket;
  return keep(signal, every, async () => {
    if (!socket || socket.destroyed) socket = broker.connect();
    await broker.publish(channel, body, { socket, headers: headers() });
  });
}

/** Name → { settings, alerts, may: alerts that may come or not, prepare(folder) before the broker starts there, run(broker, signal) }. */
export const faults = {
  /** Everybody is well: the one broker of which every panel must show something. */
  calm: {
    settings: [],
    alerts: [],
    async run(broker, signal) {
      await broker.crowd(20, "/sse?channel=news");
      await broker.crowd(10, "/stream?channel=news");
      const polls = Array.from({ length: 3 }, () => keep(signal, 100, () => broker.ask("GET", "/poll?channel=news&wait=1")));
      // Now and then somebody comes back, and a publisher sends again what was kept already.
      let number = 0;
      const visits = keep(signal, 1000, async () => {
        const id = `order-${++number}`;
        const before = cursor_of(await broker.publish("orders", "one", { id }));
        await broker.publish("orders", "one", { id });
        await broker.ask("GET", `/poll?channel=orders&since=${before}&wait=0`);
      });
      await Promise.all([...polls, visits, publisher(broker, signal, 20, "news", word(200))]);
    },
  },

  /** Readers whose network takes half of what is published. */
  slow: {
    settings: ["http.send_buffer_bytes=16KiB", "namespaces.default.history={size: 100000, bytes: 256MiB}"],
    trouble: "slow readers",
    alerts: ["TidingsSessionsBehind", "TidingsDeliverySlow"],
    async run(broker, signal) {
      await broker.crowd(15, "/sse?channel=film", { bytes_per_second: 250_000 });
      await publisher(broker, signal, 100, "film", word(60_000));
    },
  },

  /** Readers that stopped, one channel's only, beside others that are well. */
  stopped: {
    settings: ["http.send_buffer_bytes=16KiB"],
    trouble: "one channel's readers",
    alerts: ["TidingsSessionsBehind"],
    async run(broker, signal) {
      await broker.crowd(40, "/sse?channel=news");
      await broker.crowd(20, "/sse?channel=film", { bytes_per_second: 0 });
      await Promise.all([publisher(broker, signal, 50, "news", word(200)), publisher(broker, signal, 100, "film", word(60_000))]);
    },
  },

  /** Clients that come back to a history that is too short for their absence. */
  missed: {
    settings: ["namespaces.default.history={size: 5}"],
    trouble: "short history",
    alerts: ["TidingsMessagesMissed"],
    async run(broker, signal) {
      await broker.crowd(10, "/sse?channel=news");
      const first = cursor_of(await broker.publish("news", "first"));
      const returns = keep(signal, 200, () => broker.ask("GET", `/poll?channel=news&since=${first}&wait=0`));
      await Promise.all([returns, publisher(broker, signal, 50, "news", word(200))]);
    },
  },

  /** A node that may open few files, with more clients than fit. */
  crowded: {
    settings: [],
    open_files: 300,
    trouble: "near its limit",
    alerts: ["TidingsBoundNearlyReached", "TidingsConnectionsRefused"],
    async run(broker, signal) {
      await keep(signal, 300, async () => {
        const missing = 140 - broker.sockets.size;
        if (missing > 0) await broker.crowd(missing, "/sse?channel=news");
      });
    },
  },

  /** A node whose limit of open files somebody lowered while it ran. */
  lowered: {
    settings: [],
    trouble: "files taken",
    alerts: ["TidingsOpenFilesNearLimit"],
    async run(broker) {
      await broker.crowd(100, "/sse?channel=news");
      const { pid } = broker.process.child;
      const open = Number(execFileSync("sh", ["-c", `ls /proc/${pid}/fd | wc -l`], { encoding: "utf8" }));
      const limit = Math.floor(open / 0.93);
      execFileSync("prlimit", [`--pid=${pid}`, `--nofile=${limit}:${limit}`]);
    },
  },

  /** Channels, histories and publish ids at their bounds. */
  full: {
    settings: ["limits.channels=20", "limits.history_bytes=1MiB", "namespaces.default.history.bytes=128KiB", "limits.dedupe_ids=20"],
    alerts: ["TidingsBoundNearlyReached", "TidingsHistoriesFull", "TidingsRepeatsForgotten"],
    async run(broker, signal) {
      let number = 0;
      // Small against the bound: room is made by whole messages, and must not show as a dip.
      await keep(signal, 20, () => {
        number += 1;
        return broker.publish(`names-${number % 17}`, word(5_000), { id: `order-${number}` });
      });
    },
  },

  /** Clients that connect, hear something and go, in a loop. */
  loop: {
    settings: [],
    trouble: "flapping clients",
    alerts: ["TidingsReconnectLoop"],
    async run(broker, signal) {
      await keep(signal, 50, async () => {
        const socket = broker.listen("/sse?channel=news");
        setTimeout(() => socket.destroy(), 100);
      });
    },
  },

  /** Somebody who guesses keys. */
  guessed: {
    settings: [`keys=[{name: backend, sha256: ${"ab".repeat(32)}}]`],
    alerts: ["TidingsCallsWithoutKey"],
    run: (broker, signal) => publisher(broker, signal, 100, "news", "guess", () => ({ authorization: "Bearer guess" })),
  },

  /** A certificate that is not renewed in time, a renewal that went wrong, and a configuration with a mistake in it. */
  renewed: {
    settings: ["grpc.tls={certificate: certificate.pem, key: key.pem}"],
    alerts: ["TidingsCertificateExpires", "TidingsCertificateRefused", "TidingsConfigRefused"],
    prepare(folder) {
      const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"];
      const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", "key.pem"];
      execFileSync("openssl", ["req", "-x509", "-nodes", "-days", "2", ...key, "-out", "certificate.pem", ...subject], { cwd: folder, stdio: "ignore" });
      writeFileSync(path.join(folder, "config.yaml"), "{}\n");
    },
    async run(broker) {
      writeFileSync(path.join(broker.home, "key.pem"), "no key\n");
      writeFileSync(path.join(broker.home, "config.yaml"), "no_such_key: 1\n");
    },
  },

  /** A node that hangs for longer than its self-probe may, and then needs three of them to be trusted again. */
  hung: {
    settings: ["admin.probe_interval=3s"],
    alerts: ["TidingsDown", "TidingsNotReady"],
    async run(broker, signal) {
      await keep(signal, 20_000, async () => {
        broker.process.child.kill("SIGSTOP");
        await pause(11_500);
        broker.process.child.kill("SIGCONT");
      });
    },
  },

  /** A node that leaves and does not go. */
  leaving: {
    settings: ["drain.notice=5m", "drain.grace=10m"],
    alerts: ["TidingsDraining"],
    run: async (broker) => broker.process.child.kill("SIGTERM"),
  },

  /** A process that is gone. */
  dead: {
    settings: [],
    alerts: ["TidingsDown"],
    run: async (broker) => broker.process.child.kill("SIGKILL"),
  },

  /** A process that ends again and again. */
  restarting: {
    settings: [],
    alerts: ["TidingsRestarting"],
    async run(broker, signal) {
      await keep(signal, 4000, async () => {
        await broker.process.stop("SIGKILL");
        await broker.start();
      });
    },
  },
};

/** One that needs the machine for itself: a publisher that sends more than one shard can deliver. */
export const wild = {
  trouble: "wild publisher",
  settings: ["shard.inbox=16", "limits.publish_wait=5ms"],
  alerts: ["TidingsPublishesRefused", "TidingsPublishersWait", "TidingsShardBusy"],
  // On a slow machine the readers' own process falls out of the window that the flood passes through.
  may: ["TidingsDeliverySlow", "TidingsMessagesMissed"],
  async run(broker, signal) {
    await broker.crowd(300, "/sse?channel=news");
    for (let number = 0; number < 48; number += 1) broker.flood("news", word(1000));
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
  },
};

/** Starts a broker for each of these faults: the world of a scene. */
export async function world(found) {
  const brokers = {};
  await Promise.all(
    Object.entries(found).map(async ([name, { settings, open_files, prepare }]) => {
      brokers[name] = new Broker(name, settings, { open_files, prepare });
      await brokers[name].start();
    }),
  );
  const of = (pick) => Object.fromEntries(Object.entries(found).map(([name, fault]) => [name, pick(fault)]));
  return {
    brokers,
    alerts: of((fault) => fault.alerts),
    may: of((fault) => fault.may ?? []),
    troubles: of(({ trouble }) => (trouble ? { must: [trouble], may: [trouble] } : { must: [], may: [] })),
    begins: "count(up == 1)",
    run: (signal) => Object.entries(found).map(([name, fault]) => [name, fault.run(brokers[name], signal)]),
    stop: () => Promise.all(Object.values(brokers).map((broker) => broker.stop())),
  };
}
