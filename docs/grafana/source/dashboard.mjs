// From the short form in which our dashboards are written to the long one that Grafana reads.
//
// A dashboard is rows of panels; a panel says what it shows, in which unit, by which queries. In a query `$of` stands for the chosen
// jobs and instances and `$rate` for the time over which a rate is taken.

const COLUMNS = 24;
const HEIGHT = { stat: 4, row: 1 };
/** A link to another dashboard, which then shows the same time and the same nodes. */
const LINK = { type: "link", icon: "external link", tooltip: "", tags: [], asDropdown: false, includeVars: true, keepTime: true, targetBlank: false };
const DATASOURCE = { type: "prometheus", uid: "${datasource}" };

/** The expression as Grafana gets it. */
export const expression = (query) => query.replaceAll("$of", 'job=~"$job", instance=~"$instance"').replaceAll("$rate", "$__rate_interval");

/** All panels of a source, without its rows. */
export const panels = (source) => source.rows.flatMap((row) => row.panels);

const target = (panel, [legend, query], index) => ({
  refId: String.fromCharCode(65 + index),
  datasource: DATASOURCE,
  expr: expression(query),
  legendFormat: legend,
  range: panel.kind !== "stat",
  instant: panel.kind === "stat",
  ...(panel.kind === "heatmap" ? { format: "heatmap" } : {}),
});

const COLOURS = ["green", "orange", "red"];

/** `warn` are the values at which something turns orange, and then red; falling ones when less is worse. */
function thresholds(warn) {
  if (!warn) return { mode: "absolute", steps: [{ color: "blue", value: null }] };
  const [orange, red] = warn;
  if (red >= orange) return { mode: "absolute", steps: [null, orange, red].map((value, at) => ({ color: COLOURS[at], value })) };
  return { mode: "absolute", steps: [["red", null], ["orange", red], ["green", orange]].map(([color, value]) => ({ color, value })) };
}

const FORMS = {
  stat: (panel) => ({
    type: "stat",
    options: {
      reduceOptions: { calcs: ["lastNotNull"], fields: "", values: false },
      colorMode: panel.warn ? "background" : "value",
      graphMode: "none",
      textMode: panel.text ?? "auto",
      justifyMode: "center",
      orientation: "auto",
      wideLayout: true,
      showPercentChange: false,
      percentChangeColorMode: "standard",
    },
  }),
  lines: () => ({
    type: "timeseries",
    options: {
      legend: { displayMode: "list", placement: "bottom", showLegend: true, calcs: [] },
      tooltip: { mode: "multi", sort: "desc" },
    },
  }),
  heatmap: () => ({
    type: "heatmap",
    options: {
      calculate: false,
      cellGap: 1,
      color: { mode: "scheme", scheme: "Oranges", fill: "dark-orange", scale: "exponential", exponent: 0.5, steps: 64, reverse: false },
      yAxis: { unit: "s", axisPlacement: "left" },
      rowsFrame: { layout: "le" },
      filterValues: { le: 1e-9 },
      tooltip: { mode: "single", yHistogram: true },
      legend: { show: true },
      showValue: "never",
      exemplars: { color: "rgba(255,0,255,0.7)" },
    },
  }),
};

function custom(panel) {
  if (panel.kind === "stat" || panel.kind === "heatmap") return {};
  return {
    custom: {
      drawStyle: "line",
      lineWidth: 1,
      fillOpacity: panel.stack ? 30 : 5,
      showPoints: "never",
      spanNulls: false,
      stacking: { mode: panel.stack ? "normal" : "none", group: "A" },
      scaleDistribution: panel.log ? { type: "log", log: 10 } : { type: "linear" },
      thresholdsStyle: { mode: panel.warn ? "dashed" : "off" },
    },
  };
}

function place(panel, id, gridPos) {
  const { kind = "lines" } = panel;
  return {
    id,
    title: panel.title,
    description: panel.about,
    datasource: DATASOURCE,
    gridPos,
    fieldConfig: {
      defaults: {
        unit: panel.unit,
        ...(panel.decimals === undefined ? {} : { decimals: panel.decimals }),
        ...(panel.log ? {} : { min: 0 }),
        ...(panel.max === undefined ? {} : { max: panel.max }),
        color: { mode: kind === "stat" ? "thresholds" : "palette-classic" },
        thresholds: thresholds(panel.warn),
        ...custom({ ...panel, kind }),
      },
      overrides: [],
    },
    targets: Object.entries(panel.queries).map((query, index) => target({ ...panel, kind }, query, index)),
    ...FORMS[kind](panel),
  };
}

/** Rows from left to right, as wide as they say or sharing the line. */
function layout(rows) {
  const placed = [];
  let y = 0;
  for (const { title, panels: inside } of rows) {
    placed.push({ id: placed.length + 1, type: "row", title, collapsed: false, gridPos: { x: 0, y, w: COLUMNS, h: HEIGHT.row }, panels: [] });
    y += HEIGHT.row;
    let x = 0;
    let lowest = 0;
    for (const panel of inside) {
      const w = panel.width ?? 8;
      const h = HEIGHT[panel.kind] ?? 8;
      if (x + w > COLUMNS) {
        x = 0;
        y += lowest;
        lowest = 0;
      }
      placed.push(place(panel, placed.length + 1, { x, y, w, h }));
      x += w;
      lowest = Math.max(lowest, h);
    }
    y += lowest;
  }
  return placed;
}

const ask = (name, label, query) => ({
  name,
  label,
  type: "query",
  datasource: DATASOURCE,
  definition: query,
  query: { query, refId: name },
  refresh: 2,
  sort: 1,
  multi: true,
  includeAll: true,
  allValue: ".*",
  current: { text: ["All"], value: ["$__all"] },
});

/** The dashboard as Grafana imports it. */
export function dashboard({ uid, title, about, links, rows }) {
  return {
    uid,
    title,
    description: about,
    tags: ["tidings"],
    schemaVersion: 39,
    version: 1,
    editable: true,
    graphTooltip: 1,
    refresh: "10s",
    time: { from: "now-1h", to: "now" },
    timezone: "browser",
    links: links.map(([name, to]) => ({ ...LINK, title: name, url: `/d/${to}` })),
    annotations: {
      list: [
        {
          name: "Starts",
          datasource: DATASOURCE,
          enable: true,
          iconColor: "blue",
          target: { refId: "Anno", expr: expression("changes(process_start_time_seconds{$of}[$rate]) > 0") },
          titleFormat: "{{instance}} started",
        },
      ],
    },
    templating: {
      list: [
        { name: "datasource", label: "Data source", type: "datasource", query: "prometheus", current: {} },
        ask("job", "Job", "label_values(tidings_build_info, job)"),
        ask("instance", "Node", 'label_values(tidings_build_info{job=~"$job"}, instance)'),
      ],
    },
    panels: layout(rows),
  };
}
