// The two fronts that stream lines over HTTP: Server-Sent Events, and one JSON object a line.

import type { Query } from "../http.js";
import type { Session, Words } from "../session.js";
import { Together } from "../together.js";
import type { Gap } from "../types.js";

interface Said extends Words {
  gap?: Gap;
  heartbeat?: { cursor?: string };
}

/** Takes one line after another, without its end. */
type Take = (line: string) => void;

/** Server-Sent Events (WHATWG HTML, section 9.2), each message as JSON. */
export const sse = (session: Session): Promise<void> =>
  stream(session, "sse", [["envelope", "1"]], "text/event-stream", (together) => {
    let id = "";
    let event = "";
    let data = "";
    return (line) => {
      const colon = line.indexOf(": ");
      const name = line.slice(0, colon);
      const value = line.slice(colon + 2);
      if (name === "id") id = value;
      else if (name === "event") event = value;
      else if (name === "data") data += value;
      else if (name === "retry") session.retry = Number(value) || 0;
      if (line) return;
      // What is not ended by an empty line is not whole and does not count.
      if (event.startsWith("tidings:")) {
        hear(session, together, { [event.slice(8)]: JSON.parse(data) });
      } else if (data) {
        together.message(JSON.parse(data), id);
      } else {
        together.head(id);
      }
      id = event = data = "";
    };
  });

/** One JSON object a line. */
export const ndjson = (session: Session): Promise<void> =>
  stream(session, "stream", [], "application/x-ndjson", (together) => (line) => {
    if (!line.trim()) return;
    const object = JSON.parse(line);
    if (object.channel) together.message(object, object.cursor);
    else hear(session, together, object);
  });

/** What is no message, by its one name. */
function hear(session: Session, together: Together, said: Said): void {
  if (said.gap) {
    together.head("");
    together.gap(said.gap);
  } else if (said.heartbeat) {
    together.head(said.heartbeat.cursor);
  } else {
    session.say(said);
  }
}

async function stream(session: Session, path: string, more: Query, type: string, taker: (together: Together) => Take): Promise<void> {
  const together = new Together(session, session.around.subscriptions.values());
  await together.align();
  session.expect(session.around.connectTimeout);
  const response = await session.around.http.ask(path, [...together.query(), ...more], { signal: session.signal });
  // A page that somebody put in between is no stream, whatever its status says.
  if (!response.headers.get("content-type")?.startsWith(type)) throw new Error("this is no answer of the broker");
  const reader = (response.body as ReadableStream<Uint8Array>).getReader();
  const decoder = new TextDecoder();
  const take = taker(together);
  for (let rest = ""; ; ) {
    const { done, value } = await reader.read();
    if (done || session.over) return;
    const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
    rest = lines.pop() as string;
    if (session.openedAt) session.heard();
    for (const line of lines) {
      take(line.endsWith("\r") ? line.slice(0, -1) : line);
      if (session.over) return;
    }
  }
}
