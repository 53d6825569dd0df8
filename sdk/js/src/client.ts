// The client: keeps one stay after another going for as long as something is subscribed.

import { Emitter } from "./emitter.js";
import { isTold, TidingsError } from "./error.js";
import { ndjson, sse } from "./fronts/lines.js";
import { poll } from "./fronts/poll.js";
import { websocket } from "./fronts/websocket.js";
import { Http, type Query, random } from "./http.js";
import { Ladder } from "./ladder.js";
import { type End, Session, type Surroundings } from "./session.js";
import { Subscription, unpack } from "./subscription.js";
import { Together } from "./together.js";
import type { Cluster, Front, History, HistoryOptions, Options, Published, PublishOptions, State, SubscribeOptions } from "./types.js";

const FRONTS: Record<Front, (session: Session) => Promise<void>> = { websocket, sse, stream: ndjson, poll };
/** How long a publish is tried, in milliseconds; the broker recognises a repeat for longer. */
const PUBLISH = 20_000;

/** A client of one broker. */
export class Tidings extends Emitter<{ state: State; cluster: Cluster }> {
  #state: State = { name: "idle" };
  readonly #subscriptions = new Map<string, Subscription>();
  readonly #around: Surroundings;
  readonly #ladder: Ladder;
  #session: Session | undefined;
  #running = false;
  #changing = false;
  #upgrading: ReturnType<typeof setTimeout> | undefined;
  /** Ends a wait that only was a matter of patience. */
  #hurry: (() => void) | undefined;

