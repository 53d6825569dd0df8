// One stay on one front: from its beginning to its one end. After the end nothing it still hears counts.

import { isTold, TidingsError, type Told, told } from "./error.js";
import type { Http } from "./http.js";
import type { Subscription } from "./subscription.js";
import type { Cluster, Front } from "./types.js";

/** How a stay ended. */
export interface End {
  /**
   * `changed`: on purpose, go on at once. `silent`: nothing came for too long. `broken`: the front does not work.
   * `lost`: the connection was cut. `told`: the broker said come back. `refused`: what was asked for will never pass.
   * `over`: the broker said do not come back.
   */
  kind: "changed" | "silent" | "broken" | "lost" | "told" | "refused" | "over";
  /** What was said, or happened. */
  error: TidingsError;
}

/** That the broker ended a subscription. */
export interface Gone {
  channel: string;
  error: Told;
}

/** What every front can say besides messages. */
export interface Words {
  close?: Told;
  cluster?: Cluster;
  unsubscribed?: Gone;
}

const unreachable = (message: string): TidingsError => new TidingsError("unreachable", message, true);

/** What a stay needs to know. */
export interface Surroundings {
  http: Http;
  /** By channel; changes while the stay goes on. */
  subscriptions: ReadonlyMap<string, Subscription>;
  connectTimeout: number;
  silence: number;
  WebSocket: typeof WebSocket | undefined;
  /** The first word has come. */
  opened: (session: Session) => void;
  /** The broker told how the cluster is. */
  cluster: (cluster: Cluster) => void;
}

/** A stay. */
export class Session {
  /** Resolves at the end. */
  readonly ended: Promise<End>;
  /** When the first word came; 0 before that. */
  openedAt = 0;
  /** When the latest one came. */
  heardAt = 0;
  /** A message or a gap came. */
  brought = false;
  /** What the broker says to wait before a reconnect, in milliseconds. */
  retry = 0;
  /** What it does when the subscriptions change; without it, it ends and another one begins. */
  change: (() => void) | undefined;
  /** What it does to learn whether the connection still lives; without it, it ends and another one begins. */
  test: (() => void) | undefined;
  /** Asks over this connection. */
  request: ((question: object) => Promise<never>) | undefined;

  readonly #controller = new AbortController();
  #resolve!: (end: End) => void;
  #deadline = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    readonly front: Front,
    readonly around: Surroundings,
  ) {
    this.ended = new Promise((resolve) => (this.#resolve = resolve));
    this.expect(around.connectTimeout);
  }

  /** Aborted at the end. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get over(): boolean {
    return this.signal.aborted;
  }

  /** Lives until `stay` is over, or somebody ends it. */
  run(stay: (session: Session) => Promise<void>): Promise<End> {
    stay(this).then(
      () => this.end("lost"),
      (error: unknown) => {
        if (isTold(error)) this.end(error.retry ? "told" : "refused", error);
        else this.end(this.openedAt ? "lost" : "broken", error);
      },
    );
    return this.ended;
  }

  end(kind: End["kind"], error: unknown = "the connection ended"): void {
    if (this.over) return;
    clearTimeout(this.#timer);
    this.#controller.abort();
    this.#resolve({ kind, error: error instanceof TidingsError ? error : unreachable(String((error as Error).message ?? error)) });
  }

  /** What every front can say besides messages. */
  say({ close, cluster, unsubscribed }: Words): void {
    if (close) this.close(close);
    else if (cluster) this.around.cluster(cluster);
    else if (unsubscribed) this.around.subscriptions.get(unsubscribed.channel)?._close(told(unsubscribed.error));
  }

  /** The broker says why it ends. */
  close(said: Told): void {
    this.end(said.retry ? "told" : "over", told(said, said.retry_after_ms ?? this.retry));
  }

  /** The connection is dead if nothing is heard within this time. */
  expect(ms: number): void {
    this.#deadline = Date.now() + ms;
    clearTimeout(this.#timer);
    this.#watch(ms);
  }

  /** As `expect`, but no later than expected already. */
  within(ms: number): void {
    if (Date.now() + ms < this.#deadline) this.expect(ms);
  }

  #watch(ms: number): void {
    this.#timer = setTimeout(() => {
      const left = this.#deadline - Date.now();
      if (left > 0) this.#watch(left);
      else this.end("silent", `${this.front} is silent`);
    }, ms);
  }

  /** Something came. */
  heard(): void {
    this.heardAt = Date.now();
    // The timer looks at the deadline only when it fires: nothing is set anew for each message.
    this.#deadline = this.heardAt + this.around.silence;
    if (this.openedAt || this.over) return;
    this.openedAt = this.heardAt;
    this.around.opened(this);
  }
}
