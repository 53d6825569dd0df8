// How the node is: a verdict, the last hour, bounds, shards, the log's level.

import { ask } from "./api.js";
import { by, bytes, el, milliseconds, nothing, short, span, table, whole } from "./dom.js";
import { plot } from "./plot.js";

const KEPT_MS = 3600_000;
const rate = (value) => (value === null ? "–" : `${short(value)}/s`);
const count = (value) => (value === null ? "–" : short(value));
const percent = (value) => (value === null ? "–" : `${whole.format(value * 100)} %`);

const PLOTS = [
  plot("Connections", [{ pick: (p) => p.connections }], count),
  plot("Sessions", [{ pick: (p) => p.sessions }], count),
  plot("Messages delivered", [{ pick: (p) => p.delivered }], rate),
  plot("Messages published", [{ pick: (p) => p.published }], rate),
  plot("Delivery latency", [{ pick: (p) => p.p50_ms, name: "median" }, { pick: (p) => p.p99_ms, name: "99 %", two: true }], milliseconds),
  plot("Sessions behind", [{ pick: (p) => p.behind }], count),
  plot("Refused", [{ pick: (p) => p.refused }], rate),
  plot("Busiest shard", [{ pick: (p) => p.busiest }], percent, { max: 1 }),
];

let points = [];
let minutes = 60;

const NAMES = {
  connections: "Connections", grpc_connections: "gRPC connections", connections_pending: "Newcomers",
  grpc_connections_pending: "gRPC newcomers", admin_connections: "Admin connections", connections_per_address: "Most of one address",
  connections_per_user: "Most of one user", guests: "Guests", channels: "Channels",
  channels_silent: "Channels nobody published to", history_bytes: "Histories", dedupe_ids: "Publish ids", presence_members: "Members present",
  presence_held: "Members kept",
  shard_inbox: "Fullest inbox", shard_ring: "Fullest ring", shard_commands: "Waits for a shard", unsent_bytes: "Not taken by sockets", unread_bytes: "Answers not read",
  incoming_bytes: "Half here", cluster_link: "Fullest link", cluster_publishes: "Publishes on their way", cluster_nodes: "Nodes known",
  cluster_greetings: "Nodes that greet", cluster_questions: "Questions to nodes", cluster_orders: "Orders of nodes", cluster_inputs: "News of nodes",
  revocations: "Revoked", rate_callers: "Callers with a rate", journal: "Happenings kept", log_lines: "Lines for the log",
};
const IN_BYTES = new Set(["history_bytes", "shard_ring", "unsent_bytes", "unread_bytes", "incoming_bytes", "cluster_link", "cluster_publishes"]);
/** Full is how these are meant to be, for a while or for good: those of which no alert warns either. */
const MAY_BE_FULL = new Set(["history_bytes", "dedupe_ids", "shard_inbox", "shard_ring", "connections_per_address", "connections_per_user", "rate_callers", "journal"]);

/** What a person should know first: [state, sentence]. */
function verdict(seen) {
  if (seen.not_ready) return ["bad", `Not ready: ${seen.not_ready.message}.`];
  const full = seen.bounds.find((one) => one.limit > 0 && one.used / one.limit > 0.85 && !MAY_BE_FULL.has(one.bound));
  if (full) return ["warn", `${NAMES[full.bound] ?? full.bound}: ${percent(full.used / full.limit)} of the bound are used. See TidingsBoundNearlyReached in OPERATING.md.`];
  const sessions = Object.values(seen.sessions).reduce((a, b) => a + b, 0);
  const behind = Object.values(seen.behind).reduce((a, b) => a + b, 0);
  if (behind > 10 && behind / sessions > 0.1) return ["warn", `${whole.format(behind)} of ${whole.format(sessions)} sessions are behind. See TidingsSessionsBehind in OPERATING.md.`];
  const last = points.at(-1);
  if (last && last.busiest > 0.9) return ["warn", "A shard has no time left. See TidingsShardBusy in OPERATING.md."];
  if (last && last.p50_ms > 250) return ["warn", `Half of the deliveries take longer than ${milliseconds(last.p50_ms)}. See TidingsDeliverySlow in OPERATING.md.`];
  return ["good", "All is well: this node delivers, and nothing is near its bound."];
}

