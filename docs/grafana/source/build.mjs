// Makes the dashboards that Grafana reads (dashboards/*.json) from their sources here:
//
//   node docs/grafana/source/build.mjs

import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import path from "node:path";
import { dashboard } from "./dashboard.mjs";
import { cluster } from "./cluster.mjs";
import { namespaces } from "./namespaces.mjs";
import { node } from "./node.mjs";
import { overview } from "./overview.mjs";

const folder = fileURLToPath(new URL("../dashboards/", import.meta.url));

/** All of them. */
export const sources = [overview, node, cluster, namespaces];

/** File name → what must stand there. */
export function files() {
  return Object.fromEntries(sources.map((source) => [`${source.uid}.json`, `${JSON.stringify(dashboard(source), null, 2)}\n`]));
}

/** What stands there now; undefined where nothing does. */
export function written() {
  const read = (name) => {
    try {
      return readFileSync(path.join(folder, name), "utf8");
    } catch {
      return undefined;
    }
  };
  return Object.fromEntries(Object.keys(files()).map((name) => [name, read(name)]));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const [name, text] of Object.entries(files())) writeFileSync(path.join(folder, name), text);
}
