import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { fakeClient, fakeClock, fakeMachine, message, pass, settle } from "./fakes.js";

beforeEach(fakeClock);
afterEach(() => mock.timers.reset());

/** A client that is live on the WebSocket with these channels. */
async function live(channels, options = {}) {
  const client = fakeClient({ fronts: ["websocket"], ...options });
  const listeners = channels.map((channel) => client.listen(channel));
  await pass(1);
  const [socket] = client.sockets;
  socket.open();
  for (const { id, auth } of socket.sent.filter((frame) => frame.auth)) socket.say({ id, authenticated: { expires: auth.token && options.expires } });
  for (const { id, subscribe } of socket.sent.filter((frame) => frame.subscribe)) socket.say({ id, subscribed: { channel: subscribe.channel, cursor: `${subscribe.channel}0` } });
  await settle();
  return { ...client, socket, listeners };
}

test("channels are subscribed on one socket and each gets its own messages", async () => {
  const { socket, sockets, listeners: [a, b], tidings } = await live(["a", "b"], { token: () => "secret" });
  assert.match(socket.url.href, /^ws:\/\/broker\/ws\?session=\w+$/, "no token in an address");
  assert.deepEqual(socket.sent.shift(), { id: 1, auth: { token: "secret" } });
  assert.equal(socket.protocol, "tidings.v1.json");
  assert.deepEqual(socket.sent.map((frame) => frame.subscribe), [{ channel: "a", since: "live" }, { channel: "b", since: "live" }]);
  socket.say({ message: message("a", "one", "a1") }, { message: message("b", "two", "b1") }, { gap: { channel: "a", reason: "window", oldest: "x" } });
  assert.deepEqual(a.heard, ["subscribed", "one", "gap window"]);
  assert.deepEqual(b.heard, ["subscribed", "two"]);
  assert.equal(a.subscription.cursor, "a1");
  assert.deepEqual([tidings.state.name, tidings.state.front, sockets.length], ["live", "websocket", 1]);
  tidings.close();
  await settle();
  assert.deepEqual(a.heard.at(-1), "closed");
  assert.equal(socket.readyState, 3);
});

test("a fresh token is shown in time, on the same socket", async () => {
  let count = 0;
  const { socket, sockets, listeners: [a, b] } = await live(["a", "b"], { token: () => `t${++count}`, expires: Date.now() / 1000 + 20 });
  await pass(15_000);
  assert.equal(socket.sent.filter((frame) => frame.auth).length, 1);
  await pass(2000);
  const fresh = socket.sent.at(-1);
  assert.deepEqual(fresh.auth, { token: "t2" });
  socket.say({ id: fresh.id, authenticated: {} }, { unsubscribed: { channel: "b", error: { code: "permission_denied", message: "no", retry: false } } });
  socket.say({ message: message("a", "one", "a1") }, { message: message("b", "two", "b1") });
  assert.deepEqual([a.heard.at(-1), b.heard.at(-1), sockets.length], ["one", "closed permission_denied", 1]);
});

test("a token that expired is fetched anew, and one that is refused is the end", async () => {
  let count = 0;
  const { socket, sockets, tidings } = await live(["a"], { token: () => `t${++count}` });
  socket.say({ close: { code: "token_expired", message: "late", retry: true, retry_after_ms: 500 } });
  await pass(1500);
  sockets[1].open();
  const [shown] = sockets[1].sent;
  assert.deepEqual(shown, { id: 1, auth: { token: "t2" } });
  sockets[1].say({ id: 1, error: { code: "unauthenticated", message: "forged", retry: false } });
  await settle();
  assert.deepEqual([tidings.state.name, tidings.state.reason], ["closed", "forged"]);
});

test("the next socket goes on where each channel stood", async () => {
  const { socket, sockets, listen } = await live(["a", "b"]);
  listen("c", { last: 3 });
  listen("d", { since: "earliest" });
  socket.say({ message: message("a", "one", "a1") }, { heartbeat: { cursor: "head" } }, { message: message("b", "two", "b2") });
  socket.drop();
  await pass(1000);
  sockets[1].open();
  assert.deepEqual(sockets[1].sent.map((frame) => frame.subscribe), [
    { channel: "a", since: "head" },
    { channel: "b", since: "b2" },
    { channel: "c", last: 3 },
    { channel: "d", since: "earliest" },
  ]);
});

test("a heartbeat says nothing of a channel that the broker has not confirmed", async () => {
  const { socket, listen } = await live(["a"]);
  const { subscription } = listen("b");
  await pass(1);
  socket.say({ heartbeat: { cursor: "head" } });
  assert.equal(subscription.cursor, undefined);
});

