// What the pages with the npm client have in common. The client itself is tidings.js, the very file that npm has.

import { Tidings } from "./tidings.js";
import { showState } from "./live.js";

export { Tidings };

const PILL = { connecting: "connecting", live: "open", waiting: "lost", closed: "ended" };

/** Keeps a pill in step with how a client is; `words` of a live one say more than "connected". */
export function follow(tidings, pill, words = (state) => `connected by ${NAMES[state.front]}`) {
  let since = new Date();
  let shown = "";
  const show = (state) => {
    if (state.name === "idle") {
      pill.dataset.state = "idle";
      pill.textContent = "not listening";
      return;
    }
    // Between two tries it stays lost since the moment at which it was lost.
    const name = shown === "lost" && state.name === "connecting" ? "lost" : PILL[state.name];
    if (name !== shown) since = new Date();
    shown = name;
    showState(pill, { name, since, reason: state.reason });
    if (state.name === "live") pill.textContent = words(state);
  };
  show(tidings.state);
  tidings.on("state", show);
}

export const NAMES = { websocket: "WebSocket", sse: "SSE", stream: "Streaming", poll: "Long-poll" };
