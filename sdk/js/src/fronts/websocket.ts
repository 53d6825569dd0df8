// WebSocket: channels come and go on one connection (`tidings.v1.json`).

import { TidingsError, told } from "../error.js";
import type { Session } from "../session.js";
import type { Subscription } from "../subscription.js";

/** A channel as this connection knows it. */
interface Joined {
  subscription: Subscription;
  /** The broker has said that it listens. What came before that was meant for somebody earlier. */
  told: boolean;
}

// biome-ignore lint: what comes is checked where it is used.
type Frame = any;

/** A fresh token is asked for no more often than this, in milliseconds. */
const RENEW = 10_000;

export async function websocket(session: Session): Promise<void> {
  const { http, WebSocket, subscriptions, silence, connectTimeout } = session.around;
  if (!WebSocket) throw new Error("no WebSocket");
  const token = await http.token();
  if (session.over) return;
  const socket = new WebSocket(http.socket(), "tidings.v1.json");

  const joined = new Map<string, Joined>();
  const waiting = new Map<number, (frame: Frame) => void>();
  let last = 0;

  const send = (question: object, answered: (frame: Frame) => void): void => {
    waiting.set(++last, answered);
    socket.send(JSON.stringify({ id: last, ...question }));
  };

  let renewing: ReturnType<typeof setTimeout> | undefined;
  /** Shows a token, and in time before it expires a fresh one. */
  const show = (token: string): void =>
    send({ auth: { token } }, ({ authenticated, error }) => {
      if (error) return session.close(error);
      if (!authenticated.expires) return;
      const left = authenticated.expires * 1000 - Date.now();
      // A clock that is off must not make it ask all the time.
      renewing = setTimeout(renew, Math.min(Math.max(left * 0.8, RENEW), 2 ** 31 - 1));
    });
  const renew = async (): Promise<void> => {
    // Whoever cannot say it now may in a moment; if not, the broker ends the stay and the next one asks again.
    const fresh = await http.token().catch(() => undefined);
    if (socket.readyState !== 1) return;
    if (fresh) show(fresh);
    else renewing = setTimeout(renew, RENEW);
  };

  const sync = (): void => {
    if (socket.readyState !== 1) return;
    for (const [channel, { subscription }] of joined) {
      if (subscriptions.get(channel) === subscription) continue;
      joined.delete(channel);
      send({ unsubscribe: { channel } }, () => {});
    }
    for (const [channel, subscription] of subscriptions) {
      if (joined.has(channel)) continue;
      const mine: Joined = { subscription, told: false };
      joined.set(channel, mine);
      const since = subscription._since;
      const from = since === undefined ? { last: subscription._start.last } : { since };
      send({ subscribe: { channel, ...from } }, ({ subscribed, error }) => {
        // Somebody else may have come for this channel since; their answer is still to come.
        if (joined.get(channel) !== mine) return;
        if (!error) {
          mine.told = true;
          subscription.cursor ??= subscribed.cursor;
          subscription._live(subscribed);
        } else if (error.retry) {
          joined.delete(channel);
          setTimeout(sync, connectTimeout * (0.5 + Math.random()));
        } else {
          subscription._close(told(error));
        }
      });
    }
  };

  /** The one that this channel's messages are for. */
  const listener = (channel: string): Subscription | undefined => {
    const found = joined.get(channel);
    return found?.told ? found.subscription : undefined;
  };

  const take = (frame: Frame): void => {
    session.heard();
    const answered = waiting.get(frame.id);
    if (answered) {
      waiting.delete(frame.id);
      return answered(frame);
    }
    if (frame.message) {
      session.brought = true;
      listener(frame.message.channel)?._take(frame.message, frame.message.cursor);
    } else if (frame.gap) {
      session.brought = true;
      listener(frame.gap.channel)?._miss(frame.gap);
    } else if (frame.heartbeat?.cursor) {
      for (const [channel] of joined) {
        const found = listener(channel);
        if (found) found.cursor = frame.heartbeat.cursor;
      }
    } else {
      session.say(frame);
    }
  };

  const ping = (): void => {
    if (socket.readyState === 1) send({ ping: {} }, () => {});
  };
  // A page cannot see the broker's pings, so it asks by itself when it has heard nothing for long.
  const pulse = setInterval(() => {
    if (Date.now() - session.heardAt >= silence / 2) ping();
  }, silence / 4);

  session.signal.addEventListener("abort", () => {
    clearInterval(pulse);
    clearTimeout(renewing);
    socket.close();
    for (const answered of waiting.values()) answered({ error: { code: "unreachable", message: "the connection ended", retry: true } });
  });
  session.change = sync;
  session.test = () => {
    ping();
    session.within(connectTimeout);
  };
  session.request = (question) =>
    new Promise((resolve, reject) => {
      send(question, (frame) => (frame.error ? reject(told(frame.error)) : resolve(frame as never)));
    });

  await new Promise<void>((resolve, reject) => {
    // It counts as open at the first answer: some proxies let the handshake through and nothing else.
    socket.onopen = () => {
      if (token) show(token);
      sync();
      if (!last) ping();
    };
    socket.onmessage = ({ data }) => {
      if (session.over) return;
      try {
        take(JSON.parse(data));
      } catch (error) {
        reject(error);
      }
    };
    socket.onclose = ({ code, reason }) => {
      if (session.openedAt) resolve();
      else reject(new TidingsError("unreachable", `no WebSocket (${reason || code})`, true));
    };
  });
}
