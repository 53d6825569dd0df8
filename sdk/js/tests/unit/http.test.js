import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { fakeClient, fakeClock, fakeMachine, message, pass, settle } from "./fakes.js";

beforeEach(fakeClock);
afterEach(() => mock.timers.reset());

const TYPES = { sse: "text/event-stream", stream: "application/x-ndjson" };
const sse = (fields) => `${Object.entries(fields).map(([name, value]) => `${name}: ${value}\n`).join("")}\n`;
const line = (object) => `${JSON.stringify(object)}\n`;
/** The same things said by both streams. */
const say = {
  sse: {
    hello: () => sse({ retry: 2000 }),
    head: (cursor) => sse({ id: cursor }),
    message: (it) => sse({ id: it.cursor, ...(it.event ? { event: it.event } : {}), data: JSON.stringify(it) }),
    gap: (gap) => sse({ event: "tidings:gap", data: JSON.stringify(gap) }),
    close: ({ retry_after_ms, ...close }) => sse({ retry: retry_after_ms, event: "tidings:close", data: JSON.stringify(close) }),
  },
  stream: {
    hello: () => "",
    head: (cursor) => line({ heartbeat: { cursor } }),
    message: line,
    gap: (gap) => line({ gap }),
    close: (close) => line({ close }),
  },
};

