// The list of what was said: lines, notes, own words on their way. Knows nothing of the broker.

import { element } from "./live.js";

const LINES_MAX = 500;
// Words of one person within this time stand under one name.
const TOGETHER_MS = 5 * 60 * 1000;
const COLOURS = 8;

const colourOf = (nick) => `c${[...nick].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) >>> 0, 7) % COLOURS}`;
const minute = (time) => new Date(time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });

export class Conversation {
  constructor({ scroll, list, newer }) {
    Object.assign(this, { scroll, list, newer, unread: 0, last: null, own: new Map() });
    scroll.addEventListener("scroll", () => this.atEnd() && this.toEnd(), { passive: true });
    newer.addEventListener("click", () => this.toEnd());
    // A phone's keyboard or a turned screen must not hide the end of the talk.
    let follow = true;
    scroll.addEventListener("scroll", () => (follow = this.atEnd()), { passive: true });
    new ResizeObserver(() => follow && this.toEnd()).observe(scroll);
  }

  empty() {
    this.list.replaceChildren();
    this.own.clear();
    this.last = null;
    this.toEnd();
  }

  /** A message that the broker has delivered. */
  say({ id, nick, text, time }, { mine }) {
    const follow = this.atEnd();
    this.own.get(id)?.remove();
    this.own.delete(id);
    const together = this.last && this.last.nick === nick && time - this.last.time < TOGETHER_MS;
    this.last = { nick, time };
    this.place(line({ nick, text, time, mine, first: !together }), follow, this.own.values().next().value);
  }

  /** A line about the talk, not of it. */
  note(text, kind = "") {
    const follow = this.atEnd();
    const made = element("li", `note ${kind}`.trim(), text);
    this.last = null;
    this.place(made, follow);
    return made;
  }

  /** Own words on their way; they go when the message itself arrives. */
  pending({ id, nick, text }) {
    this.own.get(id)?.remove();
    const made = line({ nick, text, time: Date.now(), mine: true, first: !this.last || this.last.nick !== nick });
    made.classList.add("pending");
    this.own.set(id, made);
    this.place(made, true);
    const stillThere = () => this.own.get(id) === made;
    return {
      sent: () => stillThere() && made.classList.remove("pending"),
      failed: (reason, again) => {
        if (!stillThere()) return;
        const why = element("span", "why", `Not sent: ${reason}.`);
        why.setAttribute("role", "alert");
        const retry = element("button", "quiet", "Try again");
        const drop = element("button", "quiet", "Drop");
        retry.type = drop.type = "button";
        retry.addEventListener("click", again);
        drop.addEventListener("click", () => {
          this.own.delete(id);
          made.remove();
        });
        why.append(retry, drop);
        made.append(why);
        this.toEnd();
      },
    };
  }

  place(made, follow, before = null) {
    // What is still on its way stays below what has arrived.
    this.list.insertBefore(made, before);
    while (this.list.children.length > LINES_MAX) this.list.firstChild.remove();
    if (follow) return this.toEnd();
    this.unread++;
    this.newer.textContent = `${this.unread} new ↓`;
    this.newer.hidden = false;
  }

  atEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroll;
    return scrollHeight - scrollTop - clientHeight < 48;
  }

  toEnd() {
    this.unread = 0;
    this.newer.hidden = true;
    this.scroll.scrollTop = this.scroll.scrollHeight;
  }
}

function line({ nick, text, time, mine, first }) {
  const made = element("li", `said ${colourOf(nick)}${first ? " first" : ""}`);
  if (first) {
    const name = element("span", "nick", nick);
    if (mine) name.append(element("span", "you", " (you)"));
    made.append(name);
  }
  const when = element("time", "", minute(time));
  when.dateTime = new Date(time).toISOString();
  made.append(element("span", "text", text), when);
  return made;
}