test("messages meant for an earlier subscription never reach a later one of the same channel", async () => {
  const { socket, tidings, listeners: [first], listen } = await live(["a"]);
  first.subscription.close();
  const second = listen("a", { since: "a7" });
  await pass(1);
  second.subscription.close();
  const third = listen("a");
  await pass(1);
  const asked = socket.sent.slice(1);
  assert.deepEqual(asked.map((frame) => Object.keys(frame)[1]), ["unsubscribe", "subscribe", "unsubscribe", "subscribe"]);
  const [leave1, join2, leave2, join3] = asked;
  const late = (n) => ({ message: message("a", `late ${n}`, `late${n}`) });
  socket.say(late(1), { id: leave1.id, unsubscribed: { channel: "a" } });
  socket.say({ id: join2.id, subscribed: { channel: "a", cursor: "a7" } }, late(2), { id: leave2.id, unsubscribed: { channel: "a" } }, late(3));
  assert.equal(third.subscription.cursor, undefined);
  socket.say({ id: join3.id, subscribed: { channel: "a", cursor: "a9" } }, { message: message("a", "mine", "a10") });
  assert.deepEqual(first.heard, ["subscribed", "closed"]);
  assert.deepEqual(second.heard, ["closed"]);
  assert.deepEqual(third.heard, ["subscribed", "mine"]);
  tidings.close();
});

test("closing and subscribing in one go is one leave and one join", async () => {
  const { socket, listeners: [first], listen } = await live(["a"]);
  first.subscription.close();
  listen("a").subscription.close();
  listen("a", { since: "earliest" });
  await pass(1);
  assert.deepEqual(socket.sent.slice(1).map(({ id, ...frame }) => frame), [
    { unsubscribe: { channel: "a" } },
    { subscribe: { channel: "a", since: "earliest" } },
  ]);
});

test("a message that comes twice is told once, and an id that comes back much later is another message", async () => {
  const { socket, listeners: [a] } = await live(["a"]);
  const one = message("a", "one", "a1");
  const later = { ...one, data: "later", cursor: "a3", time: one.time + 120_001 };
  const repeat = { ...one, data: "a repeat elsewhere", cursor: "a2", time: one.time + 20_000 };
  socket.say({ message: one }, { message: one }, { message: repeat }, { message: later });
  assert.deepEqual(a.heard, ["subscribed", "one", "later"]);
  assert.equal(a.subscription.cursor, "a3");
});

test("the same gap told again after a cut is told once", async () => {
  const { socket, sockets, listeners: [a] } = await live(["a"]);
  const gap = { gap: { channel: "a", reason: "restart", oldest: "x" } };
  socket.say(gap);
  socket.drop();
  await pass(1000);
  sockets[1].open();
  sockets[1].say({ id: sockets[1].sent[0].id, subscribed: { channel: "a", cursor: "a0" } }, gap, { message: message("a", "one", "a1") }, gap);
  assert.deepEqual(a.heard, ["subscribed", "gap restart", "one", "gap restart"]);
});

test("a socket that was cut is opened again within the shortest wait, however long a one is drawn", async (t) => {
  t.mock.method(Math, "random", () => 1 - Number.EPSILON);
  const { socket, sockets } = await live(["a"]);
  socket.say({ message: message("a", "one", "a1") });
  socket.drop();
  await pass(1000);
  assert.equal(sockets.length, 2);
});

test("bytes come as bytes", async () => {
  const { socket, listeners: [a] } = await live(["a"]);
  socket.say({ message: { ...message("a", undefined, "a1"), base64: "/wA=" } });
  assert.deepEqual(a.heard[1], new Uint8Array([255, 0]));
});

test("a refused channel is told why and hurts no other; one refused for now is asked for again", async () => {
  const { socket, sockets, listeners: [a], listen } = await live(["a"]);
  const b = listen("b");
  const c = listen("c");
  await pass(1);
  const [, forB, forC] = socket.sent;
  socket.say({ id: forB.id, error: { code: "permission_denied", message: "not yours", retry: false } });
  socket.say({ id: forC.id, error: { code: "overloaded", message: "later", retry: true } });
  assert.deepEqual(b.heard, ["closed permission_denied"]);
  await pass(12_000);
  assert.deepEqual(socket.asked("subscribe").subscribe, { channel: "c", since: "live" });
  socket.say({ id: socket.asked("subscribe").id, subscribed: { channel: "c", cursor: "c0" } }, { message: message("a", "one", "a1") });
  assert.deepEqual(c.heard, ["subscribed"]);
  assert.deepEqual(a.heard, ["subscribed", "one"]);
  assert.equal(sockets.length, 1);
});

test("a quiet socket is asked, and left when it does not answer", async () => {
  const { socket, sockets } = await live(["a"]);
  await pass(30_000);
  socket.say({ id: socket.asked("ping").id, pong: {} });
  await pass(30_000);
  socket.say({ id: socket.asked("ping").id, pong: {} });
  assert.equal(socket.readyState, 1);
  await pass(62_000);
  assert.equal(socket.readyState, 3);
  await pass(1000);
  assert.equal(sockets.length, 2);
});

test("a page that is shown asks its socket, and being shown again and again does not put the end off", async (t) => {
  const { fire } = fakeMachine(t);
  const { socket } = await live(["a"]);
  fire("pageshow");
  assert.ok(socket.asked("ping"));
  for (let n = 0; n < 8; n++) {
    await pass(1000);
    fire("pageshow");
  }
  await pass(100);
  assert.equal(socket.readyState, 3);
});