for (const front of ["sse", "stream"]) {
  const speak = say[front];
  const begin = async (channels, starts = []) => {
    const client = fakeClient({ fronts: [front] });
    const listeners = channels.map((channel, n) => client.listen(channel, starts[n]));
    await pass(1);
    return { ...client, listeners };
  };

  test(`${front}: however the bytes are cut, whole messages come once and halves do not`, async () => {
    const bytes = new TextEncoder().encode(
      speak.hello() +
        speak.head("c0") +
        speak.message(message("a", "né\u2028\ud83d\ude00: x", "c1", { event: "e" })) +
        speak.gap({ channel: "a", reason: "window", oldest: "o" }) +
        speak.message(message("a", { deep: [1] }, "c2")),
    );
    const whole = ["subscribed", "né\u2028\ud83d\ude00: x", "gap window", { deep: [1] }];
    for (let at = 1; at < bytes.length; at += 3) {
      const { calls, tidings, listeners: [a] } = await begin(["a"]);
      const first = calls[0].stream(TYPES[front]);
      await settle();
      first.write(bytes.slice(0, at));
      await settle();
      first.write(bytes.slice(at));
      await settle();
      assert.deepEqual(a.heard, whole, `split at ${at}`);
      tidings.close();

      const cut = await begin(["a"]);
      const wire = cut.calls[0].stream(TYPES[front]);
      await settle();
      wire.write(bytes.slice(0, at));
      await settle();
      wire.cut();
      await pass(3100);
      const { heard, subscription } = cut.listeners[0];
      assert.deepEqual(heard, whole.slice(0, heard.length), `cut at ${at}`);
      const next = cut.calls.findLast((call) => call.path === `/${front}`);
      assert.deepEqual(next.query("since"), subscription.cursor ? [subscription.cursor] : [], `cut at ${at}`);
      const told = heard.filter((it) => it !== "subscribed" && it !== "gap window").length;
      assert.equal(subscription.cursor, [heard.length ? "c0" : undefined, "c1", "c2"][told]);
      cut.tidings.close();
    }
  });

  test(`${front}: a stream with one cursor moves all of its channels`, async () => {
    const { calls, listeners: [a, b], tidings } = await begin(["a", "b"]);
    assert.deepEqual(calls[0].query("channel"), ["a", "b"]);
    assert.deepEqual(calls[0].query("since"), []);
    const wire = calls[0].stream(TYPES[front]);
    await settle();
    wire.write(speak.hello() + speak.head("s0") + speak.message(message("a", "one", "s1")));
    await settle();
    assert.deepEqual([a.subscription.cursor, b.subscription.cursor], ["s1", "s1"]);
    assert.deepEqual([a.heard, b.heard], [["subscribed", "one"], ["subscribed"]]);
    wire.cut();
    await pass(3100);
    assert.deepEqual(calls[1].query("since"), ["s1"]);
    tidings.close();
  });

  test(`${front}: channels that stand apart are brought together by short polls before the stream`, async () => {
    const { calls, listeners: [a, b, c], tidings } = await begin(["a", "b", "c"], [{ since: "a5" }, {}, { last: 2 }]);
    const old = message("c", "c1", "c1");
    assert.equal(calls[0].path, "/poll");
    assert.deepEqual([calls[0].query("channel"), calls[0].query("last"), calls[0].query("wait")], [["c"], ["2"], ["0"]]);
    calls[0].answer(200, { messages: [old, message("c", "c2", "c2")], cursor: "c2" });
    await settle();
    assert.deepEqual([calls[1].query("channel"), calls[1].query("since"), calls[1].query("wait")], [["a", "b", "c"], ["a5", "live", "c2"], ["0"]]);
    calls[1].answer(200, { messages: [message("a", "a6", "a6")], cursor: "all", gaps: [{ channel: "b", reason: "unknown", oldest: "x" }] });
    await settle();
    assert.deepEqual([calls[2].path, calls[2].query("since")], [`/${front}`, ["all"]]);
    const wire = calls[2].stream(TYPES[front]);
    await settle();
    wire.write(speak.hello() + speak.message(message("b", "b1", "all1")));
    await settle();
    assert.deepEqual(a.heard, ["subscribed", "a6"]);
    assert.deepEqual(b.heard, ["gap unknown", "subscribed", "b1"]);
    assert.deepEqual(c.heard, ["subscribed", "c1", "c2"]);
    assert.deepEqual([a, b, c].map(({ subscription }) => subscription.cursor), ["all1", "all1", "all1"]);
    tidings.close();
  });

  test(`${front}: in a flood too large for polls, a message moves its own channel only until the head is told`, async () => {
    const { calls, listeners: [a, b], tidings } = await begin(["a", "b"], [{ since: "a0" }, { since: "b0" }]);
    for (let n = 0; n < 5; n++) {
      calls[n].answer(200, { messages: Array.from({ length: 60 }, (_, at) => message("a", at, `a${n}-${at}`)), cursor: `p${n}` });
      await settle();
    }
    assert.deepEqual([calls[5].path, calls[5].query("since")], [`/${front}`, ["a4-59", "b0"]]);
    const wire = calls[5].stream(TYPES[front]);
    await settle();
    wire.write(speak.hello() + speak.message(message("a", "x", "s1")));
    await settle();
    assert.deepEqual([a.subscription.cursor, b.subscription.cursor], ["s1", "b0"]);
    wire.write(speak.head("s2"));
    await settle();
    assert.deepEqual([a.subscription.cursor, b.subscription.cursor], ["s2", "s2"]);
    tidings.close();
  });

  test(`${front}: another channel is another request that goes on where the first one stood`, async () => {
    const { calls, tidings, listen, listeners: [a] } = await begin(["a"]);
    const wire = calls[0].stream(TYPES[front]);
    await settle();
    wire.write(speak.hello() + speak.head("s0") + speak.message(message("a", "one", "s1")));
    await settle();
    const b = listen("b");
    const c = listen("c");
    c.subscription.close();
    await pass(1);
    assert.ok(calls[0].init.signal.aborted);
    assert.deepEqual([calls[1].path, calls[1].query("since")], ["/poll", ["s1", "live"]]);
    calls[1].answer(200, { messages: [], cursor: "s2" });
    await settle();
    assert.deepEqual([calls[2].query("channel"), calls[2].query("since")], [["a", "b"], ["s2"]]);
    calls[2].stream(TYPES[front]).write(speak.hello() + speak.head("s2"));
    await settle();
    b.subscription.close();
    a.subscription.close();
    await pass(1);
    assert.ok(calls[2].init.signal.aborted);
    assert.equal(tidings.state.name, "idle");
  });

  test(`${front}: what the broker says at the end is done`, async () => {
    const { calls, tidings, listeners: [a] } = await begin(["a"]);
    const wire = calls[0].stream(TYPES[front]);
    await settle();
    wire.write(speak.hello() + speak.head("s0") + speak.close({ code: "draining", message: "leaving", retry: true, retry_after_ms: 9000 }));
    await pass(8900);
    assert.deepEqual([tidings.state.name, tidings.state.reason, calls.length], ["waiting", "leaving", 1]);
    await pass(200);
    assert.equal(calls.length, 2);
    const second = calls[1].stream(TYPES[front]);
    await settle();
    second.write(speak.close({ code: "finished", message: "all is said", retry: false, retry_after_ms: 0 }));
    await settle();
    assert.equal(tidings.state.name, "closed");
    assert.deepEqual(a.heard, ["subscribed", "closed finished"]);
  });

  test(`${front}: a stream without a heartbeat is dead`, async () => {
    const { calls, tidings } = await begin(["a"]);
    const wire = calls[0].stream(TYPES[front]);
    await settle();
    wire.write(speak.hello() + speak.head("s0"));
    await pass(59_000);
    wire.write(front === "sse" ? ":\n\n" : '{"heartbeat":{}}\n');
    await pass(59_000);
    assert.equal(tidings.state.name, "live");
    await pass(2500);
    assert.equal(calls.length, 2);
    assert.deepEqual(calls[1].query("since"), ["s0"]);
    tidings.close();
  });
}

