// What users of the client see: messages, gaps, states, options.

/** A way by which messages come. */
export type Front = "websocket" | "sse" | "stream" | "poll";

/** A message of a channel. Members that are not listed may come, too. */
export interface Message<Data = unknown> {
  /** Where it was published. */
  channel: string;
  /** 1, 2, 3 … within the channel, for people; it begins again when the broker forgot the channel. */
  offset: number;
  /** Whoever subscribes `since` this gets what comes after the message. */
  cursor: string;
  /** The publisher's own id, or the broker's. */
  id: string;
  /** The event name, if it has one. */
  event?: string;
  /** JSON as what it says, other text as a string, bytes that are no text as a `Uint8Array`. */
  data: Data;
  /** As the publisher gave it. */
  content_type?: string;
  /** The publisher's own names and values. */
  headers?: Record<string, string>;
  /** When the broker accepted it, milliseconds since 1970; for people. */
  time: number;
}

/**
 * Messages that will not come. What is still kept follows. With the reason `conflated` nothing is wrong: the channel gives who is behind
 * its newest message only, and that follows.
 */
export interface Gap {
  /** The channel. */
  channel: string;
  /** Why; new reasons may be added. */
  reason: "window" | "unknown" | "cleared" | "restart" | "failover" | "conflated" | (string & {});
  /** Reading `since` this begins with the oldest message that is still kept. */
  oldest: string;
}

/** A channel is listened to from now on. Over HTTP only the channel is known. */
export interface Subscribed {
  /** The channel. */
  channel: string;
  /** Where it begins. */
  cursor?: string;
  /** The channel's offset there. */
  offset?: number;
  /** Whether it goes on exactly where the cursor given stood. */
  recovered?: boolean;
}

/** How the cluster is, as the node sees it that the client is connected to. */
export interface Cluster {
  /** `degraded`: a part of the cluster may go on without that node, and what is published there comes late. */
  condition: "whole" | "degraded" | (string & {});
}

/** How the client is. */
export interface State {
  /**
   * `idle`: nothing is subscribed. `connecting`: a front is tried. `live`: messages come. `waiting`: until the next try.
   * `closed`: for good, by `close()` or because the broker said so.
   */
  name: "idle" | "connecting" | "live" | "waiting" | "closed";
  /** The front in use, or tried last. */
  front?: Front;
  /** Why it is waiting or closed, in words. */
  reason?: string;
  /** When `waiting` ends, in milliseconds since 1970. */
  until?: number;
}

/** Where a subscription begins; without both, with what is published from now on. */
export interface SubscribeOptions {
  /** A cursor: what comes after it. `"earliest"`: everything kept. `"live"`: from now on. */
  since?: string;
  /** The newest so many messages, then live. Not together with `since`. */
  last?: number;
}

/** Beside the payload. */
export interface PublishOptions {
  /** The event name. */
  event?: string;
  /** Makes a repeat within two minutes the same message; made up when it is missing. */
  id?: string;
  /** Instead of the one that fits the payload. */
  content_type?: string;
  /** Names and values that go with it. */
  headers?: Record<string, string>;
  /** How long it is kept at most: seconds, or a text such as `"30s"`. */
  ttl?: number | string;
}

/** Where a message went. */
export interface Published {
  channel: string;
  offset: number;
  cursor: string;
  id: string;
  copies: number;
  /** It had been published before, with the same id. */
  duplicate: boolean;
}

/** Which page of what a channel keeps. */
export interface HistoryOptions {
  /** What comes after this cursor; without it from the oldest, or with `order: "desc"` from the newest. */
  since?: string;
  /** At most so many, 1 to 1000; else 100. */
  limit?: number;
  /** `asc`: oldest first, and what is given without this. */
  order?: "asc" | "desc";
}

/** A page of what a channel keeps. */
export interface History<Data = unknown> {
  messages: Message<Data>[];
  /** Where the next page, or a subscription, goes on. */
  cursor: string;
  /** Messages are missing before the first one. */
  gap?: Gap;
}

/** How the client does it. */
export interface Options {
  /** Fronts to use, the best one first: `["websocket", "sse", "stream", "poll"]`. */
  fronts?: Front[];
  /** Asked before each connection and request, and before the one in use expires; sent as `Authorization: Bearer`, by WebSocket as its first message. */
  token?: () => string | undefined | Promise<string | undefined>;
  /** How long a front may take until its first word, in milliseconds: 8,000. */
  connectTimeout?: number;
  /** Silence after which a connection counts as dead, in milliseconds: 60,000. More than two of the broker's heartbeats. */
  silence?: number;
  /** Shortest and longest wait before a reconnect, in milliseconds: 1,000 and 30,000. Each wait is drawn at random. */
  backoff?: { min?: number; max?: number };
  /** On a worse front: time until a better one is tried, in milliseconds: 30,000. Doubled each time it fails. */
  upgradeAfter?: number;
  /** Whether to be told, by the event `cluster`, how the cluster is: after each connect, and when it changed. */
  cluster?: boolean;
  /** Its name in the brokers' logs, 1 to 32 letters, digits, `-` or `_`; made up when it is missing. */
  session?: string;
  /** For pages of other origins: whether cookies go along. */
  credentials?: RequestCredentials;
  /** Instead of the global `fetch`. */
  fetch?: typeof fetch;
  /** Instead of the global `WebSocket`. */
  WebSocket?: typeof WebSocket;
}
