// Draws what each panel would show, so that a person can look at it: one page of simple plots for each dashboard, and a picture of
// it when a Chromium is there. It is no Grafana; it shows whether a query says something, in the right unit and readable.
//
//   PICTURES=/tmp/pictures scripts/test watch

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const COLUMN = 52;
const PLOT = 210;
const COLOURS = ["#4a90d9", "#e0803c", "#57a55a", "#c94f5d", "#8e6bbf", "#9a7b4f", "#d16ba5", "#6f7a87", "#b8a82e", "#3fa7a3"];
const LEGENDS_MAX = 14;

const escape = (text) => String(text).replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

const UNITS = {
  s: (v) => (v >= 1 ? `${short(v)} s` : v >= 1e-3 ? `${short(v * 1e3)} ms` : `${short(v * 1e6)} µs`),
  percentunit: (v) => `${short(v * 100)} %`,
  bytes: (v) => prefixed(v, 1024, ["B", "KiB", "MiB", "GiB"]),
  binBps: (v) => `${prefixed(v, 1024, ["B", "KiB", "MiB", "GiB"])}/s`,
  cps: (v) => `${prefixed(v, 1000, ["", "K", "M"])} c/s`,
  bool_yes_no: (v) => (v ? "Yes" : "No"),
};
const short = (v) => (Number.isInteger(v) ? String(v) : v.toPrecision(3));
const prefixed = (v, base, names) => {
  let step = 0;
  while (Math.abs(v) >= base && step < names.length - 1) [v, step] = [v / base, step + 1];
  return `${short(v)} ${names[step]}`.trim();
};
const shown = (unit, v) => (UNITS[unit] ?? ((value) => prefixed(value, 1000, ["", "K", "M"])))(v);

const legend_of = (legend, metric) => legend.replace(/\{\{(\w+)\}\}/g, (_, name) => metric[name] ?? "");

function lines(panel, series, width) {
  const points = series.flatMap((one) => one.points.map(([, v]) => v));
  const from = Math.min(...series.flatMap((one) => one.points.map(([t]) => t)));
  const to = Math.max(...series.flatMap((one) => one.points.map(([t]) => t)), from + 1);
  const positive = points.filter((v) => v > 0);
  const low = panel.log ? Math.min(...positive, 1) : 0;
  const high = panel.max ?? Math.max(...points, low * 10, panel.log ? 0 : 1e-9);
  const scale = (v) => (panel.log ? Math.log(Math.max(v, low) / low) / Math.log(high / low) : v / high);
  const x = (t) => 60 + ((t - from) / (to - from)) * (width - 70);
  const y = (v) => PLOT - 10 - Math.min(1, Math.max(0, scale(v))) * (PLOT - 20);
  const grid = [0, 0.5, 1].map((part) => {
    const v = panel.log ? low * (high / low) ** part : high * part;
    return `<line x1="60" x2="${width - 10}" y1="${y(v)}" y2="${y(v)}" stroke="#ddd"/><text x="55" y="${y(v) + 4}" text-anchor="end">${escape(shown(panel.unit, v))}</text>`;
  });
  const drawn = series.map((one, at) => `<polyline fill="none" stroke="${COLOURS[at % COLOURS.length]}" stroke-width="1.5" points="${one.points.map(([t, v]) => `${x(t)},${y(v)}`).join(" ")}"/>`);
  const named = series.slice(0, LEGENDS_MAX).map((one, at) => `<span style="color:${COLOURS[at % COLOURS.length]}">■</span> ${escape(one.name)} `);
  const more = series.length > LEGENDS_MAX ? `and ${series.length - LEGENDS_MAX} more` : "";
  return `<svg width="${width}" height="${PLOT}">${grid.join("")}${drawn.join("")}</svg><div class="legend">${named.join("")}${more}</div>`;
}

