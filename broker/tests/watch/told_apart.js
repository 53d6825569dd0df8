// What an operator sees who has nothing but the dashboards: each kind of trouble has values of panels that no other one has. The
// same pairs stand in docs/OPERATING.md under "Dashboards".

import { panels } from "../../../docs/grafana/source/dashboard.mjs";

/** Fault → what holds on its node, and on no other fault's: panel, legend (or nothing for the only one), and the value. */
export const SIGNS = {
  /** Readers of everything are slow: many are behind, and what they get is late. */
  slow: [
    ["Behind", , (share) => share > 0.1],
    ["Latency, median", , (seconds) => seconds > 0.1],
  ],
  /** One channel's readers are behind: as many, and the others' messages are not late at all. */
  stopped: [
    ["Behind", , (share) => share > 0.1],
    ["Latency, median", , (seconds) => seconds < 0.1],
    ["Behind for", , (seconds) => seconds > 5],
  ],
  /** A node near its limit of files: no more connections. */
  crowded: [
    ["Bounds", { bound: "connections" }, (share) => share > 0.85],
    ["Connections and calls refused", { reason: "limit" }, (rate) => rate > 0],
  ],
  /** Links between clients and the node that break at once: streams begin as fast as they end. */
  loop: [
    ["Sessions opened", { front: "sse" }, (rate) => rate > 2],
    ["Sessions closed, by reason", { reason: "client_gone" }, (rate) => rate > 2],
    ["Behind", , (share) => share < 0.1],
  ],
};

/** The same for nodes of clusters, on the cluster's dashboard. */
export const CLUSTER_SIGNS = {
  /** A follower that answers late: it is dropped and catches up, again and again, over links that stand. */
  "late-1": [
    ["Followers dropped, copies completed", , (rate) => rate > 0.2],
    ["Links made", , (count) => count < 1],
  ],
  /** A link that breaks: it is made anew, again and again. */
  "flapping-1": [["Links made", , (count) => count > 20]],
};

/** Of a publisher gone wild: it has the machine for itself. */
export const WILD = [
  ["Publishes held", , (count) => count > 0.1],
  ["Busiest shard", , (share) => share > 0.7],
];

/** Whether all of a fault's signs are seen on this node; `range` answers a panel's query with series over time. */
export async function is_seen(signs, source, range) {
  for (const [title, labels = {}, holds] of signs) {
    const panel = panels(source).find((one) => one.title === title);
    if (!panel) throw new Error(`there is no panel "${title}"`);
    const series = (await Promise.all(Object.values(panel.queries).map(range))).flat();
    const found = series.find(({ metric }) => Object.entries(labels).every(([name, value]) => metric[name] === value));
    const values = (found?.values ?? []).map(([, value]) => Number(value)).filter(Number.isFinite);
    // The middle of what was seen lately: one odd second tells nothing.
    const middle = values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
    if (middle === undefined || !holds(middle)) return false;
  }
  return true;
}
