// The faults of clusters: each is a cluster of its own, what is done to it until the end, and the alerts that must fire on which of its
// nodes. What may fire besides stands in `may`; on all other nodes nothing may.

import { Cluster } from "./cluster.js";
import { Broker } from "./broker.js";
import { keep } from "./faults.js";
import { pause } from "./process.js";

// So many that each of three nodes orders some that each other one follows.
const CHANNELS = Array.from({ length: 48 }, (_, number) => `orders-${number}`);

/** Publishes to many channels, so that each node orders some of them: at every node that is asked, on kept connections. */
function publishers(brokers, signal, every = 50, patience_ms = 5000) {
  return brokers.map((broker, at) => {
    let socket;
    let number = at;
    return keep(signal, every, async () => {
      if (!socket || socket.destroyed) socket = broker.connect();
      const channel = CHANNELS[(number += brokers.length) % CHANNELS.length];
      const late = new Promise((_, reject) => setTimeout(reject, patience_ms, new Error("no answer")).unref());
      await Promise.race([broker.publish(channel, "x".repeat(200), { socket }), late]).catch((error) => {
        socket.destroy();
        throw error;
      });
    });
  });
}

async function listeners(brokers) {
  for (const broker of brokers) for (const channel of CHANNELS.slice(0, 6)) await broker.crowd(2, `/sse?channel=${channel}`);
}

/**
 * Name → { count, options, alerts: node → alerts, may: alerts that may fire on any of its nodes, trouble and on: what the dashboards
 * must show it to be on these nodes, and may on its others (told_apart.js), run(cluster, signal) }.
 */
export const clusters = {
  /** Three nodes that are well: those of which every panel must show something. */
  trio: {
    count: 3,
    alerts: {},
    async run({ brokers }, signal) {
      await listeners(brokers);
      await Promise.all(publishers(brokers, signal));
    },
  },

  /** A follower that answers late: what goes to the third node takes its time, and the others go on without it. */
  late: {
    count: 3,
    options: { relayed: true },
    alerts: { "late-1": ["TidingsCopiesMissing"] },
    trouble: "slow follower",
    on: ["late-1"],
    // What that node orders itself is late for everybody, and its claims take longer than two seconds.
    may: ["TidingsCopiesMissing", "TidingsDeliverySlow", "TidingsSlotWithoutHome"],
    async run({ brokers, relays }, signal) {
      await listeners(brokers);
      // Who is known dials by name, so the third node is dialled by both others and hears them by way of its relay. Who had to find the
      // others first may have dialled them instead.
      relays.forEach((relay) => relay.cut());
      await pause(2000);
      relays[2].delay_ms = 150;
      await Promise.all(publishers(brokers, signal));
    },
  },

  /** A link that breaks every second. */
  flapping: {
    count: 2,
    options: { relayed: true },
    alerts: { "flapping-1": ["TidingsLinkFlaps"], "flapping-2": ["TidingsLinkFlaps"] },
    trouble: "flapping link",
    on: ["flapping-1", "flapping-2"],
    may: ["TidingsCopiesMissing", "TidingsSlotsMove", "TidingsSlotWithoutHome", "TidingsPublishesRefused", "TidingsDeliverySlow"],
    async run({ brokers, relays }, signal) {
      await listeners(brokers);
      await Promise.all([...publishers(brokers, signal), keep(signal, 1000, () => relays.forEach((relay) => relay.cut()))]);
    },
  },

  /** One of two nodes is killed and stays away: the other one holds everything alone. */
  bereft: {
    count: 2,
    alerts: { "bereft-1": ["TidingsNodeMissing", "TidingsCopiesMissing"], "bereft-2": ["TidingsDown"] },
    may: ["TidingsSlotWithoutHome"],
    async run({ brokers: [left, killed] }, signal) {
      await listeners([left]);
      killed.process.child.kill("SIGKILL");
      await Promise.all(publishers([left], signal));
    },
  },

  /** Two of three nodes stop and go on, again and again: slots move to and fro. */
  restless: {
    count: 3,
    alerts: { "restless-1": ["TidingsSlotsMove"] },
    may: [
      "TidingsSlotsMove", "TidingsNodeMissing", "TidingsCopiesMissing", "TidingsSlotWithoutHome", "TidingsLinkFlaps", "TidingsDown",
      "TidingsNotReady", "TidingsDeliverySlow", "TidingsPublishesRefused",
    ],
    async run({ brokers: [calm, ...others] }, signal) {
      // Both in one moment: a node that somebody hears is not down.
      const rest = async () => {
        for (const broker of others) broker.process.child.kill("SIGSTOP");
        await pause(2900);
        for (const broker of others) broker.process.child.kill("SIGCONT");
      };
      await Promise.all([...publishers([calm], signal, 100), keep(signal, 3300, rest)]);
    },
  },

  /** A process with another secret that wants to take part. */
  double: {
    count: 2,
    alerts: { "double-1": ["TidingsNodeRefused"] },
    may: ["TidingsNodeRefused"],
    async run({ brokers, seeds }, signal) {
      const stranger = new Broker("stranger", [
        'cluster.keys=["another secret of the watch test"]', "cluster.node=double-2", "cluster.listen=127.0.0.1:0", `cluster.seeds=[${seeds}]`,
      ]);
      await stranger.start();
      await Promise.all(publishers(brokers, signal, 200));
      await stranger.stop();
    },
  },

  /** A node whose seeds are all gone, just after its start: it takes no slots before it has looked for them. */
  stranded: {
    count: 2,
    alerts: { "stranded-1": ["TidingsSlotWithoutHome", "TidingsNotReady", "TidingsPublishesUnconfirmed"], "stranded-2": ["TidingsDown"] },
    may: ["TidingsDown", "TidingsPublishesRefused", "TidingsCopiesMissing", "TidingsNodeMissing", "TidingsRestarting"],
    async run({ brokers: [alone, gone] }, signal) {
      await gone.process.stop("SIGKILL");
      await keep(signal, 20_000, async () => {
        await alone.process.stop("SIGKILL");
        const started = alone.start();
        // As patient as the broker, which gives up after ten seconds.
        const publish = () => Promise.all(publishers([alone], AbortSignal.any([signal, AbortSignal.timeout(15_000)]), 50, 12_000));
        await Promise.all([started, started.then(publish)]);
      });
    },
  },
};

/** Starts all of them, as a world for the scene. */
export async function cluster_world() {
  const started = {};
  await Promise.all(Object.entries(clusters).map(async ([name, { count, options }]) => (started[name] = await Cluster.start(name, count, options))));
  const all = Object.values(started);
  const nodes = Object.entries(started).flatMap(([name, { brokers }]) => brokers.map((broker) => [broker.name, broker, clusters[name]]));
  return {
    brokers: Object.fromEntries(nodes.map(([name, broker]) => [name, broker])),
    alerts: Object.fromEntries(nodes.map(([name, , fault]) => [name, fault.alerts[name] ?? []])),
    may: Object.fromEntries(nodes.map(([name, , fault]) => [name, fault.may ?? []])),
    troubles: Object.fromEntries(
      nodes.map(([name, , { trouble, on }]) => [name, { must: on?.includes(name) ? [trouble] : [], may: trouble ? [trouble] : [] }]),
    ),
    begins: "count(tidings_cluster_active == 1)",
    run: (signal) => Object.entries(started).map(([name, cluster]) => [name, clusters[name].run(cluster, signal)]),
    stop: () => Promise.all(all.map((cluster) => cluster.stop())),
  };
}
