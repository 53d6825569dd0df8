// Rooms over the broker's public addresses only: /sse to listen, POST /v1/publish to speak, DELETE to clear.

import { ask, clock, element, freshId, listen, showState } from "./live.js";
import * as memory from "./memory.js";
import { Conversation } from "./conversation.js";

const ROOMS = ["lobby", "kitchen", "workshop"];
const ROOMS_EVERY_MS = 10000;
// What was said while a visitor was away arrives in one go; the first pause ends the count.
const SETTLED_MS = 500;

const byId = (id) => document.getElementById(id);
const channelOf = (room) => `chat:${room}`;
const talk = new Conversation({ scroll: byId("scroll"), list: byId("messages"), newer: byId("newer") });

let room = null;
let live = null;
/** What this browser has of the room, kept in step with localStorage. */
let known = null;

function enter(name) {
  live?.close();
  room = name;
  document.title = `#${room} · Tidings`;
  byId("title").textContent = `Room ${room}`;
  byId("text").placeholder = `Message #${room}`;
  talk.empty();

  const before = memory.recall(room);
  known = before ?? { cursor: null, messages: [] };
  memory.visit(room);
  // Written at once: whoever was here is a returning visitor, even if nothing was said.
  memory.keep(room, known);
  for (const message of known.messages) talk.say(message, { mine: message.nick === byId("nick").value });
  const away = before ? countWhileAway() : null;
  if (!before) talk.note(`Welcome to #${room}. Everyone on this broker can read along.\nThe last ${memory.MESSAGES_MAX} messages are kept for newcomers. /help shows more.`, "greeting");

  const from = known.cursor;
  live = listen({
    url: (cursor) => {
      const since = cursor ?? from;
      return `/sse?channel=${encodeURIComponent(channelOf(name))}&envelope=1&${since ? `since=${since}` : `last=${memory.MESSAGES_MAX}`}`;
    },
    on: {
      message: (message, cursor) => {
        const said = { id: message.id, time: message.time, nick: String(message.data?.nick ?? "?"), text: wordsOf(message.data) };
        away?.one();
        talk.say(said, { mine: said.nick === byId("nick").value });
        remember(cursor, [...known.messages, said]);
      },
      clear: (message, cursor) => {
        talk.empty();
        talk.note(`${String(message.data?.nick ?? "Someone")} cleared the room at ${clock(new Date(message.time))}.`);
        remember(cursor, []);
      },
    },
    onGap: (gap, cursor) => {
      if (gap.reason === "cleared") {
        talk.empty();
        talk.note("The room was cleared while you were away.", "gap");
        remember(cursor, []);
        return;
      }
      const why = {
        window: "more was said than the room keeps",
        restart: "the broker was started anew",
      }[gap.reason];
      talk.note(`Messages are missing here${why ? `: ${why}` : ""}.`, "gap");
      remember(cursor, known.messages);
    },
    onState: (state) => {
      showState(byId("connection"), state);
      if (state.name === "open") away?.opened();
      if (state.name === "ended") talk.note(`The broker ended this connection: ${state.reason}`, "failed");
    },
  });
  showRooms();
}

/** Anybody may publish anything here; what is not a text is shown as the JSON it is. */
function wordsOf(data) {
  const text = data?.text ?? data;
  return typeof text === "string" ? text : JSON.stringify(text) ?? "";
}

function remember(cursor, messages) {
  known = { cursor: cursor ?? known.cursor, messages: messages.slice(-memory.MESSAGES_MAX) };
  memory.keep(room, known);
}

/** "Welcome back", with the number of messages that came in the first rush. */
function countWhileAway() {
  const line = talk.note("Welcome back.");
  let count = 0;
  let timer = 0;
  let settled = false;
  const wait = () => {
    clearTimeout(timer);
    timer = setTimeout(() => (settled = true), SETTLED_MS);
  };
  return {
    opened: () => {
      if (!settled) wait();
    },
    one: () => {
      if (settled) return;
      count++;
      line.textContent = `Welcome back. ${count} ${count === 1 ? "message" : "messages"} while you were away.`;
      wait();
    },
  };
}

