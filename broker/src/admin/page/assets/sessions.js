// What happened to clients, and the story of one.

import { ask, query } from "./api.js";
import { session_columns } from "./channels.js";
import { by, clock, el, link, nothing, span, table } from "./dom.js";

let rows = [];
let before;
let shown_from;

/** How bad it is. */
function kind({ event, reason }) {
  if (["session_refused", "session_denied", "session_cut", "publish_refused"].includes(event)) return "bad";
  if (event === "session_closed") return ["client_gone", "finished", "draining"].includes(reason) ? "good" : "bad";
  return ["session_gap", "session_fell_behind"].includes(event) ? "warn" : "good";
}

const words = (one) => one.event.replace("session_", "").replaceAll("_", " ");
const details = (one) =>
  [(one.channels ?? one.channel) && `to ${one.channels ?? one.channel}`, one.over && `over ${one.over}`, one.rule && `rule ${one.rule}`, one.address && `from ${one.address}`, one.lasted_ms !== undefined && `after ${span(one.lasted_ms / 1000)}`, one.times && `${one.times} times`, one.since_ms && `since ${clock(one.since_ms)}`].filter(Boolean).join(", ");

function draw() {
  const columns = [
    { title: "When", class: "time", cell: (one) => clock(one.at_ms) },
    { title: "What", cell: (one) => el("span", { class: `tag ${kind(one)}` }, words(one)) },
    { title: "Why", class: "token", cell: (one) => one.reason ?? "" },
    { title: "Session", class: "token", wide: true, cell: (one) => (one.session ? link("session", one.session) : "none") },
    { title: "In words", wide: true, cell: (one) => [one.message, details(one)].filter(Boolean).join(", ") },
  ];
  by("sessions-list").replaceChildren(rows.length > 0 ? table(columns, rows, { caption: "What happened to sessions" }) : nothing("Nothing of that kind is kept."));
  by("sessions-more").hidden = !before;
}

const wanted = () => ({ event: by("sessions-event").value, text: by("sessions-text").value });

export async function show_list(signal) {
  // Who looked further back keeps what he looks at.
  if (shown_from === "older") return;
  const page = await ask(`sessions?${query(wanted())}`, { signal });
  [rows, before] = [page.happenings, page.before];
  draw();
}

export async function show_one(name, signal) {
  by("session-title").textContent = name;
  const found = await ask(`sessions/${encodeURIComponent(name)}`, { signal });
  const { sessions, silent_shards: silent } = found.now;
  by("session-line").textContent = sessions.length > 0 ? "It is here now." : "It is not on this node now.";
  by("session-now").replaceChildren(sessions.length > 0 ? table(session_columns, sessions, { caption: "The session now" }) : nothing(silent > 0 ? `${silent} shards did not answer in time.` : "Not here."));
  const steps = found.story.map((one) => {
    const when = [clock(one.at_ms), one.front, details(one)].filter(Boolean).join(" · ");
    return el("li", { "data-kind": kind(one) }, el("div", {}, el("div", { class: "what" }, el("strong", {}, words(one)), `: ${one.message}`), el("div", { class: "when" }, when)));
  });
  by("story").replaceChildren(...steps);
  by("story-note").textContent = steps.length > 0 ? "" : "Nothing is kept of it: it was not here, or too much happened since (admin.journal). The log may know more.";
}

export function begin() {
  const look = (event) => {
    event.preventDefault();
    shown_from = undefined;
    dispatchEvent(new Event("look"));
  };
  by("sessions-form").addEventListener("submit", look);
  by("sessions-event").addEventListener("change", look);
  by("sessions-more").addEventListener("click", async () => {
    const page = await ask(`sessions?${query({ ...wanted(), before })}`);
    [rows, before, shown_from] = [[...rows, ...page.happenings], page.before, "older"];
    draw();
  });
}

/** Coming to the list anew shows the newest. */
export const enter_list = () => (shown_from = undefined);
