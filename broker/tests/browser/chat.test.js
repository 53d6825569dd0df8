import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { startBroker } from "./broker.js";
import { isNarrowEnough, newPage, pictures, startBrowser, visitor } from "./browser.js";

let broker;
let browser;
const visitors = [];

before(async () => {
  broker = await startBroker(["namespaces.chat={history: {size: 100}}"]);
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  await broker?.stop();
});
afterEach(async () => {
  for (const { context } of visitors.splice(0)) {
    for (const page of context.pages()) assert.deepEqual(page.faults, [], "the page had faults");
    await context.close();
  }
});

const connected = (page) => page.locator('#connection[data-state="open"]').waitFor();

async function enter(room, nick, options) {
  const { context, page } = await visitor(browser, options);
  visitors.push({ context });
  await page.goto(`${broker.url}/demo/chat#${encodeURIComponent(room)}`);
  await connected(page);
  if (nick) await page.fill("#nick", nick);
  return page;
}

async function say(page, text) {
  await page.fill("#text", text);
  await page.click("#say button");
}

const texts = (page) => page.locator(".said:not(.pending) .text").allTextContents();
const arrives = (page, text) => page.locator(".said:not(.pending) .text", { hasText: text }).first().waitFor();
const noted = (page, text) => page.locator(".note", { hasText: text }).first().waitFor();

/**
 * Waits until another page of the same visitor sees the message in the storage, and leaves that page open. A browser ends
 * the process of a page that is left at once, and with it, now and then, the latest write to the storage.
 */
async function remembered(page, room, text) {
  const witness = await newPage(page.context());
  await witness.goto(`${broker.url}/demo/icon.svg`);
  await witness.waitForFunction(([key, text]) => localStorage.getItem(key)?.includes(text), [`tidings.chat.room:${room}`, text]);
}

test("what one visitor says another one sees", async () => {
  const anna = await enter("two", "anna");
  const ben = await enter("two", "ben");
  await say(anna, "hello ben");
  await arrives(ben, "hello ben");
  await say(ben, "hello anna");
  await arrives(anna, "hello anna");
  assert.deepEqual(await texts(anna), ["hello ben", "hello anna"]);
  assert.deepEqual(await texts(ben), ["hello ben", "hello anna"]);
  assert.equal(await ben.locator(".said .nick").first().textContent(), "anna");
  await pictures(ben, "chat");
});

test("rooms do not hear each other and are changed by a click", async () => {
  const anna = await enter("kitchen", "anna");
  const ben = await enter("workshop", "ben");
  await say(anna, "who took the cups");
  await arrives(anna, "who took the cups");
  assert.deepEqual(await texts(ben), []);
  await ben.locator("#rooms a", { hasText: "kitchen" }).click();
  await arrives(ben, "who took the cups");
  await ben.fill("#room-name", "a room, with ünïcode & signs?");
  await ben.click("#open-room button");
  await noted(ben, "Welcome to #a room, with ünïcode & signs?");
  await connected(ben);
  await say(ben, "nobody here");
  await arrives(ben, "nobody here");
  assert.deepEqual(await texts(anna), ["who took the cups"]);
});

test("a newcomer is greeted and sees the last hundred messages in order", async () => {
  for (let n = 1; n <= 105; n++) await broker.publish("chat:old", { nick: "carl", text: `line ${n}` });
  const anna = await enter("old", "anna");
  await arrives(anna, "line 105");
  await noted(anna, "Welcome to #old");
  assert.deepEqual(await texts(anna), Array.from({ length: 100 }, (_, n) => `line ${n + 6}`));
});

test("a visitor who returns is not greeted again and gets exactly what was missed", async () => {
  const anna = await enter("return", "anna");
  await noted(anna, "Welcome to #return");
  await say(anna, "be right back");
  await arrives(anna, "be right back");
  await remembered(anna, "return", "be right back");
  const context = anna.context();
  await anna.close();
  for (const text of ["one", "two", "three"]) await broker.publish("chat:return", { nick: "ben", text });

  const again = await newPage(context);
  await again.goto(`${broker.url}/demo/chat#return`);
  await noted(again, "Welcome back. 3 messages while you were away.");
  assert.deepEqual(await texts(again), ["be right back", "one", "two", "three"]);
  assert.equal(await again.locator(".note.greeting").count(), 0);

  await again.reload();
  await noted(again, "Welcome back.");
  await connected(again);
  await say(again, "after the reload");
  await arrives(again, "after the reload");
  assert.deepEqual(await texts(again), ["be right back", "one", "two", "three", "after the reload"]);
});

test("a visitor who missed more than the room keeps is told so", async () => {
  const anna = await enter("busy", "anna");
  await say(anna, "before");
  await arrives(anna, "before");
  await remembered(anna, "busy", "before");
  await anna.goto("about:blank");
  for (let n = 1; n <= 120; n++) await broker.publish("chat:busy", { nick: "ben", text: `line ${n}` });
  await anna.goto(`${broker.url}/demo/chat#busy`);
  await noted(anna, "Messages are missing here: more was said than the room keeps.");
  await arrives(anna, "line 120");
  assert.deepEqual(await texts(anna), ["before", ...Array.from({ length: 100 }, (_, n) => `line ${n + 21}`)]);
});

