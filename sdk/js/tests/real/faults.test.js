import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { clientPage, FRONTS, hears, liveOn, QUICK, SETTINGS, startBroker, startBrowser } from "./page.js";
import { bufferingProxy, chance, roughWire, seed } from "./rough.js";

let broker;
let browser;

before(async () => {
  broker = await startBroker(...SETTINGS);
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  await broker?.stop();
});

const begin = (page, name, url, options, channels, start) =>
  page.evaluate((given) => listen(...given), [name, url, { ...QUICK, ...options }, channels, start]);
const heard = (page, name, channel) => page.evaluate(([name, channel]) => clients[name].heard[channel], [name, channel]);
const upTo = (many) => Array.from({ length: many }, (_, n) => n + 1);

test("each front alone brings what is kept and what comes, bytes and all", async () => {
  const { page, context } = await clientPage(browser);
  await broker.publish("plain:{x}:a", "before");
  for (const front of FRONTS) await begin(page, front, broker.url, { fronts: [front] }, ["plain:{x}:a", "plain:b"], { since: "earliest" });
  for (const front of FRONTS) assert.equal(await liveOn(page, front), front);
  await broker.publish("plain:b", { deep: ["né\u2028"] }, { event: "e", headers: { trace: "t" } });
  await broker.publish("plain:{x}:a", undefined, { base64: "/wAB" });
  for (const front of FRONTS) {
    await hears(page, front, "plain:{x}:a", 2);
    await hears(page, front, "plain:b", 1);
    const got = await page.evaluate((front) => {
      const { heard } = clients[front];
      return { text: heard["plain:{x}:a"][0], bytes: [...heard["plain:{x}:a"][1]], json: heard["plain:b"][0] };
    }, front);
    assert.deepEqual(got, { text: "before", bytes: [255, 0, 1], json: { deep: ["né\u2028"] } }, front);
  }
  await context.close();
});

test("a page publishes and asks for history on every front, and hears itself", async () => {
  const { page, context } = await clientPage(browser);
  for (const front of FRONTS) {
    const channel = `said:${front}`;
    await begin(page, front, broker.url, { fronts: [front] }, [channel], {});
    await liveOn(page, front);
    const results = await page.evaluate(
      async ([front, channel]) => {
        const { tidings } = clients[front];
        const first = await tidings.publish(channel, { n: 1 }, { id: "mine" });
        const again = await tidings.publish(channel, { n: 1 }, { id: "mine" });
        await tidings.publish(channel, new Uint8Array([255]));
        const page = await tidings.history(channel, { limit: 10 });
        const refused = await tidings.publish("", 1).catch((error) => `${error.name} ${error.code}`);
        return [first.offset, again.duplicate, page.messages.map((message) => (message.data instanceof Uint8Array ? [...message.data] : message.data)), refused];
      },
      [front, channel],
    );
    assert.deepEqual(results, [1, true, [{ n: 1 }, [255]], "TidingsError invalid_request"], front);
    await hears(page, front, channel, 2);
  }
  await context.close();
});

test("where answers are held back and WebSockets are blocked, polls take over; when the way is free, better fronts do", async () => {
  const proxy = await bufferingProxy(broker.url);
  const { page, context } = await clientPage(browser);
  await begin(page, "held", proxy.url, { upgradeAfter: 1000 }, ["held"], {});
  assert.equal(await liveOn(page, "held"), "poll");
  for (const n of upTo(5)) await broker.publish("held", n);
  await hears(page, "held", "held", 5);
  assert.ok(proxy.paths.includes("/ws") && proxy.paths.includes("/sse"), "the better ones were tried");
  proxy.holds = false;
  assert.equal(await liveOn(page, "held", ["sse"]), "sse");
  proxy.upgrades = true;
  assert.equal(await liveOn(page, "held", ["websocket"]), "websocket");
  await broker.publish("held", 6);
  await hears(page, "held", "held", 6);
  assert.deepEqual(await heard(page, "held", "held"), upTo(6));
  await context.close();
  await proxy.stop();
});