function bound({ bound: name, used, limit }) {
  const show = IN_BYTES.has(name) ? bytes : whole.format;
  const meter = el("meter", { min: 0, max: limit || 1, low: 0.7 * limit, high: 0.85 * limit, optimum: 0, value: Math.min(used, limit), "aria-label": NAMES[name] ?? name });
  return el("div", { class: "bound" }, el("span", {}, NAMES[name] ?? name), el("span", { class: "muted" }, `${show(used)} of ${show(limit)}`), meter);
}

export async function show(signal) {
  const seen = await ask("overview", { signal });
  const fresh = await ask(`trend?after=${points.at(-1)?.at_ms ?? 0}`, { signal });
  points = [...points, ...fresh.points].filter((point) => point.at_ms > seen.now_ms - KEPT_MS);

  by("node-line").textContent = `Tidings ${seen.version}, up ${span(seen.up_seconds)}${seen.is_open ? ", open without a key (dev)" : ""}`;
  const [state, sentence] = verdict(seen);
  by("verdict").dataset.state = state;
  if (by("verdict").textContent !== sentence) by("verdict").textContent = sentence;
  draw(seen.now_ms);

  by("bounds").replaceChildren(...seen.bounds.map(bound));
  const fronts = Object.entries(seen.sessions).map(([front, now]) => ({ front, now, behind: seen.behind[front] }));
  const columns = [{ title: "Front", cell: (row) => row.front }, { title: "Sessions", number: true, cell: (row) => whole.format(row.now) }, { title: "Behind", number: true, cell: (row) => whole.format(row.behind) }];
  by("fronts").replaceChildren(table(columns, fronts, { caption: "Sessions by front", stacking: false }));
  const closed = Object.entries(seen.sessions_closed).filter(([, times]) => times > 0);
  const ended = [{ title: "Why", cell: ([why]) => why }, { title: "Since the start", number: true, cell: ([, times]) => whole.format(times) }];
  by("closed").replaceChildren(closed.length > 0 ? table(ended, closed, { caption: "Stays that ended, by reason", stacking: false }) : nothing("None yet."));
  const shards = seen.shards.map((shard, number) => ({ ...shard, number }));
  const shard_columns = [{ title: "Shard", cell: (row) => row.number }, { title: "Connections", number: true, cell: (row) => whole.format(row.connections) }, { title: "At work for", number: true, cell: (row) => span(row.busy_seconds) }];
  by("shards").replaceChildren(table(shard_columns, shards, { caption: "Shards", stacking: false }));
  if (document.activeElement !== by("log-level") && by("log-level").value === by("log-level").defaultValue) await level(signal);
}

/** A node that has not been up for long shows what there is, and no empty hour before it. */
function draw(now) {
  const first = Math.min(points[0]?.at_ms ?? now, now - 60_000);
  for (const one of PLOTS) one.draw(points, Math.max(now - minutes * 60_000, first), now);
}

async function level(signal) {
  const found = await ask("log", { signal }).catch((error) => (error.status === 404 ? null : Promise.reject(error)));
  by("log-form").hidden = found === null;
  if (found) by("log-level").value = by("log-level").defaultValue = found.level;
  else by("log-note").textContent = "This process keeps its own log.";
}

export function begin() {
  by("plots").append(...PLOTS.map((one) => one.figure));
  for (const button of document.querySelectorAll("[data-minutes]")) {
    button.addEventListener("click", () => {
      minutes = Number(button.dataset.minutes);
      for (const other of document.querySelectorAll("[data-minutes]")) other.setAttribute("aria-pressed", String(other === button));
      by("trend-note").textContent = `The last ${minutes === 60 ? "hour" : `${minutes} minutes`}, in steps of 5 s.`;
      draw(points.at(-1)?.at_ms ?? Date.now());
    });
  }
  by("log-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const set = await ask("log", { method: "PUT", body: { level: by("log-level").value } });
      by("log-level").value = by("log-level").defaultValue = set.level;
      by("log-note").textContent = `Writes ${set.level} now.`;
    } catch (error) {
      by("log-note").textContent = error.message;
    }
  });
}
