// The nodes, the links between them, and who leads which slots.

import { ask } from "./api.js";
import { by, bytes, el, milliseconds, nothing, svg, table, whole } from "./dom.js";

const COLOURS = 6;
const SIZE = { width: 620, height: 300, ring: 105, node: 40 };

const kind = (state) => ({ active: "good", whole: "good", alone: "good", joining: "warn", draining: "warn", leaving: "warn", impaired: "warn", left: "warn", degraded: "warn" })[state] ?? "bad";

/** What a condition means for clients. */
const CONDITIONS = {
  alone: "This node is alone: it leads every slot itself.",
  whole: "As this node sees it: no part of it goes on out of sight.",
  degraded: "A part of the cluster may go on without this node: what is published there comes late.",
  joining: "This node gathers links and copies, and takes no slots yet.",
  leaving: "This node hands its slots over.",
  not_admitted: "The cluster does not take this node: its name is taken, or its release does not work with the others'. The line at the top says which.",
};

function map(cluster) {
  const [me, ...others] = cluster.nodes;
  const { width, ring, node } = SIZE;
  const height = others.length > 0 ? SIZE.height : 2 * node + 12;
  const middle = { x: width / 2, y: height / 2 };
  // This node in the middle, the others around it: what it knows is its own view.
  const places = new Map([[me?.name, middle]]);
  others.forEach((other, at) => {
    // Two stand to the left and right: there is more room than above and below.
    const angle = (Math.PI * (2 * at + (others.length > 2 ? 1 : 0))) / others.length;
    places.set(other.name, { x: middle.x + 2 * ring * Math.cos(angle), y: middle.y + ring * Math.sin(angle) });
  });
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  drawing.setAttribute("aria-label", `${cluster.nodes.length} nodes, ${cluster.links.filter((one) => one.is_up).length} of ${cluster.links.length} links up; the tables below say the same`);
  for (const link of cluster.links) {
    const to = places.get(link.to);
    if (!to) continue;
    drawing.append(svg("line", { x1: middle.x, y1: middle.y, x2: to.x, y2: to.y, "data-kind": link.is_up ? "good" : "bad" }));
    if (link.is_up) drawing.append(svg("text", { class: "small", x: (middle.x + to.x) / 2, y: (middle.y + to.y) / 2 - 5 }, milliseconds(link.rtt_ms)));
  }
  for (const one of cluster.nodes) {
    const { x, y } = places.get(one.name);
    drawing.append(svg("circle", { cx: x, cy: y, r: node, "data-kind": kind(one.state) }), svg("text", { x, y: y - 1 }, one.name.length > 12 ? `${one.name.slice(0, 11)}…` : one.name), svg("text", { class: "small", x, y: y + 15 }, one.state));
  }
  return drawing;
}

function slots(cluster) {
  const bar = svg("svg", { width: "100%", height: 22, viewBox: `0 0 ${cluster.slots} 22`, preserveAspectRatio: "none", role: "img", "aria-label": cluster.nodes.map((node) => `${node.name} leads ${node.leads}`).join(", ") });
  let from = 0;
  const legend = cluster.nodes.map((node, at) => {
    const colour = `c${at % COLOURS}`;
    const piece = svg("rect", { x: from, y: 0, width: node.leads, height: 22 });
    piece.classList.add("fill", colour);
    bar.append(piece);
    from += node.leads;
    return el("span", {}, el("i", { class: colour }), `${node.name}: ${whole.format(node.leads)}`);
  });
  return [bar, el("div", { class: "legend" }, ...legend)];
}

/** What this node does with its slots, and what happened; each with what it means. */
function work({ in_use: now, since_start: ever }) {
  const rows = [
    ["Slots in use led", now.leads, "this node orders them"],
    ["…and by no other node held", now.alone, now.alone > 0 ? "a copy is missing" : "each has a copy"],
    ["Slots it is about to lead", now.claims, "publishes to them wait"],
    ["Slots in use copied", now.follows, "it holds the second copy"],
    ["Slots read", now.reads, "for its own listeners"],
    ["Copies lag by", now.lag_records, "messages, at most"],
    ["Publishes that wait", now.publishes_waiting, `the oldest for ${milliseconds(now.publishes_waiting_ms)}`],
    ["Slots taken over", (ever.opened.taken_over ?? 0) + (ever.opened.merged ?? 0), `${whole.format(ever.opened_uncertain)} may have lost something`],
    ["Slots handed over", ever.handed_over, `${whole.format(ever.opened.moved ?? 0)} came from others`],
    ["Acknowledged with too few copies", ever.acknowledged_short, `it went on alone ${whole.format(ever.went_on_alone)} times`],
    ["Messages of another side taken in", ever.messages_adopted, `${whole.format(ever.messages_lost)} were lost`],
    ["The cluster seen anew", ever.views, "times since the start"],
  ];
  const columns = [
    { title: "What", wide: true, cell: ([what]) => what },
    { title: "Note", label: "", cell: ([, , note]) => note },
    { title: "Count", number: true, label: "", cell: ([, count]) => whole.format(count) },
  ];
  return table(columns, rows, { caption: "What this node does in the cluster" });
}

export async function show(signal) {
  const cluster = await ask("cluster", { signal });
  by("cluster-line").replaceChildren(el("span", { class: `tag ${kind(cluster.condition)}` }, cluster.condition.replace("_", " ")), ` ${CONDITIONS[cluster.condition] ?? ""}`);
  by("cluster-map").replaceChildren(map(cluster));
  by("cluster-slots").replaceChildren(...slots(cluster));
  const nodes = [
    { title: "Node", class: "name", wide: true, cell: (row) => (row.is_self && cluster.is_clustered ? `${row.name} (this one)` : row.name) },
    { title: "State", cell: (row) => el("span", { class: `tag ${kind(row.state)}` }, row.state) },
    { title: "Address", class: "mono", cell: (row) => row.address },
    { title: "Version", label: "version", cell: (row) => row.version ?? "–" },
    { title: "Leads", number: true, label: "leads", cell: (row) => whole.format(row.leads) },
    { title: "Follows", number: true, label: "follows", cell: (row) => whole.format(row.follows) },
  ];
  by("cluster-nodes").replaceChildren(table(nodes, cluster.nodes, { caption: "Nodes" }));
  for (const card of ["cluster-links-card", "cluster-work-card"]) by(card).hidden = !cluster.is_clustered;
  by("cluster-work").replaceChildren(work(cluster));
  const links = [
    { title: "To", class: "name", wide: true, cell: (row) => row.to },
    { title: "State", cell: (row) => el("span", { class: `tag ${row.is_up ? "good" : "bad"}` }, row.is_up ? "up" : "down") },
    { title: "There and back", number: true, label: "there and back", cell: (row) => milliseconds(row.rtt_ms) },
    { title: "Waits", number: true, label: "waits", cell: (row) => (row.is_full ? `${bytes(row.queue_bytes)}, full` : bytes(row.queue_bytes)) },
    { title: "Lacks", number: true, label: "lacks", cell: (row) => (row.lag_records > 0 ? `${whole.format(row.lag_records)}, ${milliseconds(row.lag_ms)} old` : row.lag_records === 0 ? "nothing" : "–") },
    { title: "Made anew", number: true, label: "made anew", cell: (row) => whole.format(row.reconnects) },
  ];
  by("cluster-links").replaceChildren(cluster.links.length > 0 ? table(links, cluster.links, { caption: "Links" }) : nothing("None."));
}
