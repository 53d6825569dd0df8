// One event stream that says how it is, and that comes back also where the browser itself would give up.

const WAIT_MIN_MS = 1000;
const WAIT_MAX_MS = 20000;

/**
 * Listens until `close()` is called.
 *
 * `url(cursor)` gives the address for a first or a renewed connection; `cursor` is the last event id seen, or null.
 * `on` maps event names to functions of (parsed data, cursor). `onState` hears { name, since, reason }, where name is
 * "connecting", "open", "lost" (it will come back) or "ended" (it will not).
 */
export function listen({ url, on, onState, onGap = () => {} }) {
  let source = null;
  let timer = 0;
  let cursor = null;
  let attempts = 0;
  let ended = false;
  let state = { name: "" };

  const setState = (name, reason = "") => {
    if (state.name === name && state.reason === reason) return;
    // A stream that stays lost keeps the moment at which it was lost.
    const since = state.name === name ? state.since : new Date();
    state = { name, since, reason };
    onState(state);
  };

  const take = (handle) => (event) => {
    if (event.lastEventId) cursor = event.lastEventId;
    let data;
    try {
      data = JSON.parse(event.data);
    } catch {
      data = event.data;
    }
    handle(data, cursor);
  };

  const connect = () => {
    clearTimeout(timer);
    source?.close();
    if (state.name !== "lost") setState("connecting");
    const mine = new EventSource(url(cursor));
    source = mine;
    mine.onopen = () => {
      attempts = 0;
      setState("open");
    };
    mine.onerror = () => {
      if (ended || mine !== source) return;
      setState("lost", state.reason);
      // After a network failure the browser tries again by itself and sends Last-Event-ID. After a refusal it never does.
      if (mine.readyState !== EventSource.CLOSED) return;
      const wait = Math.min(WAIT_MAX_MS, WAIT_MIN_MS * 2 ** attempts++) * (0.5 + Math.random() / 2);
      timer = setTimeout(connect, wait);
    };
    for (const [name, handle] of Object.entries(on)) mine.addEventListener(name, take(handle));
    mine.addEventListener("tidings:gap", take(onGap));
    mine.addEventListener("tidings:close", (event) => {
      let told = {};
      try {
        told = JSON.parse(event.data);
      } catch {
        // The stream ends either way; only the words for it are missing.
      }
      if (told.retry === false) {
        ended = true;
        mine.close();
        setState("ended", told.message || told.code || "");
      } else {
        setState("lost", told.message || "");
      }
    });
  };

  const hurry = () => {
    if (!ended && source.readyState === EventSource.CLOSED) connect();
  };
  addEventListener("online", hurry);
  connect();
  return {
    close() {
      ended = true;
      removeEventListener("online", hurry);
      clearTimeout(timer);
      source.close();
    },
  };
}

export const clock = (date) => date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });

/** Shows a state in the pill of the top bar. */
export function showState(pill, { name, since, reason }) {
  pill.dataset.state = name;
  pill.textContent = {
    connecting: "connecting…",
    open: "connected",
    lost: `reconnecting since ${clock(since)}`,
    ended: "ended",
  }[name];
  pill.title = reason || `since ${clock(since)}`;
}

/** An element with classes and text; text never becomes markup. */
export function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

/** Asks the broker over its JSON API; throws an Error whose message is for people. */
export async function ask(method, path, body) {
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: body === undefined ? {} : { "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new Error("the broker cannot be reached");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error?.message || `the broker answered ${response.status}`);
  return answer;
}

/** An id nobody else has, also on pages where crypto.randomUUID is missing because they came over plain HTTP. */
export function freshId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