test("a browser that is offline waits and says so, and misses nothing", async () => {
  const { page, context } = await clientPage(browser);
  for (const front of FRONTS) {
    await begin(page, front, broker.url, { fronts: [front], backoff: { min: 20, max: 60_000 } }, ["off"], {});
    await liveOn(page, front);
  }
  await broker.publish("off", 1);
  for (const front of FRONTS) await hears(page, front, "off", 1);
  for (let round = 0; round < 5; round++) {
    await context.setOffline(true);
    for (const front of FRONTS) await page.waitForFunction((front) => clients[front].tidings.state.name !== "live", front);
    await broker.publish("off", 2 + round);
    await context.setOffline(false);
    for (const front of FRONTS) await hears(page, front, "off", 2 + round);
  }
  for (const front of FRONTS) assert.deepEqual(await heard(page, front, "off"), upTo(6), front);
  assert.ok(await page.evaluate(() => Object.values(clients).every((client) => client.states.some((state) => /offline/.test(state.reason)))));
  await context.close();
});

test("when the broker is another one, what it lost is declared as a restart and as nothing else", async () => {
  const random = chance(seed("restart"));
  let own = await startBroker(...SETTINGS);
  const wire = await roughWire(own.url, { random, least: 2000, most: 20_000 });
  const { page, context } = await clientPage(browser);
  for (const front of FRONTS) await begin(page, front, wire.url, { fronts: [front] }, ["again:{x}:a", "again:{x}:b", "again:c"], {});
  for (const front of FRONTS) await liveOn(page, front);
  const channels = ["again:{x}:a", "again:{x}:b", "again:c"];
  for (let life = 1; life <= 3; life++) {
    for (const n of upTo(10)) for (const channel of channels) await own.publish(channel, `${life}-${n}`);
    for (const front of FRONTS) for (const channel of channels) await page.waitForFunction(([front, channel, last]) => clients[front].heard[channel].includes(last), [front, channel, `${life}-10`]);
    if (life === 3) break;
    const next = await startBroker(...SETTINGS);
    wire.to = next.url;
    wire.drop();
    await own.stop();
    own = next;
  }
  for (const front of FRONTS) {
    for (const channel of channels) {
      const all = await heard(page, front, channel);
      assert.deepEqual(all.filter((it) => !it.startsWith("gap")), [1, 2, 3].flatMap((life) => upTo(10).map((n) => `${life}-${n}`)), `${front} on ${channel}`);
      // Each new life may have to be declared; nothing else may.
      const gaps = all.filter((it) => it.startsWith("gap"));
      assert.ok(gaps.length <= 2 && gaps.every((gap) => gap === "gap restart"), `${front} on ${channel}: ${gaps}`);
    }
  }
  await context.close();
  await wire.stop();
  await own.stop();
});

test("a node that leaves is left, and its clients go on elsewhere when it says", async () => {
  const own = await startBroker(...SETTINGS);
  const wire = await roughWire(own.url, { random: () => 0.5, least: 1e9, most: 2e9 });
  const { page, context } = await clientPage(browser);
  for (const front of FRONTS) await begin(page, front, wire.url, { fronts: [front] }, ["leave"], {});
  for (const front of FRONTS) await liveOn(page, front);
  wire.to = broker.url;
  await own.stop();
  for (const front of FRONTS) assert.equal(await liveOn(page, front), front);
  const reasons = await page.evaluate(() => Object.fromEntries(Object.entries(clients).map(([name, { states }]) => [name, states.filter((state) => state.name === "waiting").map((state) => state.reason)])));
  for (const front of FRONTS) assert.match(reasons[front].join(), /leaving/, `${front}: ${reasons[front]}`);
  await broker.publish("leave", "here");
  for (const front of FRONTS) await hears(page, front, "leave", 1);
  await context.close();
  await wire.stop();
});

test("a channel that is refused is told in words and hurts no other", async () => {
  const { page, context } = await clientPage(browser);
  for (const front of FRONTS) {
    await begin(page, front, broker.url, { fronts: [front] }, ["fine"], {});
    const refusal = await page.evaluate(
      (front) =>
        new Promise((resolve) => {
          clients[front].tidings.subscribe("broken", { since: "yesterday" }).on("closed", (error) => resolve(error?.code));
        }),
      front,
    );
    assert.equal(refusal, "invalid_cursor", front);
    assert.equal(await liveOn(page, front), front);
  }
  await broker.publish("fine", "still");
  for (const front of FRONTS) await hears(page, front, "fine", 1);
  await context.close();
});