test("clear empties the room for all who are there and for those who come", async () => {
  const anna = await enter("wipe", "anna");
  const ben = await enter("wipe", "ben");
  await say(anna, "forget this");
  await arrives(ben, "forget this");
  await say(ben, "/clear");
  await noted(anna, "ben cleared the room");
  await noted(ben, "ben cleared the room");
  assert.deepEqual(await texts(anna), []);
  assert.deepEqual(await texts(ben), []);
  const carl = await enter("wipe", "carl");
  await noted(carl, "ben cleared the room");
  assert.deepEqual(await texts(carl), []);
  await say(anna, "a clean slate");
  for (const page of [anna, ben, carl]) {
    await arrives(page, "a clean slate");
    assert.deepEqual(await texts(page), ["a clean slate"]);
  }
});

test("a visitor who was away during a clear loses the old talk and is told", async () => {
  const anna = await enter("wiped", "anna");
  await say(anna, "soon gone");
  await arrives(anna, "soon gone");
  await remembered(anna, "wiped", "soon gone");
  await anna.goto("about:blank");
  const cleared = await fetch(`${broker.url}/v1/channels/${encodeURIComponent("chat:wiped")}/messages`, { method: "DELETE" });
  assert.equal(cleared.status, 200);
  await broker.publish("chat:wiped", { nick: "ben", text: "fresh" });
  await anna.goto(`${broker.url}/demo/chat#wiped`);
  await arrives(anna, "fresh");
  await noted(anna, "The room was cleared while you were away.");
  assert.deepEqual(await texts(anna), ["fresh"]);
});

test("markup in names, messages and rooms stays text", async () => {
  const attack = '<img src=x onerror="alert(1)"><script>alert(2)</script>';
  const anna = await enter('<img src=x onerror="alert(3)">', "<b>anna</b>");
  await say(anna, attack);
  await arrives(anna, attack);
  await broker.publish('chat:<img src=x onerror="alert(3)">', { nick: attack, text: { not: "text" } });
  await arrives(anna, '{"not":"text"}');
  assert.equal((await texts(anna))[0], attack);
  assert.equal(await anna.locator(".said .nick").first().evaluate((nick) => nick.firstChild.data), "<b>anna</b>");
  assert.equal(await anna.locator("#messages img, #messages script, #messages b, #rooms img").count(), 0);
});

test("a message that cannot be sent says why and is sent once when tried again", async () => {
  const anna = await enter("flaky", "anna");
  let refuse = true;
  // The first try reaches the broker, but its answer gets lost: the worst case for "exactly once".
  await anna.route("**/v1/publish", async (route) => {
    if (!refuse) return route.continue();
    refuse = false;
    await route.fetch();
    return route.abort();
  });
  await anna.route("**/v1/channels/**", (route) => route.fulfill({ status: 503, json: { error: { code: "draining", message: "this node is leaving" } } }));
  await say(anna, "/clear");
  await noted(anna, "Not cleared: this node is leaving.");
  await say(anna, "did it arrive?");
  await arrives(anna, "did it arrive?");
  await say(anna, "second");
  await arrives(anna, "second");
  assert.deepEqual(await texts(anna), ["did it arrive?", "second"]);
  await anna.unroute("**/v1/publish");
  await anna.route("**/v1/publish", (route) => route.abort());
  await say(anna, "third");
  await anna.locator(".said.pending .why", { hasText: "Not sent: the broker cannot be reached." }).waitFor();
  await anna.unroute("**/v1/publish");
  await anna.getByRole("button", { name: "Try again" }).click();
  await arrives(anna, "third");
  assert.deepEqual(await texts(anna), ["did it arrive?", "second", "third"]);
  assert.equal(await anna.locator(".said.pending").count(), 0);
});

test("a page stays through a restart of the broker and tells what may be missing", async () => {
  const first = await startBroker("drain.grace=2s", "drain.retry_min=100ms", "drain.retry_max=300ms");
  const { context, page } = await visitor(browser);
  visitors.push({ context });
  await page.goto(`${first.url}/demo/chat#restart`);
  await connected(page);
  await page.fill("#nick", "anna");
  await say(page, "before");
  await arrives(page, "before");
  await first.stop();
  await page.locator('#connection[data-state="lost"]', { hasText: /^reconnecting since \d\d:\d\d:\d\d$/ }).waitFor();
  await say(page, "into the void");
  await page.locator(".said.pending .why", { hasText: "Not sent: the broker cannot be reached." }).waitFor();

  const second = await startBroker(`http.listen=${new URL(first.url).host}`);
  try {
    await connected(page);
    await noted(page, "Messages are missing here: the broker was started anew.");
    await page.getByRole("button", { name: "Try again" }).click();
    await arrives(page, "into the void");
    assert.deepEqual(await texts(page), ["before", "into the void"]);
  } finally {
    await page.goto("about:blank");
    await second.stop();
  }
});

test("long words wrap and a phone needs no sideways scrolling", async () => {
  const anna = await enter("wide", "anna");
  await say(anna, "w".repeat(600));
  await arrives(anna, "www");
  assert.ok(await isNarrowEnough(anna));
  const overflows = await anna.locator("#scroll").evaluate((scroll) => scroll.scrollWidth > scroll.clientWidth);
  assert.equal(overflows, false);
});