/** Buckets are cumulative: each cell is the difference to the one below. */
function heatmap(series, width) {
  const sorted = [...series].sort((a, b) => Number(a.name.replace("+Inf", "Infinity")) - Number(b.name.replace("+Inf", "Infinity")));
  const columns = sorted[0]?.points.length ?? 0;
  const cells = sorted.map((one, row) => one.points.map(([, v], at) => Math.max(0, v - (sorted[row - 1]?.points[at]?.[1] ?? 0))));
  const most = Math.max(1, ...cells.flat());
  const w = (width - 70) / Math.max(1, columns);
  const h = (PLOT - 10) / Math.max(1, sorted.length);
  const boxes = cells.flatMap((row, up) =>
    row.map((v, at) => (v > 0 ? `<rect x="${60 + at * w}" y="${PLOT - 5 - (up + 1) * h}" width="${w}" height="${h}" fill="#d9531e" opacity="${Math.sqrt(v / most)}"/>` : "")),
  );
  const ticks = sorted.map((one, up) => (up % 6 === 2 ? `<text x="55" y="${PLOT - 5 - up * h}" text-anchor="end">${escape(shown("s", Number(one.name)))}</text>` : ""));
  return `<svg width="${width}" height="${PLOT}">${boxes.join("")}${ticks.join("")}</svg>`;
}

function stat(panel, series) {
  const colour = (v) => {
    if (!panel.warn) return "#4a90d9";
    const [orange, red] = panel.warn;
    const steps = red >= orange ? [v >= red, v >= orange] : [v < red, v < orange];
    return steps[0] ? "#d64545" : steps[1] ? "#e0803c" : "#57a55a";
  };
  return series
    .slice(0, LEGENDS_MAX)
    .map((one) => {
      const v = one.points.at(-1)?.[1];
      const text = panel.text === "name" ? one.name : `${panel.text ? `${one.name}: ` : ""}${v === undefined ? "no data" : shown(panel.unit, v)}`;
      return `<div class="stat${series.length > 1 ? " small" : ""}" style="color:${colour(v)}">${escape(text)}</div>`;
    })
    .join("");
}

async function panel_html(panel, range) {
  const width = (panel.width ?? 8) * COLUMN - 16;
  const series = [];
  for (const [legend, query] of Object.entries(panel.queries)) {
    for (const { metric, values } of await range(query)) {
      const points = values.map(([t, v]) => [Number(t), Number(v)]).filter(([, v]) => Number.isFinite(v));
      if (points.length > 0) series.push({ name: legend_of(legend, metric), points });
    }
  }
  const form = { stat, heatmap: (_, all) => heatmap(all, width) }[panel.kind] ?? ((one, all) => lines(one, all, width));
  const plot = series.length > 0 ? form(panel, series) : `<div class="stat" style="color:#c00">no data</div>`;
  return `<section style="width:${width}px"><h3>${escape(panel.title)}</h3>${plot}<p>${escape(panel.about)}</p></section>`;
}

/** One page for each dashboard into `folder`; `range` answers an expression with series over time. */
export async function draw(folder, sources, range, name) {
  mkdirSync(folder, { recursive: true });
  for (const source of sources) {
    const rows = [];
    for (const row of source.rows) {
      const drawn = [];
      for (const panel of row.panels) drawn.push(await panel_html(panel, range));
      rows.push(`<h2>${escape(row.title)}</h2><div class="row">${drawn.join("")}</div>`);
    }
    const style = `body{font:12px sans-serif;width:${24 * COLUMN}px;margin:8px;color:#222}h1{font-size:18px;margin:4px}h2{font-size:14px;margin:6px 0 2px;border-bottom:1px solid #999}h3{font-size:12px;margin:2px}
      .row{display:flex;flex-wrap:wrap;gap:8px;align-items:flex-start}section{border:1px solid #ccc;padding:2px;box-sizing:border-box}section p{color:#777;font-size:10px;margin:2px}
      svg text{font-size:10px}.legend{font-size:10px;line-height:1.3}.stat{font-size:22px;text-align:center;padding:6px}.stat.small{font-size:11px;padding:1px;text-align:left}`;
    const page = path.resolve(folder, `${source.uid}-${name}.html`);
    writeFileSync(page, `<!doctype html><meta charset="utf-8"><style>${style}</style><h1>${escape(source.title)}: ${escape(name)}</h1>${rows.join("")}`);
    if (!existsSync(CHROMIUM)) continue;
    const arguments_ = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", `--window-size=${24 * COLUMN + 30},3300`];
    execFileSync(CHROMIUM, [...arguments_, `--screenshot=${page.replace(/html$/, "png")}`, `file://${page}`], { stdio: "ignore", timeout: 60_000 });
  }
}
