// The pages that show the npm client: a switch of the fronts, a ticker, an answer that survives a reload.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startBroker } from "./broker.js";
import { isNarrowEnough, pictures, startBrowser, visitor } from "./browser.js";

const FRONTS = ["websocket", "sse", "stream", "poll"];

let broker;
let browser;

before(async () => {
  broker = await startBroker();
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  await broker?.stop();
});

async function open(path) {
  const { page, context } = await visitor(browser);
  await page.goto(broker.url + path);
  return { page, context };
}

const card = (page, front) => page.locator(`.front[data-front="${front}"]`);
const isLive = (page, front) => card(page, front).locator('.pill[data-state="open"]').waitFor();
const received = (page, front, count) => card(page, front).locator("dd").first().filter({ hasText: new RegExp(`^${count}$`) }).waitFor();

test("four fronts side by side end up with the same messages, also after one was off the line", async () => {
  const { page, context } = await open("/demo/fronts");
  for (const front of FRONTS) await isLive(page, front);
  await page.click("#many");
  for (const front of FRONTS) await received(page, front, 20);

  await card(page, "sse").getByRole("button").click();
  await card(page, "websocket").getByRole("button").click();
  for (let n = 0; n < 3; n++) await page.click("#one");
  for (const front of ["stream", "poll"]) await received(page, front, 23);
  await received(page, "sse", 20);
  await pictures(page, "fronts");
  for (const front of ["sse", "websocket"]) {
    await card(page, front).getByRole("button", { name: "Let back" }).click();
    await received(page, front, 23);
  }
  const shown = await Promise.all(FRONTS.map((front) => card(page, front).locator("li span:first-child").allTextContents()));
  for (const list of shown) assert.deepEqual(list, ["#23", "#22", "#21", "#20", "#19"]);
  assert.ok(await isNarrowEnough(page));
  assert.deepEqual(page.faults, []);
  await context.close();
});

test("the ticker moves, and whoever comes back gets the newest price of each and no other", async () => {
  const { page, context } = await open("/demo/ticker");
  await page.locator('#connection[data-state="open"]').waitFor();
  await page.waitForFunction(() => [...document.querySelectorAll("#prices tr td:nth-child(2)")].every((cell) => /^\d+\.\d\d$/.test(cell.textContent)));
  const before = await page.locator("#prices").innerText();
  await page.waitForFunction((before) => document.getElementById("prices").innerText !== before, before);
  await page.click("#away");
  await page.locator("#told", { hasText: /^Back: / }).waitFor();
  const came = Number(/Back: (\d+) prices/.exec(await page.textContent("#told"))[1]);
  // One for each of the five, and perhaps a few that were published in the meantime.
  assert.ok(came >= 5 && came < 20, `${came} prices came`);
  assert.ok(await isNarrowEnough(page));
  await pictures(page, "ticker");
  assert.deepEqual(page.faults, []);
  await context.close();
});

test("an answer goes on after a reload in the middle of it, without a hole and without a word twice", async () => {
  const { page, context } = await open("/demo/answer");
  // The program that answers may still be on its way.
  await page.waitForFunction(async () => (await (await fetch("/v1/channels?prefix=demo:ask")).json()).channels[0]?.listeners > 0);
  await page.getByRole("button", { name: "Ask" }).click();
  const words = (many) => page.waitForFunction((many) => document.getElementById("text").textContent.split(" ").length > many, many);
  await words(8);
  for (let reload = 1; reload <= 3; reload++) {
    const before = await page.textContent("#text");
    await page.reload();
    await words(before.split(" ").length + 8);
    assert.ok((await page.textContent("#text")).startsWith(before), "what was read is still there");
    if (reload === 2) await pictures(page, "answer");
  }
  await page.locator("#status", { hasText: "Finished." }).waitFor();
  const text = await page.textContent("#text");
  // The same from the broker's history: every word once, in order.
  const { id } = await page.evaluate(() => JSON.parse(sessionStorage.getItem("tidings.answer")));
  const { messages } = await (await fetch(`${broker.url}/v1/channels/answer:${id}/messages?limit=1000`)).json();
  assert.equal(text, messages.filter((message) => message.event !== "end").map((message) => message.data).join(""));
  assert.match(text, /^Nothing is lost\. .*with a hole in it\.$/);
  assert.ok(await isNarrowEnough(page));
  await page.reload();
  await page.locator("#status", { hasText: "Finished." }).waitFor();
  assert.equal(await page.textContent("#text"), text);
  assert.deepEqual(page.faults, []);
  await context.close();
});
