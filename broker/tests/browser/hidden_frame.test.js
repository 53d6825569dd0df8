import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startBroker } from "./broker.js";
import { startBrowser, visitor } from "./browser.js";

// Each of these would do more than be read if it got out of its string, its script or its line.
const HOSTILE = [
  "</script><script>parent.broken = 1</script>",
  "<!--<script>",
  "]]></script><img src=x onerror='parent.broken = 2'>",
  "');parent.broken = 3;('",
  '");parent.broken = 4;("',
  "\\');parent.broken = 5;//",
  "\\u0027);parent.broken = 6;//",
  "${parent.broken = 7}`",
  "&lt;&#39;);parent.broken = 8;//",
  "one\u2028parent.broken = 9\u2029two\r\nparent.broken = 10\n\0\u0007\ud83d\ude00",
];

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

/** A page of the broker's own origin, as a proxy in front of both would give; the demo's pages forbid themselves frames. */
async function listen(page, query) {
  await page.route("**/page", (route) => route.fulfill({ contentType: "text/html", body: "<!doctype html><title>a page</title>" }));
  await page.goto(`${broker.url}/page`);
  await page.evaluate((query) => {
    window.heard = [];
    window.tidings = (object) => window.heard.push(object);
    const frame = document.createElement("iframe");
    frame.style.display = "none";
    frame.src = `/stream?format=html&${query}`;
    document.body.append(frame);
  }, query);
}

const hears = (page, count) => page.waitForFunction((count) => window.heard.length >= count, count);

test("a hidden frame hands over messages as they come, whatever is in them", async () => {
  const { context, page } = await visitor(browser);
  const channel = "frame:</script>'\"&";
  await listen(page, `channel=${encodeURIComponent(channel)}`);
  await hears(page, 1);
  for (const text of HOSTILE) await broker.publish(channel, text, { event: "</script>'" });
  await broker.publish(channel, { __proto__: null, ["__proto__"]: { polluted: HOSTILE } });
  await hears(page, HOSTILE.length + 2);

  const heard = await page.evaluate(() => window.heard);
  assert.match(heard[0].heartbeat.cursor, /^[\w-]+$/);
  const messages = heard.slice(1);
  assert.deepEqual(messages.slice(0, HOSTILE.length).map((message) => message.data), HOSTILE);
  for (const message of messages.slice(0, HOSTILE.length)) assert.deepEqual([message.channel, message.event], [channel, "</script>'"]);
  // To a script this name would be the prototype; handed over as JSON it is a name like others.
  assert.deepEqual(await page.evaluate(() => Object.keys(window.heard.at(-1).data)), ["__proto__"]);

  const frame = page.frames().at(-1);
  const tags = await frame.evaluate(() => [...new Set([...document.querySelectorAll("*")].map((element) => element.localName))]);
  assert.deepEqual(tags.sort(), ["head", "html", "meta", "script", "title"], "the document has what we wrote and nothing else");
  assert.equal(await page.evaluate(() => window.broken), undefined);
  assert.deepEqual(page.faults, []);
  await context.close();
});

test("a hidden frame resumes by the newest cursor, and is told when it is refused", async () => {
  const { context, page } = await visitor(browser);
  for (const text of ["one", "two", "three"]) await broker.publish("frame-resumed", text);
  await listen(page, "channel=frame-resumed&last=3");
  await hears(page, 3);
  const cursor = await page.evaluate(() => window.heard[0].cursor);
  await listen(page, `channel=frame-resumed&since=${cursor}`);
  await hears(page, 2);
  assert.deepEqual(await page.evaluate(() => window.heard.slice(0, 2).map((message) => message.data)), ["two", "three"]);

  await listen(page, "channel=frame-resumed&since=nonsense");
  await hears(page, 1);
  const { close } = await page.evaluate(() => window.heard[0]);
  assert.deepEqual([close.code, close.retry], ["invalid_cursor", false]);
  assert.deepEqual(page.faults, []);
  await context.close();
});