test("a handshake without a first answer is no connection", async () => {
  const client = fakeClient({ fronts: ["websocket", "poll"] });
  client.listen("a");
  await pass(1);
  client.sockets[0].open();
  await pass(8000);
  assert.equal(client.tidings.state.front, "poll");
  assert.equal(client.calls[0].path, "/poll");
});

test("whoever is told when to come back comes back then, and not before", async () => {
  const { socket, sockets, tidings } = await live(["a"]);
  socket.say({ close: { code: "draining", message: "this node is leaving", retry: true, retry_after_ms: 7000 } });
  socket.drop(1001);
  await pass(6900);
  assert.deepEqual([tidings.state.name, tidings.state.reason, sockets.length], ["waiting", "this node is leaving", 1]);
  await pass(200);
  assert.equal(sockets.length, 2);
});

test("whoever is told not to come back is closed", async () => {
  const { socket, sockets, tidings, listeners: [a] } = await live(["a"]);
  socket.say({ close: { code: "permission_denied", message: "go away", retry: false } });
  await pass(60_000);
  assert.deepEqual([tidings.state.name, tidings.state.reason, sockets.length], ["closed", "go away", 1]);
  assert.deepEqual(a.heard, ["subscribed", "closed permission_denied"]);
  assert.throws(() => tidings.subscribe("b"), /closed/);
});

test("a publish goes over the socket, and once more under the same id when the socket is cut", async () => {
  const { socket, sockets, calls, tidings } = await live(["a"]);
  const outcome = tidings.publish("a", { n: 1 }, { event: "e" });
  await settle();
  const { publish } = socket.asked("publish");
  assert.deepEqual([publish.channel, publish.data, publish.event], ["a", { n: 1 }, "e"]);
  assert.match(publish.id, /^[0-9a-f]{32}$/);
  socket.drop();
  await settle();
  assert.equal(calls[0].path, "/v1/publish");
  assert.deepEqual(calls[0].body, publish);
  calls[0].answer(503, { error: { code: "draining", message: "leaving", retry: true } }, { "retry-after": "2" });
  await pass(1900);
  assert.equal(calls.length, 1);
  sockets[1].open();
  sockets[1].say({ id: 1, subscribed: { channel: "a", cursor: "a0" } });
  await pass(200);
  const again = sockets[1].asked("publish");
  assert.deepEqual(again.publish, publish);
  sockets[1].say({ id: again.id, published: { channel: "a", offset: 1, cursor: "a1", id: publish.id, copies: 1, duplicate: true } });
  assert.equal((await outcome).duplicate, true);
});

test("a publish that is refused fails with words; one that only lacks a header goes by HTTP", async () => {
  const { socket, calls, tidings } = await live(["a"], { token: async () => "key" });
  const refused = tidings.publish("a", "x").catch((error) => error);
  await settle();
  socket.say({ id: socket.asked("publish").id, error: { code: "too_large", message: "65 KiB", retry: false } });
  const { name, code, message: words } = await refused;
  assert.deepEqual([name, code, words], ["TidingsError", "too_large", "65 KiB"]);

  const history = tidings.history("a", { limit: 1 });
  await settle();
  socket.say({ id: socket.asked("history").id, error: { code: "unauthenticated", message: "a key is needed", retry: false } });
  await settle();
  assert.equal(calls[0].url.href, "http://broker/v1/channels/a/messages?limit=1");
  assert.equal(calls[0].init.headers.authorization, "Bearer key");
  calls[0].answer(200, { messages: [{ channel: "a", base64: "AQ==" }], cursor: "a1" });
  assert.deepEqual((await history).messages[0].data, new Uint8Array([1]));
});

test("what a publisher gives is text, bytes or JSON", async () => {
  const { socket, tidings } = await live(["a"]);
  for (const data of ["text", new Uint8Array([255]), new Uint8Array([254]).buffer, null, 7]) tidings.publish("a", data, { id: "x" }).catch(() => {});
  await settle();
  const bodies = socket.sent.slice(1).map(({ publish: { channel, id, ...body } }) => body);
  assert.deepEqual(bodies, [{ text: "text" }, { base64: "/w==" }, { base64: "/g==" }, { data: null }, { data: 7 }]);
  tidings.close();
});

test("one handler's mistake costs no other handler a message", async (t) => {
  const { socket, listeners: [a] } = await live(["a"]);
  const surfaced = [];
  t.mock.method(globalThis, "queueMicrotask", (task) => {
    try {
      task();
    } catch (error) {
      surfaced.push(error.message);
    }
  });
  const after = [];
  a.subscription.on("message", () => {
    throw new Error("oops");
  });
  a.subscription.on("message", (said) => after.push(said.data));
  socket.say({ message: message("a", "one", "a1") });
  assert.deepEqual(after, ["one"]);
  assert.deepEqual(surfaced, ["oops"]);
});
