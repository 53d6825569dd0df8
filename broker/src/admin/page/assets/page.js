// Which view is shown, and keeping it fresh. Each view asks for what it shows every few seconds while somebody looks at it.

import { Refused, ask, has_key, set_key } from "./api.js";
import * as channels from "./channels.js";
import * as cluster from "./cluster.js";
import { by } from "./dom.js";
import * as overview from "./overview.js";
import * as sessions from "./sessions.js";

const FRESH_MS = 5000;

/** View → { under: its entry in the bar, show(signal, name), enter?() }. */
const VIEWS = {
  overview: { under: "overview", show: (signal) => overview.show(signal) },
  channels: { under: "channels", show: (signal) => channels.show_list(signal) },
  channel: { under: "channels", show: (signal, name) => channels.show_one(name, signal) },
  sessions: { under: "sessions", show: (signal) => sessions.show_list(signal), enter: sessions.enter_list },
  session: { under: "sessions", show: (signal, name) => sessions.show_one(name, signal) },
  cluster: { under: "cluster", show: (signal) => cluster.show(signal) },
  try: { under: "try", show: async (_, name) => channels.show_try(name) },
};

let current = new AbortController();

function where() {
  const [view, ...rest] = location.hash.slice(1).split("/");
  const name = rest.length > 0 ? rest.join("/") : undefined;
  try {
    return Object.hasOwn(VIEWS, view) ? [view, name === undefined ? undefined : decodeURIComponent(name)] : ["overview"];
  } catch {
    return ["overview"];
  }
}

function state(kind, text) {
  const pill = by("state");
  pill.dataset.state = kind;
  if (pill.textContent !== text) pill.textContent = text;
}

function ask_for_key(error) {
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== "key";
  const is_closed = error.status === 403;
  by("key-form").hidden = is_closed;
  by("key-why").textContent = is_closed ? error.message : "This broker asks for a key. It is kept in this tab until you close it.";
  by("key-error").textContent = !is_closed && has_key() ? error.message : "";
  set_key(null);
  state("warn", is_closed ? "closed" : "needs a key");
  if (!is_closed) by("key-input").focus();
}

/** Shows where we are, once. */
async function look(signal) {
  const [view, name] = where();
  const { show, under } = VIEWS[view];
  try {
    // Also the views that ask for nothing themselves need the key.
    const seen = await ask("overview", { signal });
    await show(signal, name);
    if (signal.aborted) return;
    for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== `view-${view}`;
    for (const link of document.querySelectorAll(".bar nav a")) {
      if (link.hash === `#${under}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    by("trouble").textContent = "";
    state(seen.is_ready ? "ready" : "bad", seen.is_ready ? "ready" : (seen.not_ready?.reason ?? "not ready").replaceAll("_", " "));
  } catch (error) {
    if (signal.aborted) return;
    if (error instanceof Refused && [401, 403].includes(error.status)) return ask_for_key(error);
    if (error instanceof Refused) by("trouble").textContent = error.message;
    else state("bad", "no answer");
  }
}

/** Shows a view and keeps it fresh until another one is asked for. */
async function stay() {
  current.abort();
  const mine = (current = new AbortController());
  while (!mine.signal.aborted) {
    if (!document.hidden) await look(mine.signal);
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, FRESH_MS);
      mine.signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
    });
  }
}

addEventListener("hashchange", () => {
  if (location.hash === "#main") return;
  VIEWS[where()[0]].enter?.();
  stay();
  by("main").focus({ preventScroll: true });
  scrollTo(0, 0);
});
addEventListener("look", stay);
document.addEventListener("visibilitychange", () => document.hidden || stay());
by("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  set_key(by("key-input").value.trim());
  by("key-input").value = "";
  stay();
});
for (const view of [overview, channels, sessions]) view.begin();
stay();
