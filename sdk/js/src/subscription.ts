// One channel somebody listens to, and how far they have come.

import { Emitter } from "./emitter.js";
import type { TidingsError } from "./error.js";
import { Recent } from "./recent.js";
import type { Gap, Message, Subscribed, SubscribeOptions } from "./types.js";

/** A message as it comes over the wire. */
export type Raw = Message & { base64?: string };

/** The message as users see it. */
export function unpack<Data>({ base64, ...message }: Raw): Message<Data> {
  if (base64 !== undefined) message.data = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return message as Message<Data>;
}

/** What a subscription tells. */
export interface SubscriptionEvents<Data> {
  /** Each message once, in the channel's order. */
  message: Message<Data>;
  /** Messages that will not come. */
  gap: Gap;
  /** From now on nothing is missed; said once. */
  subscribed: Subscribed;
  /** It is over: by `close()` without an error, or because the broker refused it. */
  closed: TidingsError | undefined;
}

/** What `subscribe` gives. */
export class Subscription<Data = unknown> extends Emitter<SubscriptionEvents<Data>> {
  /** How far it has come: a later subscription `since` this goes on right there. Missing until it is known. */
  cursor: string | undefined;
  /** `pending` until the broker said that it listens. */
  state: "pending" | "live" | "closed" = "pending";
  /** @internal */
  readonly _start: SubscribeOptions;
  readonly #leave: () => void;
  readonly #recent = new Recent();
  #gap = "";

  /** @internal */
  constructor(
    /** The channel. */
    readonly channel: string,
    start: SubscribeOptions,
    leave: () => void,
  ) {
    super();
    this._start = start;
    this.#leave = leave;
    if (start.since && start.since !== "earliest" && start.since !== "live") this.cursor = start.since;
  }

  /** Listens no more; nothing comes after this. */
  close(): void {
    this._close();
  }

  /** @internal Where to go on, as `since=` says it; nothing where only `last=` can. */
  get _since(): string | undefined {
    return this.cursor ?? (this._start.last ? undefined : (this._start.since ?? "live"));
  }

  /** @internal */
  _close(error?: TidingsError): void {
    if (this.state === "closed") return;
    this.state = "closed";
    this.#leave();
    this._emit("closed", error);
  }

  /** @internal The broker listens for it. */
  _live(about: Subscribed): void {
    if (this.state !== "pending") return;
    this.state = "live";
    this._emit("subscribed", about);
  }

  /** @internal `cursor` is where to go on after it. */
  _take(message: Raw, cursor: string): void {
    if (this.state === "closed") return;
    this.cursor = cursor;
    this._live({ channel: this.channel });
    if (this.#recent.sees(message)) return;
    this.#gap = "";
    this._emit("message", unpack({ ...message, cursor }));
  }

  /** @internal A gap moves no cursor, so it is told again to whoever is cut off before the next message. */
  _miss(gap: Gap): void {
    const same = gap.reason + gap.oldest;
    if (this.state === "closed" || this.#gap === same) return;
    this.#gap = same;
    this._emit("gap", gap);
  }
}
