import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { clientPage, FRONTS, hears, QUICK, SETTINGS, startBroker, startBrowser } from "./page.js";
import { chance, roughWire, seed } from "./rough.js";

// Two of them share a slot, and with it a cursor.
const CHANNELS = ["storm:{one}:a", "storm:{one}:b", "storm:c"];
const MESSAGES = 500;
const CUTS = 500;

let broker;
let browser;
const wires = [];

before(async () => {
  broker = await startBroker(...SETTINGS);
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  for (const wire of wires) await wire.stop();
  await broker?.stop();
});

test("over wires that are cut at random bytes, every message comes once and in order on every front", { timeout: 90_000 }, async () => {
  const random = chance(seed("cuts"));
  const { page, context } = await clientPage(browser);
  // One client for each front, and one that uses all of them and is never content with its channels.
  const clients = [...FRONTS.map((front) => [front, [front]]), ["restless", FRONTS]];
  for (const [name, fronts] of clients) {
    const wire = await roughWire(broker.url, { random, least: 200, most: 4000 });
    wires.push(wire);
    await page.evaluate(
      ([name, url, options, channels]) => listen(name, url, options, channels, { since: "earliest" }),
      [name, wire.url, { ...QUICK, fronts, upgradeAfter: 300 }, CHANNELS],
    );
  }
  await page.evaluate((channels) => {
    const { subscriptions, subscribe } = clients.restless;
    let turn = 0;
    setInterval(() => {
      const channel = channels[turn++ % channels.length];
      const { cursor } = subscriptions[channel];
      subscriptions[channel].close();
      subscribe(channel, { since: cursor ?? "earliest" });
    }, 130);
  }, CHANNELS);

  for (let n = 1; n <= MESSAGES; n++) {
    await Promise.all(CHANNELS.map((channel) => broker.publish(channel, n)));
  }
  // Until the end they go on over the rough wire; then the rest may come over a calm one, so that the end is no matter of luck.
  const deadline = Date.now() + 25_000;
  while (wires.reduce((sum, wire) => sum + wire.cuts, 0) < CUTS && Date.now() < deadline) {
    for (const wire of wires) wire.drop();
    await broker.publish(CHANNELS[0], "more").catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  for (const wire of wires) wire.calm = true;
  for (const [name] of clients) for (const channel of CHANNELS) await hears(page, name, channel, MESSAGES);

  const result = await page.evaluate(() =>
    Object.entries(clients).map(([name, { heard, gaps, states, closed }]) => [name, { heard, gaps, closed, connects: states.filter((state) => state.name === "connecting").length }]),
  );
  const expected = Array.from({ length: MESSAGES }, (_, n) => n + 1);
  let connects = 0;
  for (const [name, client] of result) {
    connects += client.connects;
    assert.deepEqual(client.gaps, [], `${name}: no gap is due`);
    assert.deepEqual(client.closed, [], `${name}: nothing was refused`);
    for (const channel of CHANNELS) {
      const got = client.heard[channel].filter((it) => it !== "more");
      assert.deepEqual(got, expected, `${name} on ${channel}`);
    }
  }
  const cuts = wires.map((wire) => wire.cuts);
  console.log(`cuts: ${cuts} (${clients.map(([name]) => name)}), connects: ${connects}`);
  assert.ok(cuts.reduce((sum, many) => sum + many) >= CUTS, `only ${cuts} cuts`);
  assert.deepEqual(page.faults, []);
  await context.close();
});
