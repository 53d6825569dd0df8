// What an operator sees who has nothing but the dashboards: each kind of trouble has values of panels that no other one has. The table
// of docs/OPERATING.md under "Dashboards" has one row for each of these, and a test holds the two against each other. Another test
// looks for the signs of each in the world of every other one.

import { panels } from "../../../docs/grafana/source/dashboard.mjs";
import { cluster } from "../../../docs/grafana/source/cluster.mjs";
import { node } from "../../../docs/grafana/source/node.mjs";
import { overview } from "../../../docs/grafana/source/overview.mjs";

const above = (value, shown = `${value}`) => ({ holds: (seen) => seen > value, says: `above ${shown}` });
const below = (value, shown = `${value}`) => ({ holds: (seen) => seen < value, says: `below ${shown}` });

/** A sign: on which dashboard, which panel, which of its lines (the last word of its legend; nothing for all of them), and where its value is. */
const sign = (source, panel, line, { holds, says }) => ({ source, panel, line, holds, says });

const BEHIND = sign(overview, "Behind", undefined, above(0.1, "10 %"));
const LATE = sign(overview, "Latency, median", undefined, above(0.1, "0.1 s"));
const NOT_LATE = sign(overview, "Latency, median", undefined, below(0.1, "0.1 s"));
const NOBODY_HELD = sign(overview, "Publishes held", undefined, below(0.1));

/** Trouble → what it is in words, the alert whose page says more, and its signs: all of them hold while it lasts. */
export const DIAGNOSES = {
  "wild publisher": {
    what: "a publisher gone wild",
    page: "TidingsPublishersWait",
    signs: [sign(overview, "Publishes held", undefined, above(0.1)), sign(overview, "Busiest shard", undefined, above(0.7, "70 %"))],
  },
  "slow readers": {
    what: "readers that are slow",
    page: "TidingsSessionsBehind",
    signs: [BEHIND, LATE, NOBODY_HELD],
  },
  "one channel's readers": {
    what: "one channel's readers are behind",
    page: "TidingsSessionsBehind",
    note: "the page of the admin listener says which channel",
    signs: [BEHIND, NOT_LATE, sign(overview, "Behind for", undefined, above(5, "5 s")), NOBODY_HELD],
  },
  "near its limit": {
    what: "a node near its limit of connections",
    page: "TidingsBoundNearlyReached",
    note: "by default it follows from the limit of open files",
    signs: [sign(overview, "Bounds", "connections", above(0.85, "85 %"))],
  },
  "files taken": {
    what: "a node near its limit of files",
    page: "TidingsOpenFilesNearLimit",
    note: "not by its clients alone",
    signs: [sign(node, "Files in use", undefined, above(0.9, "90 %")), sign(overview, "Bounds", "connections", below(0.85, "85 %"))],
  },
  "flapping clients": {
    what: "links between clients and the node that flap",
    page: "TidingsReconnectLoop",
    signs: [
      sign(overview, "Sessions opened", "sse", above(2, "2/s")),
      sign(overview, "Sessions closed, by reason", "client_gone", above(2, "2/s")),
      sign(overview, "Behind", undefined, below(0.1, "10 %")),
    ],
  },
  "short history": {
    what: "a history too short for those who come back",
    page: "TidingsMessagesMissed",
    signs: [sign(overview, "Gaps, by reason", "window", above(0.1, "0.1/s")), sign(overview, "Resumes", "gap", above(0.1, "0.1/s"))],
  },
  "slow follower": {
    what: "a slow follower",
    page: "TidingsCopiesMissing",
    signs: [
      sign(cluster, "Followers dropped, copies completed", "dropped", above(0.2, "0.2/s")),
      sign(cluster, "Round trip", undefined, above(0.05, "50 ms")),
      sign(cluster, "Links made", undefined, below(1, "1 a minute")),
    ],
  },
  "flapping link": {
    what: "a link between nodes that flaps",
    page: "TidingsLinkFlaps",
    signs: [sign(cluster, "Links made", undefined, above(20, "20 a minute"))],
  },
};

const of_line = (line) => (line ? ` \`${line}\`` : "");

const written = ({ source, panel, line, says }) => `${source === overview ? "" : `${source.title.replace("Tidings / ", "")}: `}*${panel}*${of_line(line)} ${says}`;

/** The row of docs/OPERATING.md. */
export const row = ({ what, page, note, signs }) => `| ${signs.map(written).join("; ")} | [${what}](#${page.toLowerCase()})${note ? `: ${note}` : ""} |`;

/** A line's legend as it is read below the panel. */
const legend_of = (legend, metric) => legend.replace(/\{\{(\w+)\}\}/g, (_, name) => metric[name] ?? "");

/** The middle of what a line showed lately: one odd second tells nothing. */
function middle({ values }) {
  const sorted = values.map(([, value]) => Number(value)).filter(Number.isFinite).sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

/** Whether all signs of a trouble are seen on this node; `range` answers a panel's query with series over time. */
export async function is_seen({ signs }, range) {
  for (const { source, panel: title, line, holds } of signs) {
    const panel = panels(source).find((one) => one.title === title);
    if (!panel) throw new Error(`there is no panel "${title}"`);
    const lines = await Promise.all(
      Object.entries(panel.queries).map(async ([legend, query]) =>
        (await range(query)).map((series) => ({ series, name: legend_of(legend, series.metric) })),
      ),
    );
    const found = lines.flat().filter(({ name }) => !line || name === line || name.endsWith(` ${line}`));
    // The highest of them: one above is a sign, and what is to be below is so on all.
    const highest = Math.max(...found.map(({ series }) => middle(series)).filter((value) => value !== undefined));
    if (!Number.isFinite(highest) || !holds(highest)) return false;
  }
  return true;
}
