// A network that does what a test says, and a clock that it moves.

import { mock } from "node:test";
import { Tidings } from "../../build/index.js";

export function fakeClock() {
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"], now: 1_000_000 });
}

/** Lets everything happen that waits for no time. */
export async function settle() {
  for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
}

export async function pass(ms) {
  // What was done just now is to set its timers before the clock moves, or they come late by the first step.
  await settle();
  // In steps, since what happens in between may set timers of its own.
  for (let left = ms; left > 0; left -= 50) {
    mock.timers.tick(Math.min(50, left));
    await settle();
  }
}

/** A WebSocket whose other end is the test. */
export function fakeSockets() {
  const sockets = [];
  class FakeSocket {
    readyState = 0;
    sent = [];
    constructor(url, protocol) {
      Object.assign(this, { url: new URL(url), protocol });
      sockets.push(this);
    }
    send(text) {
      this.sent.push(JSON.parse(text));
    }
    close() {
      this.drop(1000);
    }
    open() {
      this.readyState = 1;
      this.onopen();
    }
    say(...frames) {
      for (const frame of frames) this.onmessage({ data: JSON.stringify(frame) });
    }
    drop(code = 1006, reason = "") {
      if (this.readyState === 3) return;
      this.readyState = 3;
      queueMicrotask(() => this.onclose?.({ code, reason }));
    }
    /** The newest frame with this verb. */
    asked(verb) {
      return this.sent.findLast((frame) => frame[verb]);
    }
  }
  return { sockets, FakeSocket };
}

/** A fetch whose answers come from the test. */
export function fakeFetch() {
  const calls = [];
  const fetch = (url, init) =>
    new Promise((resolve, reject) => {
      const aborted = () => reject(new DOMException("aborted", "AbortError"));
      if (init.signal?.aborted) return aborted();
      init.signal?.addEventListener("abort", aborted);
      const call = {
        url,
        init,
        path: url.pathname,
        query: (name) => url.searchParams.getAll(name),
        body: init.body && JSON.parse(init.body),
        fail: (message = "cut") => reject(new TypeError(message)),
        answer: (status, body, headers = {}) =>
          resolve(new Response(body === undefined ? null : typeof body === "string" ? body : JSON.stringify(body), { status, headers })),
        stream(type) {
          let to;
          const body = new ReadableStream({ start: (controller) => (to = controller) });
          init.signal?.addEventListener("abort", () => {
            try {
              to.error(new DOMException("aborted", "AbortError"));
            } catch {
              // It had ended before.
            }
          });
          resolve(new Response(body, { status: 200, headers: { "content-type": type } }));
          return {
            write: (text) => to.enqueue(typeof text === "string" ? new TextEncoder().encode(text) : text),
            cut: () => to.error(new TypeError("cut")),
            end: () => to.close(),
          };
        },
      };
      calls.push(call);
      return undefined;
    });
  return { calls, fetch };
}

/** A client of such a network, with everything its subscriptions heard. */
export function fakeClient(options = {}) {
  const { sockets, FakeSocket } = fakeSockets();
  const { calls, fetch } = fakeFetch();
  const tidings = new Tidings("http://broker/", { WebSocket: FakeSocket, fetch, ...options });
  const states = [];
  tidings.on("state", (state) => states.push(state));
  const listen = (channel, start) => {
    const heard = [];
    const subscription = tidings.subscribe(channel, start);
    subscription.on("message", (message) => heard.push(message.data));
    subscription.on("gap", (gap) => heard.push(`gap ${gap.reason}`));
    subscription.on("subscribed", () => heard.push("subscribed"));
    subscription.on("closed", (error) => heard.push(`closed ${error?.code ?? ""}`.trim()));
    return { subscription, heard };
  };
  return { tidings, sockets, calls, states, listen };
}

/** What a browser says about its machine: fire("online"), here.onLine. */
export function fakeMachine(t) {
  const machine = new EventTarget();
  const here = { onLine: true };
  for (const name of ["addEventListener", "removeEventListener"]) {
    globalThis[name] = machine[name].bind(machine);
    t.after(() => delete globalThis[name]);
  }
  const before = Object.getOwnPropertyDescriptor(globalThis, "navigator");
  Object.defineProperty(globalThis, "navigator", { value: here, configurable: true });
  t.after(() => (before ? Object.defineProperty(globalThis, "navigator", before) : delete globalThis.navigator));
  return { here, fire: (name) => machine.dispatchEvent(new Event(name)) };
}

let ids = 0;
export const message = (channel, data, cursor, more = {}) => ({ channel, offset: 1, cursor, id: `id-${++ids}`, data, time: Date.now(), ...more });