test("sse: the broker's time to wait before a reconnect is kept after a cut", async () => {
  const { calls, listen } = fakeClient({ fronts: ["sse"] });
  listen("a");
  await pass(1);
  const wire = calls[0].stream(TYPES.sse);
  await settle();
  wire.write(sse({ retry: 4000 }) + sse({ id: "s0" }));
  await settle();
  wire.cut();
  await pass(3900);
  assert.equal(calls.length, 1);
  await pass(200);
  assert.equal(calls.length, 2);
});

test("a stream that is held back is noticed, and polls take its place", async () => {
  const { calls, listen, tidings, states } = fakeClient({ fronts: ["sse", "stream", "poll"] });
  const { heard } = listen("a");
  await pass(1);
  calls[0].stream(TYPES.sse);
  await pass(8100);
  assert.deepEqual(calls.map((call) => call.path), ["/sse", "/poll"]);
  calls[1].answer(200, { messages: [message("a", "one", "p1")], cursor: "p1" });
  await settle();
  assert.deepEqual(heard, ["subscribed", "one"]);
  assert.deepEqual([tidings.state.name, tidings.state.front], ["live", "poll"]);
  assert.ok(!states.some((state) => state.front === "stream"));
  tidings.close();
});

test("that short polls get through says nothing for the stream after them", async () => {
  const { calls, listen, tidings } = fakeClient({ fronts: ["sse", "poll"] });
  listen("a", { since: "a0" });
  listen("b", { since: "b0" });
  await pass(1);
  calls[0].answer(200, { messages: [], cursor: "p0" });
  await settle();
  assert.equal(calls[1].path, "/sse");
  assert.equal(tidings.state.name, "connecting");
  calls[1].stream(TYPES.sse);
  await pass(8100);
  assert.deepEqual([calls[2].path, tidings.state.front], ["/poll", "poll"]);
  tidings.close();
});

test("the time to wait that the broker gave is kept, also by a machine that comes online in it", async (t) => {
  const { fire } = fakeMachine(t);
  const { calls, listen, tidings } = fakeClient({ fronts: ["poll"] });
  listen("a");
  await pass(1);
  calls[0].answer(503, { error: { code: "overloaded", message: "too much to do", retry: true } }, { "retry-after": "20" });
  await pass(1000);
  fire("online");
  await pass(18_000);
  assert.equal(calls.length, 1);
  await pass(1500);
  assert.equal(calls.length, 2);
  calls[1].fail();
  await settle();
  fire("online");
  await settle();
  assert.equal(calls.length, 3, "a wait of our own is cut short");
  tidings.close();
});

test("a better front is tried after a while and taken when it works", async () => {
  const { calls, sockets, listen, tidings } = fakeClient({ fronts: ["websocket", "poll"] });
  listen("a");
  await pass(1);
  sockets[0].drop();
  await pass(1);
  calls[0].answer(200, { messages: [], cursor: "p0" });
  await pass(29_000);
  assert.equal(sockets.length, 1);
  await pass(1500);
  assert.equal(sockets.length, 2, "one try");
  sockets[1].drop();
  await pass(29_000);
  calls.at(-1).answer(204, undefined, { "tidings-cursor": "p0" });
  await pass(30_000);
  assert.equal(sockets.length, 2, "the next one comes later");
  await pass(2000);
  assert.equal(tidings.state.front, "poll");
  sockets[2].open();
  sockets[2].say({ id: 1, pong: {} });
  await pass(1);
  assert.ok(calls.at(-1).init.signal.aborted);
  sockets[3].open();
  assert.deepEqual(sockets[3].sent[0].subscribe, { channel: "a", since: "p0" });
  sockets[3].say({ id: 1, subscribed: { channel: "a", cursor: "p0" } });
  assert.deepEqual([tidings.state.name, tidings.state.front], ["live", "websocket"]);
  tidings.close();
});

