// Who is on a channel: a list that keeps itself up to date. A module of its own, for pages that want it.

import { Emitter } from "./emitter.js";
import { TidingsError, told } from "./error.js";
import { Http, type Query } from "./http.js";
import type { Options } from "./types.js";

/** A user on a channel. */
export interface User<Info = unknown> {
  /** The `sub` of its token. */
  user: string;
  /** The `info` of its token. */
  info?: Info;
}

/** How many are there. */
export interface Counts {
  users: number;
  /** Sessions that show no user. They are not named. */
  anonymous: number;
  connections: number;
}

/** What changed. */
export interface Change<Info = unknown> extends Counts {
  /** Who came, or has another info now; at first, and after a while without a connection, whoever is new in the list. */
  joined: User<Info>[];
  left: string[];
  /** The channel has so many members that only counts are told; the list is empty then. */
  counts_only?: boolean;
}

/** A page of who is there. */
export interface Page<Info = unknown> extends Counts {
  channel: string;
  members: (User<Info> & { connections: number })[];
  /** Give it as `after` for the next page. */
  next?: string;
  counts_only?: boolean;
  full?: boolean;
}

/** What a presence tells. */
export interface PresenceEvents<Info> {
  /** The list is another one. */
  change: Change<Info>;
  /** It is over: by `close()` without an error, or because the broker refused it. */
  closed: TidingsError | undefined;
}

interface Notice<Info> extends Counts {
  here?: User<Info>[];
  joined?: User<Info>[];
  left?: string[];
  counts_only?: boolean;
}

/** Shortest and longest wait before it connects again, in milliseconds; a broker says something in every 25 seconds. */
const WAIT = 1000;
const WAIT_MAX = 30_000;
const SILENCE = 60_000;

/** Who is on one channel, over a connection of its own, by which it is on the channel, too. */
export class Presence<Info = unknown> extends Emitter<PresenceEvents<Info>> {
  /** By name. Empty while `counts.counts_only`. */
  readonly users = new Map<string, User<Info>>();
  /** As told last; nothing before the first `change`. */
  counts: (Counts & { counts_only?: boolean }) | undefined;
  readonly #http: Http;
  #stop = new AbortController();
  #over = false;

  constructor(
    base: string | URL,
    /** The channel. */
    readonly channel: string,
    options: Pick<Options, "token" | "credentials" | "fetch"> = {},
  ) {
    super();
    this.#http = new Http(base, options);
    void this.#run();
  }

  /** Nothing is told after this. */
  close(): void {
    this.#end();
  }

  /** A page of who is there, on whatever node; it needs no connection to stand. */
  async page({ after, limit }: { after?: string; limit?: number } = {}): Promise<Page<Info>> {
    const query: Query = [];
    if (after) query.push(["after", after]);
    if (limit) query.push(["limit", `${limit}`]);
    const answer = await this.#http.ask(`v1/channels/${encodeURIComponent(this.channel)}/presence`, query);
    return answer.json();
  }

  async #run(): Promise<void> {
    for (let wait = WAIT; !this.#over; ) {
      let after = 0;
      try {
        await this.#listen(() => {
          wait = WAIT;
        });
      } catch (error) {
        if (error instanceof TidingsError) {
          if (!error.retry) return this.#end(error);
          after = error.after;
        }
      }
      const pause = after || wait * (0.5 + Math.random() / 2);
      wait = Math.min(wait * 2, WAIT_MAX);
      await new Promise((resolve) => {
        setTimeout(resolve, pause);
        this.#stop.signal.addEventListener("abort", resolve);
      });
    }
  }

  async #listen(stands: () => void): Promise<void> {
    this.#stop = new AbortController();
    const { signal } = this.#stop;
    let silence: ReturnType<typeof setTimeout> | undefined;
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(() => this.#stop.abort(), SILENCE);
    };
    try {
      heard();
      const response = await this.#http.ask("stream", [["channel", this.channel], ["presence", "1"]], { signal });
      const reader = (response.body as ReadableStream<Uint8Array>).getReader();
      const decoder = new TextDecoder();
      for (let rest = ""; ; ) {
        const { done, value } = await reader.read();
        if (done || this.#over) return;
        heard();
        const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
        rest = lines.pop() as string;
        for (const line of lines) {
          if (!line.trim()) continue;
          const object = JSON.parse(line);
          if (object.close) throw told(object.close);
          if (object.presence) {
            stands();
            this.#take(object.presence);
            if (this.#over) return;
          }
        }
      }
    } finally {
      clearTimeout(silence);
      this.#stop.abort();
    }
  }

  #take({ here, joined = [], left = [], users, anonymous, connections, counts_only }: Notice<Info>): void {
    if (here) {
      const before = new Map(this.users);
      this.users.clear();
      for (const user of here) this.users.set(user.user, user);
      joined = here.filter(({ user, info }) => JSON.stringify(before.get(user)?.info) !== JSON.stringify(info) || !before.has(user));
      left = [...before.keys()].filter((user) => !this.users.has(user));
    } else {
      for (const user of joined) this.users.set(user.user, user);
      for (const user of left) this.users.delete(user);
      if (counts_only) this.users.clear();
    }
    this.counts = { users, anonymous, connections, ...(counts_only && { counts_only }) };
    this._emit("change", { ...this.counts, joined, left });
  }

  #end(error?: TidingsError): void {
    if (this.#over) return;
    this.#over = true;
    this.#stop.abort();
    this._emit("closed", error);
  }
}
