// The dashboards are in Grafana's own words. Our tests ask what a panel shows; these ask whether Grafana knows what is written around that.
// What they do not try: Grafana itself, and provisioning, of which it publishes no types (compose.test.js reads that).

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { parse } from "yaml";
import { files } from "../../../docs/grafana/source/build.mjs";
import { unknown_to_grafana } from "./grafana_types.js";

const dashboards = Object.fromEntries(Object.entries(files()).map(([name, text]) => [name, JSON.parse(text)]));
const read = (file) => readFileSync(new URL(file, import.meta.url), "utf8");

/** What is done to a dashboard, and a word of what must be said of it then. */
const FAULTS = [
  ["an option that no panel of its kind has", (all) => (of(all, "timeseries").options.legend.showLegends = true), "showLegends"],
  ["an option of another kind of panel", (all) => (of(all, "stat").options.legend = { show: true }), "legend"],
  ["an option left out", (all) => delete of(all, "timeseries").options.tooltip.sort, "sort"],
  ["a value that an option cannot have", (all) => (of(all, "stat").options.colorMode = "foreground"), "foreground"],
  ["a place where no legend can be", (all) => (of(all, "timeseries").options.legend.placement = "top"), "top"],
  ["a value in words that is a number", (all) => (of(all, "heatmap").options.color.steps = "64"), "number"],
  ["a setting of a field that no lines have", (all) => (own(all).lineWeight = 2), "lineWeight"],
  ["a style that no lines have", (all) => (own(all).drawStyle = "lines"), "lines"],
  ["a unit that is none", (all) => (field(all).unit = "bytes/s"), "bytes/s"],
  ["no unit", (all) => delete field(all).unit, "unit"],
  ["thresholds of no kind", (all) => (field(all).thresholds.mode = "relative"), "relative"],
  ["colours by a rule that is none", (all) => (field(all).color.mode = "palette"), "palette"],
  ["a query with a word too many", (all) => (of(all, "timeseries").targets[0].legend = "x"), "legend"],
  ["a query of a format that is none", (all) => (of(all, "heatmap").targets[0].format = "heat"), "heat"],
  ["a query that asks nothing", (all) => delete of(all, "stat").targets[0].expr, "expr"],
  ["a kind of panel that we do not know", (all) => (of(all, "heatmap").type = "graph"), "never"],
  ["a word of a panel that is none", (all) => (of(all, "stat").about = "x"), "about"],
  ["a word of a dashboard that is none", (all) => (all.refreshes = "10s"), "refreshes"],
  ["a cursor that is shared in no known way", (all) => (all.graphTooltip = 3), "CursorSync"],
  ["a variable that is read at no known time", (all) => (all.templating.list[1].refresh = 9), "9"],
  ["an annotation in the words of Grafana 7", (all) => (all.annotations.list[0].expr = "up"), "expr"],
  ["a link with a word too few", (all) => delete all.links[0].asDropdown, "asDropdown"],
];
const of = (dashboard, kind) => dashboard.panels.find((panel) => panel.type === kind);
const field = (dashboard) => of(dashboard, "timeseries").fieldConfig.defaults;
const own = (dashboard) => field(dashboard).custom;

describe("in Grafana's own types", () => {
  test("they are of the release that the example for containers runs", () => {
    const { services } = parse(read("../../../docs/grafana/compose.yaml"), { merge: true });
    const [, release] = services.grafana.image.split(":");
    assert.equal(JSON.parse(read("package.json")).devDependencies["@grafana/schema"], release);
    assert.equal(JSON.parse(read("node_modules/@grafana/schema/package.json")).version, release);
  });

  test("Grafana knows every word, value and unit of every dashboard, and misses none", () => {
    assert.ok(Object.keys(dashboards).length >= 4);
    assert.deepEqual(unknown_to_grafana(dashboards), []);
  });

  test("whatever is wrong with one is found, and said of the panel where it is", () => {
    const name = "tidings-overview.json";
    const planted = FAULTS.map(([, plant]) => {
      const dashboard = structuredClone(dashboards[name]);
      plant(dashboard);
      return dashboard;
    });
    const found = unknown_to_grafana(Object.fromEntries(planted.map((dashboard, at) => [`fault ${at}`, dashboard])));
    for (const [at, [what, , word]] of FAULTS.entries()) {
      const said = found.filter((fault) => fault.startsWith(`fault ${at}: `));
      assert.equal(said.length, 1, `${what}: ${JSON.stringify(said)}`);
      assert.ok(said[0].includes(word), `${what}: ${said[0]}`);
    }
    assert.equal(found.length, FAULTS.length);
    const titled = found.filter((fault) => planted[0].panels.some((panel) => fault.includes(`"${panel.title}"`)));
    assert.ok(titled.length >= 15, found.join("\n"));
  });
});