test("a page that something on the way puts in between is no stream", async () => {
  const { calls, listen, tidings } = fakeClient({ fronts: ["sse", "poll"] });
  listen("a");
  await pass(1);
  calls[0].answer(200, "<h1>please log in</h1>", { "content-type": "text/html" });
  await settle();
  assert.equal(calls[1].path, "/poll");
  calls[1].answer(200, "<h1>please log in</h1>", { "content-type": "text/html" });
  await settle();
  assert.equal(tidings.state.name, "waiting");
  tidings.close();
});

test("when several channels are refused together, the one to blame is found and the others go on", async () => {
  const { calls, listen, tidings } = fakeClient({ fronts: ["stream"] });
  const [a, b] = [listen("a"), listen("b")];
  const refusal = { error: { code: "permission_denied", message: "not yours", retry: false } };
  await pass(1);
  calls[0].answer(403, refusal);
  await settle();
  calls[1].answer(200, { messages: [], cursor: "a0" });
  await settle();
  assert.deepEqual(calls[2].query("channel"), ["b"]);
  calls[2].answer(403, refusal);
  await settle();
  assert.deepEqual([calls[3].path, calls[3].query("channel"), calls[3].query("since")], ["/stream", ["a"], ["a0"]]);
  assert.deepEqual(a.heard, ["subscribed"]);
  assert.deepEqual(b.heard, ["closed permission_denied"]);
  tidings.close();
});

test("where each channel is welcome but not all of them, the newest has to go", async () => {
  const { calls, listen, tidings } = fakeClient({ fronts: ["stream"] });
  listen("a");
  const b = listen("b");
  await pass(1);
  calls[0].answer(400, { error: { code: "invalid_request", message: "at most one", retry: false } });
  await settle();
  for (const n of [1, 2]) {
    calls[n].answer(200, { messages: [], cursor: `p${n}` });
    await settle();
  }
  assert.deepEqual(b.heard, ["subscribed", "closed invalid_request"]);
  assert.deepEqual(calls[3].query("channel"), ["a"]);
  tidings.close();
});

test("polls follow one another, and empty ones that were not held do not turn into a storm", async () => {
  const { calls, listen, tidings } = fakeClient({ fronts: ["poll"] });
  const { heard } = listen("a");
  await pass(1);
  calls[0].answer(200, { messages: [], cursor: "p0" });
  await settle();
  assert.deepEqual([calls[0].query("wait"), calls[1].query("wait")], [["0"], []], "the first one is short, to see that it works");
  assert.deepEqual(calls[1].query("since"), ["p0"]);
  await pass(25_000);
  calls[1].answer(204, undefined, { "tidings-cursor": "p1" });
  await settle();
  assert.deepEqual(calls[2].query("since"), ["p1"]);
  calls[2].answer(200, { messages: [message("a", "one", "m1"), message("a", "two", "m2")], cursor: "p2" });
  await settle();
  assert.deepEqual(heard, ["subscribed", "one", "two"]);
  for (let n = 3; calls[n]; n++) {
    calls[n].answer(204, undefined, { "tidings-cursor": "p3" });
    await settle();
  }
  assert.ok(calls.length < 10, `${calls.length} polls`);
  assert.equal(tidings.state.name, "waiting");
  tidings.close();
});

test("an answer that was cut to nothing is no empty one", async () => {
  const { calls, listen, tidings } = fakeClient({ fronts: ["poll"] });
  const { subscription } = listen("a", { since: "a0" });
  await pass(1);
  calls[0].answer(200, "", { "tidings-cursor": "a9" });
  await pass(1000);
  assert.equal(subscription.cursor, "a0");
  assert.deepEqual(calls[1].query("since"), ["a0"]);
  tidings.close();
});

test("a poll of a node that leaves is followed when the node says", async () => {
  const { calls, listen, tidings } = fakeClient({ fronts: ["poll"] });
  listen("a", { since: "earliest" });
  await pass(1);
  calls[0].answer(204, undefined, { "tidings-cursor": "p1", "retry-after": "5" });
  await pass(4900);
  assert.equal(calls.length, 1);
  await pass(200);
  assert.deepEqual(calls[1].query("since"), ["p1"]);
  tidings.close();
});

