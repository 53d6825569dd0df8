// Channels, who is on them, what went over them, and a message to try them.

import { ask, query } from "./api.js";
import { by, bytes, clock, el, link, nothing, span, table, whole } from "./dom.js";

const TAIL_KEPT = 200;

let after;
let rows = [];
/** Nodes that did not answer. */
let silent = [];

function draw_list() {
  const columns = [
    { title: "Channel", class: "name", wide: true, cell: (row) => link("channel", row.channel) },
    { title: "Listeners", number: true, label: "listeners", cell: (row) => whole.format(row.listeners) },
    { title: "Kept", number: true, label: "kept", cell: (row) => whole.format(row.messages) },
    { title: "Bytes", number: true, label: "", cell: (row) => bytes(row.bytes) },
    { title: "Published", number: true, label: "published", cell: (row) => whole.format(row.offset) },
  ];
  by("channels-list").replaceChildren(rows.length > 0 ? table(columns, rows, { caption: "Channels" }) : nothing("No such channel: nobody listens, and nothing is kept."));
  by("channels-more").hidden = !after;
  by("channels-silent").textContent = silent.length > 0 ? `Channels that only ${silent.join(", ")} holds are missing: no answer within a second.` : "";
}

export async function show_list(signal) {
  const page = await ask(`channels?${query({ prefix: by("channels-prefix").value, limit: Math.max(50, Math.min(200, rows.length)) })}`, { signal });
  [rows, after, silent] = [page.channels, page.next, page.silent_nodes];
  draw_list();
}

export function message(one) {
  const payload = "base64" in one ? `${one.base64} (base64)` : typeof one.data === "string" ? one.data : JSON.stringify(one.data, null, 1);
  const head = [clock(one.time), `no. ${one.offset}`, one.event && `event ${one.event}`, one.content_type, `id ${one.id}`].filter(Boolean);
  return el("article", { class: "message" }, el("div", { class: "head" }, ...head.map((text) => el("span", {}, text))), el("pre", {}, payload));
}

export const session_columns = [
  { title: "Session", class: "token", wide: true, cell: (row) => link("session", row.session) },
  { title: "Front", cell: (row) => row.front },
  { title: "From", class: "token", cell: (row) => row.address ?? "–" },
  { title: "Channels", class: "name", wide: true, label: "on", cell: (row) => row.channels.join(", ") + (row.channel_count > row.channels.length ? ` and ${row.channel_count - row.channels.length} more` : "") },
  { title: "State", cell: (row) => (row.behind_seconds === null ? el("span", { class: "tag good" }, "caught up") : el("span", { class: "tag warn" }, `behind for ${span(row.behind_seconds)}`)) },
  { title: "Unsent", number: true, label: "unsent", cell: (row) => bytes(row.unsent_bytes) },
];

export async function show_one(name, signal) {
  by("channel-title").textContent = name;
  let found;
  try {
    found = await ask(`channels/${encodeURIComponent(name)}`, { signal });
  } catch (error) {
    if (error.status !== 404) throw error;
    by("channel-line").textContent = error.message;
    by("on-note").textContent = "";
    by("on-list").replaceChildren();
    by("newest").replaceChildren();
    return;
  }
  by("channel-line").textContent = `${whole.format(found.listeners)} listen, ${whole.format(found.messages)} messages kept (${bytes(found.bytes)}), ${whole.format(found.offset)} published`;
  by("channel-try").replaceChildren(link("try", name, "Publish to it, or watch it"));
  const { count, sessions, silent_shards: hung } = found.on_shards;
  const beside = found.listeners_here - count;
  const elsewhere = found.listeners - found.listeners_here;
  const notes = [sessions.length < count && `The first ${sessions.length} of ${whole.format(count)}; the others are only counted.`, beside > 0 && `${whole.format(beside)} more over gRPC or inside this process.`, elsewhere > 0 && `${whole.format(elsewhere)} threads or streams of other nodes: ask there who they are.`, hung > 0 && `${hung} shards did not answer in time.`];
  by("on-note").textContent = notes.filter(Boolean).join(" ");
  by("on-list").replaceChildren(sessions.length > 0 ? table(session_columns, sessions, { caption: "Sessions on this channel" }) : nothing("Nobody on this node."));
  by("newest").replaceChildren(...(found.newest.length > 0 ? found.newest.map(message) : [nothing("Nothing is kept.")]));
}

/** The channel that is watched, as long as it is. */
let watching;

async function watch(channel) {
  const stop = new AbortController();
  watching = stop;
  by("tail-switch").setAttribute("aria-pressed", "true");
  by("tail-switch").textContent = "Stop watching";
  by("tail").replaceChildren();
  let cursor = "";
  while (!stop.signal.aborted) {
    by("tail-note").textContent = `Watching ${channel}.`;
    try {
      const answer = await ask(`tail?${query({ channel, since: cursor })}`, { signal: stop.signal });
      cursor = answer.cursor;
      if (answer.gap) by("tail").prepend(nothing(`Messages are missing here: ${answer.gap.reason}.`));
      for (const one of answer.messages) by("tail").prepend(message(one));
      while (by("tail").childElementCount > TAIL_KEPT) by("tail").lastElementChild.remove();
    } catch (error) {
      if (stop.signal.aborted) break;
      by("tail-note").textContent = error.status ? error.message : "The broker does not answer; trying again.";
      if (error.status && error.status < 500) break;
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
  if (watching === stop) unwatch();
}

function unwatch() {
  watching?.abort();
  watching = undefined;
  by("tail-switch").setAttribute("aria-pressed", "false");
  by("tail-switch").textContent = "Watch the channel";
  if (by("tail-note").textContent.startsWith("Watching")) by("tail-note").textContent = "Not watching.";
}

export function begin() {
  by("channels-form").addEventListener("submit", (event) => {
    event.preventDefault();
    rows = [];
    dispatchEvent(new Event("look"));
  });
  by("channels-more").addEventListener("click", async () => {
    const page = await ask(`channels?${query({ prefix: by("channels-prefix").value, after, limit: 50 })}`);
    [rows, after, silent] = [[...rows, ...page.channels], page.next, page.silent_nodes];
    draw_list();
  });
  by("publish-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const note = by("publish-note");
    const body = { channel: by("try-channel").value, event: by("try-event").value || undefined };
    try {
      if (by("try-json").checked) body.data = JSON.parse(by("try-text").value);
      else body.text = by("try-text").value;
      const published = await ask("publish", { method: "POST", body });
      note.className = "";
      note.textContent = `Published as no. ${published.offset} of ${published.channel}.`;
    } catch (error) {
      note.className = "bad";
      note.textContent = error instanceof SyntaxError ? `That is no JSON: ${error.message}` : error.message;
    }
  });
  by("tail-switch").addEventListener("click", () => {
    if (watching) return unwatch();
    if (by("try-channel").reportValidity()) watch(by("try-channel").value);
  });
}

export function show_try(name) {
  if (name !== undefined && by("try-channel").value !== name) {
    unwatch();
    by("try-channel").value = name;
  }
}
