// Requests to the broker.

import { check, TidingsError } from "./error.js";
import type { Options } from "./types.js";

/** Names and values of a query; names may repeat. */
export type Query = [name: string, value: string][];

/** 32 letters that nobody else draws. */
export const random = (): string =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => (byte + 256).toString(16).slice(1)).join("");

/** Where the broker is, and how it is asked. */
export class Http {
  readonly #base: URL;
  /** What every front is asked besides. */
  readonly more: Query;
  constructor(
    base: string | URL,
    private readonly options: Options,
  ) {
    this.#base = new URL(base, globalThis.location?.href);
    // What is below the path, not beside it.
    if (!this.#base.pathname.endsWith("/")) this.#base.pathname += "/";
    this.more = [["session", options.session ?? random()]];
    if (options.cluster) this.more.push(["cluster", "1"]);
  }

  /** An address below the broker's. */
  url(path: string, query: Query): URL {
    const url = new URL(path, this.#base);
    for (const [name, value] of query) url.searchParams.append(name, value);
    return url;
  }

  /** The address of the WebSocket. No token stands in it: addresses are written down on the way. */
  socket(): URL {
    const url = this.url("ws", this.more);
    url.protocol = url.protocol.replace("http", "ws");
    return url;
  }

  /** A token that counts now, if one is to be shown. */
  async token(): Promise<string | undefined> {
    return this.options.token?.();
  }

  /** The answer, when it is a good one; throws otherwise. */
  async ask(path: string, query: Query, more: { signal?: AbortSignal; body?: unknown } = {}): Promise<Response> {
    const { token, credentials, fetch = globalThis.fetch } = this.options;
    const headers: Record<string, string> = {};
    const bearer = await token?.();
    if (bearer) headers.authorization = `Bearer ${bearer}`;
    const init: RequestInit = { headers, cache: "no-store" };
    if (credentials) init.credentials = credentials;
    if (more.signal) init.signal = more.signal;
    if (more.body !== undefined) {
      init.method = "POST";
      init.body = JSON.stringify(more.body);
      headers["content-type"] = "application/json";
    }
    const response = await fetch(this.url(path, query), init).catch((error: Error) => {
      throw new TidingsError("unreachable", error.message, true);
    });
    return check(response);
  }
}