  /** `url` is where the broker is; a page of the broker's own origin needs none. */
  constructor(url: string | URL = "/", options: Options = {}) {
    super();
    const { fronts = ["websocket", "sse", "stream", "poll"], connectTimeout = 8000, silence = 60_000, backoff = {}, upgradeAfter = 30_000 } = options;
    const socket = options.WebSocket ?? globalThis.WebSocket;
    const usable = fronts.filter((front) => FRONTS[front] && (socket || front !== "websocket"));
    if (!usable.length) throw new TypeError(`no front of ${fronts} can be used here`);
    this.#around = {
      http: new Http(url, options),
      subscriptions: this.#subscriptions,
      connectTimeout,
      silence,
      WebSocket: socket,
      opened: (session) => session === this.#session && this.#opened(session),
      cluster: (cluster) => this._emit("cluster", cluster),
    };
    const { min = 1000, max = 30_000 } = backoff;
    this.#ladder = new Ladder(usable, min, max, upgradeAfter);
  }

  /** How it is; the event `state` tells each change. */
  get state(): State {
    return this.#state;
  }

  /**
   * Listens to a channel. Give it its handlers at once: `subscribe("news").on("message", …)`; nothing comes before the
   * code that runs now is through. A channel can be subscribed once at a time.
   */
  subscribe<Data = unknown>(channel: string, options: SubscribeOptions = {}): Subscription<Data> {
    if (this.#state.name === "closed") throw new Error("this client is closed");
    if (this.#subscriptions.has(channel)) throw new Error(`"${channel}" is listened to already: use that subscription`);
    if (options.since && options.last) throw new TypeError("give `since` or `last`");
    const subscription = new Subscription<Data>(channel, options, () => {
      if (this.#subscriptions.get(channel) !== (subscription as Subscription)) return;
      this.#subscriptions.delete(channel);
      this.#change();
    });
    this.#subscriptions.set(channel, subscription as Subscription);
    this.#change();
    return subscription;
  }

  /**
   * Publishes a message: a string as text, bytes as bytes, anything else as JSON. What fails for the moment is tried again
   * for 20 seconds and stays one message. Throws a `TidingsError`.
   */
  async publish(channel: string, data: unknown, options: PublishOptions = {}): Promise<Published> {
    const id = options.id ?? random();
    const message = { channel, ...payload(data), ...options, id };
    const until = Date.now() + PUBLISH;
    for (let wait = 250; ; wait = Math.min(wait * 2, 4000)) {
      try {
        return await this.#ask<Published>({ publish: message }, "v1/publish", [], message);
      } catch (error) {
        const { retry, after } = error as TidingsError;
        const pause = Math.max(after, wait * (0.5 + Math.random()));
        if (!retry || Date.now() + pause > until || this.#state.name === "closed") throw error;
        await new Promise((resolve) => setTimeout(resolve, pause));
      }
    }
  }

  /** A page of what a channel keeps. Throws a `TidingsError`. */
  async history<Data = unknown>(channel: string, options: HistoryOptions = {}): Promise<History<Data>> {
    const query: Query = Object.entries(options).map(([name, value]) => [name, String(value)]);
    const path = `v1/channels/${encodeURIComponent(channel)}/messages`;
    const page = await this.#ask<History>({ history: { channel, ...options } }, path, query);
    return { ...page, messages: page.messages.map((message) => unpack<Data>(message)) };
  }

  /** Ends everything, for good. */
  close(): void {
    this.#close();
  }

  #close(error?: TidingsError): void {
    if (this.#state.name === "closed") return;
    this.#set({ name: "closed", reason: error?.message ?? "closed by the page" });
    for (const subscription of [...this.#subscriptions.values()]) subscription._close(error);
    this.#session?.end("changed");
    this.#hurry?.();
  }

  /** Over the WebSocket where there is one; over HTTP without it, when it breaks, and where a header must say who asks. */
  async #ask<Answer>(question: object, path: string, query: Query, body?: unknown): Promise<Answer> {
    const request = this.#state.name === "live" && this.#session?.request;
    if (request) {
      try {
        const answer: Record<string, Answer> = await request(question);
        return (answer.published ?? answer.history) as Answer;
      } catch (error) {
        if (isTold(error) && !/^(unauth|perm)/.test(error.code)) throw error;
      }
    }
    const more = body === undefined ? {} : { body };
    return (await this.#around.http.ask(path, query, more)).json();
  }

  #set(state: Omit<State, "front">): void {
    this.#state = { ...state, front: this.#ladder.front };
    this._emit("state", this.#state);
  }

  /** What is subscribed has changed; several changes in a row are one. */
  #change(): void {
    if (this.#changing) return;
    this.#changing = true;
    setTimeout(() => {
      this.#changing = false;
      const session = this.#session;
      const { size } = this.#subscriptions;
      if (!size) this.#hurry?.();
      if (!this.#running && size) this.#run();
      else if (session?.change && size) session.change();
      else session?.end("changed");
    }, 0);
  }

  async #run(): Promise<void> {
    this.#running = true;
    const unhook = this.#hook();
    while (this.#subscriptions.size) {
      this.#set({ name: "connecting" });
      const session = new Session(this.#ladder.front, this.#around);
      this.#session = session;
      const end = await session.run(FRONTS[session.front]);
      this.#session = undefined;
      clearTimeout(this.#upgrading);
      await this.#after(session, end);
    }
    unhook();
    this.#running = false;
    if (this.#state.name !== "closed") this.#set({ name: "idle" });
  }

  /** Draws the conclusions from a stay that ended. */
  async #after({ openedAt, heardAt, brought, retry }: Session, { kind: how, error }: End): Promise<void> {
    // Without a network no front is to blame.
    const kind = how !== "changed" && globalThis.navigator?.onLine === false ? "told" : how;
    if (kind === "over") return this.#close(error);
    if (kind === "refused") await this.#sift(error);
    const span = openedAt ? heardAt - openedAt : undefined;
    const wait = this.#ladder.next({ end: kind, after: error.after || (kind === "lost" ? retry : 0), span, brought });
    if (!wait || !this.#subscriptions.size) return;
    this.#set({ name: "waiting", reason: error.message, until: Date.now() + wait });
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, wait);
      const stop = (): void => {
        clearTimeout(timer);
        resolve();
      };
      // What the broker asked for is kept, also by those who are in a hurry.
      this.#hurry = () => {
        if (!error.after || !this.#subscriptions.size) stop();
      };
    });
    this.#hurry = undefined;
  }

  /** A request for all channels was refused: finds out which of them are to blame. */
  async #sift(error: TidingsError): Promise<void> {
    const all = [...this.#subscriptions.values()];
    let found = false;
    for (const subscription of all.length > 1 ? all : []) {
      const alone = new Session("poll", this.#around);
      const end = await alone.run(() => new Together(alone, [subscription]).poll(true).then(() => undefined));
      if (end.kind !== "refused") continue;
      found = true;
      subscription._close(end.error);
    }
    // Each is welcome, but not all of them together.
    if (!found) all.at(-1)?._close(error);
  }

  #opened(session: Session): void {
    this.#set({ name: "live" });
    const wait = this.#ladder.upgrade;
    if (wait === undefined) return;
    this.#upgrading = setTimeout(async () => {
      for (const rung of this.#ladder.fronts.slice(0, this.#ladder.rung).keys()) {
        const works = await this.#works(this.#ladder.fronts[rung] as Front);
        if (session !== this.#session) return;
        if (!works) continue;
        this.#ladder.tried(rung);
        return session.end("changed");
      }
      this.#ladder.tried(undefined);
      this.#opened(session);
    }, wait);
  }

  /** Whether a front gives a first word: asked live on a channel of ours, and thrown away. */
  async #works(front: Front): Promise<boolean> {
    const [first] = this.#subscriptions.values();
    if (!first) return false;
    const subscriptions = new Map(front === "websocket" ? [] : [[first.channel, new Subscription(first.channel, {}, () => {})]]);
    const attempt = new Session(front, {
      ...this.#around,
      subscriptions,
      opened: () => attempt.end("changed"),
    });
    return (await attempt.run(FRONTS[front])).kind === "changed";
  }

  /** Listens to what the machine says about its network and its screen. */
  #hook(): () => void {
    const online = (): void => {
      this.#ladder.anew();
      this.#look(true);
    };
    const offline = (): void => this.#session?.end("told", "this machine is offline");
    const shown = (): void => {
      if (globalThis.document?.visibilityState !== "hidden") this.#look(false);
    };
    const hooks: [Partial<EventTarget> | undefined, string, () => void][] = [
      [globalThis, "online", online],
      [globalThis, "offline", offline],
      [globalThis, "pageshow", shown],
      [globalThis.document, "visibilitychange", shown],
    ];
    for (const [target, name, handler] of hooks) target?.addEventListener?.(name, handler);
    return () => {
      for (const [target, name, handler] of hooks) target?.removeEventListener?.(name, handler);
    };
  }

  /** Something happened to the machine: what waits tries now, what is live is tested. */
  #look(moved: boolean): void {
    const session = this.#session;
    this.#hurry?.();
    if (!session?.openedAt) return;
    if (session.test) session.test();
    // A stream cannot be asked. After half the allowed silence a heartbeat is missing.
    else if (moved || Date.now() - session.heardAt > this.#around.silence / 2) session.end("changed");
  }
}

function payload(data: unknown): object {
  if (typeof data === "string") return { text: data };
  const bytes = data instanceof ArrayBuffer ? new Uint8Array(data) : data;
  if (!(bytes instanceof Uint8Array)) return { data };
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return { base64: btoa(text) };
}
