// Channels that share one HTTP connection, and with it one cursor.
//
// A connection's cursor says how far all of its channels have come, once all of them stand at the same place. That is so
// from the beginning when they began with the same cursor, and from a heartbeat on, which is told when nothing is left to
// replay. Before, a message's cursor counts for its own channel only: taken for another one, it might lead back behind
// messages that have come already.

import type { Query } from "./http.js";
import type { Gone, Session } from "./session.js";
import type { Raw, Subscription } from "./subscription.js";
import type { Cluster, Gap } from "./types.js";

/** Short polls that may bring the channels together before a stream begins, at most. */
const POLLS = 5;
/** An answer that is smaller than this in both held all there was: the broker would have put more into it. */
const FEW_MESSAGES = 50;
const FEW_LETTERS = 100_000;

interface Answer {
  messages: Raw[];
  cursor: string;
  gap?: Gap;
  gaps?: Gap[];
  cluster?: Cluster;
  unsubscribed?: Gone[];
}


/** The channels of one stay. */
export class Together {
  readonly #all: Subscription[];
  #even: boolean;

  constructor(
    private readonly session: Session,
    subscriptions: Iterable<Subscription>,
  ) {
    this.#all = [...subscriptions];
    this.#even = this.#isEven();
  }

  #isEven(): boolean {
    const [first, ...others] = this.#all;
    const since = first?._since;
    return !others.length || (since !== undefined && others.every((other) => other._since === since));
  }

  /** What to ask for. */
  query(): Query {
    const starts = this.#all.map((subscription) => subscription._since);
    const query: Query = [...this.#all.map(({ channel }): Query[0] => ["channel", channel]), ...this.session.around.http.more];
    if (!this.#even) for (const since of starts) query.push(["since", since ?? "live"]);
    else if (starts[0] === undefined) query.push(["last", String(this.#all[0]?._start.last)]);
    else if (starts[0] !== "live") query.push(["since", starts[0]]);
    return query;
  }

  /** Brings the channels to one place, as far as that is possible. */
  async align(): Promise<void> {
    for (let tries = 0; !this.#even && tries < POLLS; tries++) {
      for (const one of this.#all) {
        // Among others there is no way to say "the last N".
        if (one._since === undefined) await new Together(this.session, [one]).poll(true);
      }
      await this.poll(true);
    }
  }

  /** One poll; `short`: without waiting. Says how long the broker wants to be left alone, in milliseconds. */
  async poll(short: boolean): Promise<number> {
    const { http, silence, connectTimeout } = this.session.around;
    this.session.expect(connectTimeout + (short ? 0 : silence));
    const query = this.query();
    if (short) query.push(["wait", "0"]);
    const response = await http.ask("poll", query, { signal: this.session.signal });
    const told = response.headers.get("tidings-cursor");
    const text = await response.text();
    // Only this status means that there is nothing: a browser may hand out an answer that was cut as an empty one.
    const answer: Answer = response.status === 204 ? { messages: [], cursor: told } : JSON.parse(text);
    if (!answer.cursor) throw new Error("no cursor");
    if (this.session.over) return 0;
    // A short poll before a stream says nothing about whether the stream works.
    if (this.session.front === "poll") this.session.heard();
    if (answer.cluster) this.session.around.cluster(answer.cluster);
    for (const unsubscribed of answer.unsubscribed ?? []) this.session.say({ unsubscribed });
    for (const gap of answer.gaps ?? (answer.gap ? [answer.gap] : [])) this.gap(gap);
    for (const message of answer.messages) {
      // Its own cursor: that of the answer is behind all of them.
      this.#find(message.channel)?._take(message, message.cursor);
      this.session.brought = true;
      if (this.session.over) return 0;
    }
    if (answer.messages.length < FEW_MESSAGES && text.length < FEW_LETTERS) this.#even = true;
    for (const one of this.#all) {
      // Who left in the middle of this answer has not seen the rest of it.
      if (one.state === "closed") continue;
      if (this.#even) one.cursor = answer.cursor;
      else one.cursor ??= answer.cursor;
      one._live({ channel: one.channel });
    }
    return (Number(response.headers.get("retry-after")) || 0) * 1000;
  }

  #find(channel: string): Subscription | undefined {
    return this.#all.find((subscription) => subscription.channel === channel);
  }

  /** A message of a stream, with the stream's cursor. */
  message(message: Raw, cursor: string): void {
    this.session.brought = true;
    if (this.#even) this.#everywhere(cursor);
    this.#open();
    this.#find(message.channel)?._take(message, cursor);
  }

  /** A cursor at the head. */
  head(cursor: string | undefined): void {
    if (cursor) {
      this.#even = true;
      this.#everywhere(cursor);
    }
    this.#open();
  }

  gap(gap: Gap): void {
    this.session.brought = true;
    this.#find(gap.channel)?._miss(gap);
  }

  #everywhere(cursor: string): void {
    for (const one of this.#all) if (one.state !== "closed") one.cursor = cursor;
  }

  /** The stream has begun, and so the broker listens for all of its channels; each that has a cursor will miss nothing. */
  #open(): void {
    this.session.heard();
    for (const one of this.#all) if (one.cursor) one._live({ channel: one.channel });
  }
}
