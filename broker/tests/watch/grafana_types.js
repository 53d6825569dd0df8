// Dashboards held against Grafana's own words for them: the types of the release that docs/grafana/compose.yaml names
// (@grafana/schema), its types of a Prometheus query and its list of units (@grafana/grafana-foundation-sdk).
//
// A dashboard becomes a file of TypeScript in which every panel is an object literal of its kind's type, so that the compiler refuses a
// member that Grafana does not know, one that it misses, and a value that it has no word for.

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const modules = fileURLToPath(new URL("node_modules", import.meta.url));

/** For each kind of panel: where its types are, and what of a field is its own. */
const KINDS = {
  timeseries: { at: "timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen", custom: "grafana.GraphFieldConfig" },
  stat: { at: "stat/panelcfg/x/StatPanelCfg_types.gen", custom: "never" },
  heatmap: { at: "heatmap/panelcfg/x/HeatmapPanelCfg_types.gen", custom: "heatmap.FieldConfig" },
};

const TYPES = `
import type * as grafana from "@grafana/schema";
import type { Dataquery } from "@grafana/grafana-foundation-sdk/prometheus";
import type * as units from "@grafana/grafana-foundation-sdk/units";
${Object.entries(KINDS).map(([kind, { at }]) => `import type * as ${kind} from "@grafana/schema/dist/types/raw/composable/${at}.d.ts";`).join("\n")}

/** As it is written in JSON: a value of an enum is its text. */
type Json<T> = unknown extends T ? T
  : T extends string ? \`\${T}\`
  : T extends number | boolean | null | undefined ? T
  : T extends (infer One)[] ? Json<One>[]
  : T extends object ? { [Key in keyof T]: Json<T[Key]> }
  : T;

type Unit = (typeof units)[keyof typeof units];
type Query = Json<Omit<Dataquery, "_implementsDataqueryVariant">> & { refId: string };

/** The first step of thresholds begins at minus infinity, which in JSON is null. */
type Thresholds = { mode: Json<grafana.ThresholdsMode>; steps: { color: string; value: number | null }[] };
type Field<Custom> = Json<Omit<grafana.FieldConfig, "custom" | "unit" | "thresholds">> & { unit: Unit; thresholds?: Thresholds; custom?: Json<Custom> };
type Panel<Kind extends string, Options, Custom> = Omit<Json<grafana.Panel>, "type" | "options" | "fieldConfig" | "targets"> & {
  type: Kind;
  options: Json<Options>;
  fieldConfig: { defaults: Field<Custom>; overrides: Json<grafana.FieldConfigSource["overrides"]> };
  targets: Query[];
};
${Object.entries(KINDS).map(([kind, { custom }]) => `type Of_${kind} = Panel<"${kind}", ${kind}.Options, ${custom}>;`).join("\n")}
type Of_row = Json<grafana.RowPanel>;

/** What of an annotation is a Prometheus' own. */
type Annotation = Omit<Json<grafana.AnnotationQuery>, "target"> & { target: Query; titleFormat?: string; textFormat?: string; tagKeys?: string };
type Variable = Omit<Json<grafana.VariableModel>, "current"> & { current?: Json<grafana.VariableOption> | Record<string, never>; definition?: string };
type Dashboard = Omit<Json<grafana.Dashboard>, "panels" | "annotations" | "templating"> & {
  uid: string;
  title: string;
  annotations: { list: Annotation[] };
  templating: { list: Variable[] };
};
`;

/** The dashboard in TypeScript, one line for each panel, and what stands on each line. */
function source({ panels, ...rest }) {
  const lines = TYPES.split("\n");
  const named = new Map();
  const add = (what, type, value) => named.set(lines.push(`export const _${lines.length}: ${type} = ${JSON.stringify(value)};`), what);
  add("the dashboard", "Dashboard", rest);
  for (const panel of panels) {
    const kind = panel.type === "row" || KINDS[panel.type] ? `Of_${panel.type}` : "never";
    add(`"${panel.title}"`, kind, panel);
  }
  return { text: lines.join("\n"), named };
}

/**
 * What Grafana would not know in these dashboards, `{ name: dashboard }`: a sentence for each fault. What is wrong with a file of ours is thrown.
 */
export function unknown_to_grafana(dashboards) {
  const folder = mkdtempSync(path.join(tmpdir(), "tidings-grafana-"));
  try {
    symlinkSync(modules, path.join(folder, "node_modules"));
    writeFileSync(path.join(folder, "package.json"), '{ "type": "module" }');
    const sources = Object.entries(dashboards).map(([name, dashboard]) => [name, source(dashboard)]);
    for (const [at, [, { text }]] of sources.entries()) writeFileSync(path.join(folder, `${at}.ts`), text);
    // `skipLibCheck`: their packages are not ours to judge. `strict` so that null is a value of its own.
    const compilerOptions = { noEmit: true, strict: true, skipLibCheck: true, module: "nodenext", target: "es2022", types: [] };
    writeFileSync(path.join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, files: sources.map((_, at) => `${at}.ts`) }));
    let said = "";
    try {
      execFileSync(process.execPath, [path.join(modules, "typescript/bin/tsc"), "--pretty", "false", "-p", folder], { cwd: folder, encoding: "utf8", stdio: "pipe" });
    } catch (error) {
      said = `${error.stdout}${error.stderr}`;
      if (!said.trim()) throw error;
    }
    const faults = [];
    for (const line of said.split("\n")) {
      const found = /^(\d+)\.ts\((\d+),\d+\): error TS\d+: (.*)$/.exec(line);
      const [name, { named }] = found ? sources[found[1]] : ["", {}];
      const what = named?.get(Number(found[2]));
      if (what) faults.push(`${name}: ${what}: ${found[3]}`);
      else if (found || /error TS/.test(line)) throw new Error(`the types themselves are at fault: ${line}`);
      // What is indented says more of the fault above.
      else if (line.trim() && faults.length > 0) faults[faults.length - 1] += `; ${line.trim()}`;
    }
    return faults;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