test("a handler that closes its subscription in the middle of an answer hears no more, and the rest is not lost", async () => {
  const { calls, listen, tidings } = fakeClient({ fronts: ["poll"] });
  const a = listen("a", { since: "earliest" });
  a.subscription.on("message", () => a.subscription.close());
  await pass(1);
  calls[0].answer(200, { messages: [message("a", "one", "m1"), message("a", "two", "m2")], cursor: "m2" });
  await settle();
  assert.deepEqual(a.heard, ["subscribed", "one", "closed"]);
  const again = listen("a", { since: a.subscription.cursor });
  await pass(1);
  assert.deepEqual(calls.at(-1).query("since"), ["m1"]);
  assert.deepEqual(again.heard, []);
  tidings.close();
});

test("a machine that goes offline waits, and goes on the moment it is back", async (t) => {
  const { here, fire } = fakeMachine(t);
  const { calls, listen, tidings, states } = fakeClient({ fronts: ["sse", "poll"] });
  listen("a");
  await pass(1);
  calls[0].stream(TYPES.sse).write(sse({ retry: 1000 }) + sse({ id: "s0" }));
  await settle();
  here.onLine = false;
  fire("offline");
  await settle();
  assert.deepEqual([tidings.state.name, tidings.state.reason], ["waiting", "this machine is offline"]);
  for (let n = 0; n < 10; n++) {
    await pass(30_000);
    calls.at(-1).fail();
    await settle();
  }
  assert.ok(states.every((state) => state.front === "sse"), "no front is blamed");
  const tries = calls.length;
  here.onLine = true;
  fire("online");
  await settle();
  assert.equal(calls.length, tries + 1);
  calls.at(-1).stream(TYPES.sse).write(sse({ retry: 1000 }) + sse({ id: "s0" }));
  await settle();
  assert.deepEqual([tidings.state.name, tidings.state.front], ["live", "sse"]);
  tidings.close();
});

test("one name goes along with every request of a front, whichever it is, and with nothing else", async () => {
  const { calls, sockets, tidings, listen } = fakeClient({ fronts: ["websocket", "sse", "stream", "poll"], session: "anna" });
  listen("a");
  await pass(1);
  assert.equal(sockets[0].url.searchParams.get("session"), "anna");
  sockets[0].drop();
  await pass(40_000);
  assert.ok(calls.length > 0);
  for (const call of calls) assert.deepEqual(call.query("session"), ["anna"], call.path);
  tidings.history("a").catch(() => {});
  await settle();
  assert.deepEqual(calls.at(-1).query("session"), []);
  tidings.close();
  const { sockets: others, listen: again, tidings: other } = fakeClient();
  again("a");
  await pass(1);
  assert.match(others[0].url.searchParams.get("session"), /^[0-9a-f]{32}$/);
  assert.equal(others[0].url.searchParams.get("cluster"), null);
  other.close();
});

for (const front of ["websocket", "sse", "stream", "poll"]) {
  test(`${front}: who asks for it is told how the cluster is`, async () => {
    const { calls, sockets, tidings, listen } = fakeClient({ fronts: [front], cluster: true });
    const told = [];
    tidings.on("cluster", ({ condition }) => told.push(condition));
    const { heard } = listen("a");
    await pass(1);
    const asked = front === "websocket" ? sockets[0].url.searchParams.getAll("cluster") : calls[0].query("cluster");
    assert.deepEqual(asked, ["1"]);
    const cluster = { condition: "degraded" };
    if (front === "websocket") {
      sockets[0].open();
      sockets[0].say({ cluster });
    } else if (front === "poll") {
      calls[0].answer(200, { messages: [], cursor: "c", cluster });
    } else {
      calls[0].stream(TYPES[front]).write(front === "sse" ? sse({ event: "tidings:cluster", data: JSON.stringify(cluster) }) : line({ cluster }));
    }
    await settle();
    assert.deepEqual(told, ["degraded"]);
    assert.deepEqual(heard.filter((one) => one !== "subscribed"), [], "it is no message");
    tidings.close();
  });
}

test("what cannot be is refused at once", () => {
  const { tidings, listen } = fakeClient({ WebSocket: undefined });
  assert.throws(() => fakeClient({ fronts: [] }), /no front of  can be used/);
  listen("a");
  assert.throws(() => tidings.subscribe("a"), /"a" is listened to already/);
  assert.throws(() => tidings.subscribe("b", { since: "x", last: 1 }), /`since` or `last`/);
  tidings.close();
});
