// What this browser remembers of each room: the cursor where it left, and the messages it has already shown.
//
// Both are written together, so that after a reload "what I have" and "what I still need" meet exactly: the page shows
// the former at once and asks the broker for everything after the cursor.

const PREFIX = "tidings.chat.";
const ROOMS_MAX = 20;
export const MESSAGES_MAX = 100;

function read(key) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + key));
  } catch {
    return null;
  }
}

function write(key, value) {
  try {
    localStorage.setItem(PREFIX + key, JSON.stringify(value));
  } catch {
    // A full or forbidden storage costs the memory, not the chat.
  }
}

export const nick = () => String(read("nick") ?? "");
export const setNick = (value) => write("nick", value);

/** Rooms this browser has been to, the latest first. */
export const rooms = () => {
  const known = read("rooms");
  return Array.isArray(known) ? known.filter((room) => typeof room === "string").slice(0, ROOMS_MAX) : [];
};

/** The memory of a room: { cursor, messages }, or null when this browser has never been there. */
export function recall(room) {
  const kept = read(`room:${room}`);
  if (!kept || typeof kept !== "object") return null;
  return { cursor: typeof kept.cursor === "string" ? kept.cursor : null, messages: Array.isArray(kept.messages) ? kept.messages : [] };
}

/** Keeps it, and forgets the rooms that were not visited for longest. */
export function keep(room, { cursor, messages }) {
  write(`room:${room}`, { cursor, messages: messages.slice(-MESSAGES_MAX) });
}

export function visit(room) {
  const known = [room, ...rooms().filter((other) => other !== room)];
  for (const old of known.splice(ROOMS_MAX)) {
    try {
      localStorage.removeItem(`${PREFIX}room:${old}`);
    } catch {
      // As above.
    }
  }
  write("rooms", known);
}
