import { clock, element, listen, showState } from "./live.js";
import { Spark } from "./spark.js";

const CHANNEL = "demo:machine";
const HISTORY = 60;
const ALARMS_SHOWN_MAX = 20;
// Samples come once a second. Two missing ones are a hole in the lines, three silent seconds are worth a word.
const HOLE_MS = 2500;
const SILENT_MS = 3500;

const byId = (id) => document.getElementById(id);
const sparks = {
  cpu: new Spark(byId("cpu-spark"), { top: 100 }),
  memory: new Spark(byId("memory-spark"), { top: 100 }),
  net: new Spark(byId("net-spark"), { topMin: 1024 }),
  messages: new Spark(byId("messages-spark"), { topMin: 4 }),
  latency: new Spark(byId("latency-spark"), { topMin: 0.001 }),
  connections: new Spark(byId("connections-spark"), { topMin: 4 }),
  rss: new Spark(byId("rss-spark"), { topMin: 1 << 20 }),
};

/** Writes "12.3 MiB" as a figure with a smaller unit. */
function figure(id, [value, unit]) {
  const output = byId(id);
  output.replaceChildren(value);
  if (unit) output.append(element("span", "unit", unit));
}

const percent = (value) => [value.toFixed(value < 9.95 ? 1 : 0), "%"];
const count = (value) => [value >= 1e6 ? `${(value / 1e6).toFixed(2)} M` : Math.round(value).toLocaleString("en"), ""];
const rate = (value) => [value < 9.95 && value % 1 ? value.toFixed(1) : Math.round(value).toLocaleString("en"), ""];

function bytes(value, suffix = "") {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return [value.toFixed(unit === 0 || value >= 99.5 ? 0 : 1), units[unit] + suffix];
}

function seconds(value) {
  if (value === null || value === undefined) return ["–", ""];
  if (value < 0.001) return [Math.round(value * 1e6).toString(), "µs"];
  if (value < 1) return [(value * 1e3).toFixed(value < 0.01 ? 1 : 0), "ms"];
  return [value.toFixed(1), "s"];
}

function showCores(cores) {
  const bars = byId("cores");
  while (bars.children.length > cores.length) bars.lastChild.remove();
  while (bars.children.length < cores.length) {
    const bar = element("span");
    bar.append(element("i"));
    bars.append(bar);
  }
  cores.forEach((value, index) => {
    const fill = bars.children[index].firstChild;
    fill.style.transform = `scaleX(${Math.min(100, value) / 100})`;
    fill.classList.toggle("hot", value > 90);
    bars.children[index].title = `core ${index}: ${value.toFixed(0)} %`;
  });
}

function showBroker(broker) {
  byId("broker-note").hidden = !broker;
  if (!broker) {
    for (const id of ["delivered", "published", "p50", "p99", "connections", "rss"]) figure(id, ["–", ""]);
    for (const name of ["messages", "latency", "connections", "rss"]) sparks[name].push(null);
    byId("broker-cpu").textContent = "";
    return;
  }
  figure("delivered", rate(broker.delivered_per_s));
  figure("published", rate(broker.published_per_s));
  figure("p50", seconds(broker.latency_p50_s));
  figure("p99", seconds(broker.latency_p99_s));
  figure("connections", count(broker.connections));
  figure("rss", bytes(broker.rss_bytes));
  byId("broker-cpu").textContent = `${broker.cpu_percent.toFixed(1)} % of a core`;
  sparks.messages.push([broker.delivered_per_s, broker.published_per_s]);
  sparks.latency.push(broker.latency_p50_s === null ? null : [broker.latency_p50_s, broker.latency_p99_s]);
  sparks.connections.push([broker.connections]);
  sparks.rss.push([broker.rss_bytes]);
}

let newest = null;
let heardAt = 0;
let received = 0;

function showSample(sample) {
  if (newest && sample.time - newest.time > HOLE_MS) Object.values(sparks).forEach((spark) => spark.push(null));
  newest = sample;
  heardAt = Date.now();
  received++;
  const memory = (100 * sample.memory_used_bytes) / (sample.memory_total_bytes || 1);
  byId("host").textContent = sample.host || "This machine";
  byId("load").textContent = `load ${sample.load.map((value) => value.toFixed(2)).join("  ")}`;
  byId("memory-total").textContent = `${bytes(sample.memory_used_bytes).join(" ")} of ${bytes(sample.memory_total_bytes).join(" ")}`;
  figure("cpu", percent(sample.cpu_percent));
  figure("memory", percent(memory));
  figure("net-in", bytes(sample.net_in_bytes_per_s, "/s"));
  figure("net-out", bytes(sample.net_out_bytes_per_s, "/s"));
  sparks.cpu.push([sample.cpu_percent]);
  sparks.memory.push([memory]);
  sparks.net.push([sample.net_in_bytes_per_s, sample.net_out_bytes_per_s]);
  showCores(sample.cores_percent);
  showBroker(sample.broker);
  showAlarmLine(sample.alarms);
  showFreshness();
}

const RULES = { cpu: "Processor use", memory: "Memory use" };

function showAlarmLine(alarms) {
  byId("alarm").dataset.state = alarms.length ? "raised" : "calm";
  const text = alarms.length
    ? alarms.map((alarm) => `${RULES[alarm.rule] ?? alarm.rule} above ${alarm.limit_percent} % since ${clock(new Date(alarm.since))}`).join(" · ")
    : "All quiet: processor and memory are below their limits.";
  // Screen readers speak this line: touch it only when it changes.
  if (byId("alarm-text").textContent !== text) byId("alarm-text").textContent = text;
}

function showAlarm(alarm) {
  const line = element("li", alarm.state === "raised" ? "raised" : "cleared");
  const words = `${RULES[alarm.rule] ?? alarm.rule} at ${Number(alarm.value_percent).toFixed(0)} % (limit ${alarm.limit_percent} %)`;
  line.append(element("time", "", clock(new Date(alarm.time))), element("b", "", alarm.state), element("span", "", words));
  byId("alarms").prepend(line);
  while (byId("alarms").children.length > ALARMS_SHOWN_MAX) byId("alarms").lastChild.remove();
  byId("no-alarms").hidden = true;
}

function showFreshness() {
  if (!newest) return;
  const silent = Date.now() - heardAt > SILENT_MS;
  document.body.classList.toggle("stale", silent);
  byId("freshness").textContent = silent
    ? `No new figures since ${clock(new Date(newest.time))}.`
    : `Figures of ${clock(new Date(newest.time))} · ${received.toLocaleString("en")} received`;
}
setInterval(showFreshness, 1000);

listen({
  url: (cursor) => `/sse?channel=${CHANNEL}&${cursor ? `since=${cursor}` : `last=${HISTORY}`}`,
  on: { sample: showSample, alarm: showAlarm },
  onState: (state) => showState(byId("connection"), state),
});