async function send(text, id = freshId()) {
  const nick = byId("nick").value.trim();
  const pending = talk.pending({ id, nick, text });
  try {
    // The id makes a second try harmless: the broker knows it and keeps one message.
    await ask("POST", "/v1/publish", { channel: channelOf(room), id, data: { nick, text } });
    pending.sent();
  } catch (error) {
    pending.failed(error.message, () => send(text, id));
  }
}

async function clearRoom() {
  const channel = channelOf(room);
  try {
    await ask("DELETE", `/v1/channels/${encodeURIComponent(channel)}/messages`);
    await ask("POST", "/v1/publish", { channel, event: "clear", data: { nick: byId("nick").value.trim() } });
  } catch (error) {
    talk.note(`Not cleared: ${error.message}.`, "failed");
  }
}

function command(line) {
  const [word, ...rest] = line.slice(1).split(/\s+/);
  const argument = rest.join(" ").trim();
  if (word === "clear") return clearRoom();
  if (word === "nick" && argument) {
    byId("nick").value = argument.slice(0, 24);
    memory.setNick(byId("nick").value);
    return talk.note(`You are ${byId("nick").value} now.`);
  }
  if (word === "room" && argument) return goTo(argument);
  const help = "/clear forgets what was said in this room, for everyone\n/nick NAME changes your name\n/room NAME goes to another room";
  return talk.note(word === "help" ? help : `There is no /${word}.\n${help}`);
}

byId("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = byId("text");
  const text = field.value.trim();
  memory.setNick(byId("nick").value.trim());
  if (!text) return;
  field.value = "";
  field.focus();
  if (text.startsWith("/")) command(text);
  else send(text);
});

/** A room's name as it may stand in a channel's name: no control characters, not endless. */
const tidy = (name) => name.replace(/\p{Cc}+/gu, " ").trim().slice(0, 40).trim();
const goTo = (name) => {
  const to = tidy(name);
  if (to) location.hash = encodeURIComponent(to);
};
const roomOfAddress = () => {
  try {
    return tidy(decodeURIComponent(location.hash.slice(1))) || ROOMS[0];
  } catch {
    return ROOMS[0];
  }
};
addEventListener("hashchange", () => enter(roomOfAddress()));
byId("open-room").addEventListener("submit", (event) => {
  event.preventDefault();
  goTo(byId("room-name").value);
  byId("room-name").value = "";
});

let listeners = new Map();
function showRooms() {
  const names = [...new Set([...ROOMS, ...listeners.keys(), ...memory.rooms(), room])];
  const items = names.map((name) => {
    const link = element("a");
    link.href = `#${encodeURIComponent(name)}`;
    if (name === room) link.setAttribute("aria-current", "page");
    link.append(element("span", "name", name));
    const there = listeners.get(name);
    if (there) {
      const shown = element("span", "there", String(there));
      shown.title = `${there} listening`;
      link.append(shown);
    }
    const item = element("li");
    item.append(link);
    return item;
  });
  // Replacing a focused link would throw a keyboard user out of the list.
  const list = byId("rooms");
  if (list.contains(document.activeElement) && list.querySelector("[aria-current]")?.hash === location.hash) return;
  list.replaceChildren(...items);
  // On a phone the rooms are one row that scrolls; only that row may move.
  const current = list.querySelector("[aria-current]").parentElement;
  list.scrollTo({ left: current.offsetLeft - list.offsetLeft - 24, top: current.offsetTop - list.offsetTop - 24 });
}

async function countListeners() {
  if (document.hidden) return;
  try {
    const { channels } = await ask("GET", "/v1/channels?prefix=chat%3A&limit=50");
    listeners = new Map(channels.map((channel) => [channel.channel.slice("chat:".length), channel.listeners]));
    showRooms();
  } catch {
    // The list is a comfort; the rooms work without it.
  }
}
addEventListener("resize", showRooms);
setInterval(countListeners, ROOMS_EVERY_MS);
setTimeout(countListeners, 600);

byId("nick").value = memory.nick() || `guest-${freshId().slice(0, 4)}`;
enter(roomOfAddress());
byId(memory.nick() ? "text" : "nick").focus({ preventScroll: true });
