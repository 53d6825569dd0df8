import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { startBroker } from "./broker.js";
import { startBrowser, visitor, WAIT_MS } from "./browser.js";
import { startWire } from "./proxy.js";

const PAGE = `<!doctype html><title>another origin</title><script src="/eventsource.js"></script>`;

let site;
let origin;
let broker;
let wire;
let browser;

before(async () => {
  const polyfill = await readFile(createRequire(import.meta.url).resolve("event-source-polyfill/src/eventsource.js"));
  site = createServer((request, response) => {
    const script = request.url === "/eventsource.js";
    response.writeHead(200, { "content-type": script ? "text/javascript" : "text/html" });
    response.end(script ? polyfill : PAGE);
  });
  await new Promise((resolve) => site.listen(0, "127.0.0.1", resolve));
  origin = `http://127.0.0.1:${site.address().port}`;
  broker = await startBroker(`cors.origins=["${origin}"]`, "sse.retry=200ms");
  wire = await startWire(broker.url);
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  await wire?.stop();
  await broker?.stop();
  site?.close();
});

/** Opens a stream in a page of another origin and collects what it hears in `window.heard`. */
async function listenIn(page, kind, url) {
  await page.evaluate(
    ([kind, url]) => {
      window.heard = [];
      window.ids = [];
      window.opened = 0;
      const Source = kind === "native" ? window.EventSource : window.EventSourcePolyfill;
      const source = new Source(url);
      source.onopen = () => window.opened++;
      source.onmessage = (event) => {
        window.heard.push(event.data);
        window.ids.push(event.lastEventId);
      };
      window.source = source;
    },
    [kind, url],
  );
  await page.waitForFunction(() => window.opened === 1, null, { timeout: WAIT_MS });
}

const hears = (page, count) => page.waitForFunction((count) => window.heard.length >= count, count, { timeout: WAIT_MS });

for (const kind of ["native", "polyfill"]) {
  test(`a page of another origin listens with the ${kind} EventSource and resumes over a cut wire`, async () => {
    const { page, context } = await visitor(browser);
    await page.goto(origin);
    const channel = `cross:${kind}`;
    wire.heads.length = 0;
    await listenIn(page, kind, `${wire.url}/sse?channel=${channel}`);
    await broker.publish(channel, "one");
    await broker.publish(channel, { two: 2 });
    await hears(page, 2);
    const lastId = await page.evaluate(() => window.ids.at(-1));

    wire.cut();
    await broker.publish(channel, "three");
    await broker.publish(channel, "four");
    wire.mend();
    await hears(page, 4);
    await broker.publish(channel, "five");
    await hears(page, 5);
    assert.deepEqual(await page.evaluate(() => window.heard), ['"one"', '{"two":2}', '"three"', '"four"', '"five"']);

    const resumed = wire.heads.filter((head) => head.startsWith("GET /sse")).at(-1);
    if (kind === "native") assert.match(resumed, new RegExp(`^last-event-id: ${lastId}$`, "im"));
    else assert.match(resumed, new RegExp(`^GET /sse\\?\\S*lastEventId=${lastId}`, "i"));
    assert.deepEqual(page.faults, []);
    await context.close();
  });
}

test("a page of another origin may send Authorization, Last-Event-ID and a JSON publish after a preflight", async () => {
  const { page, context } = await visitor(browser);
  await page.goto(origin);
  const answer = await page.evaluate(async (url) => {
    const published = await fetch(`${url}/v1/publish`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: "Bearer none-needed-here" },
      body: JSON.stringify({ channel: "cross:fetch", data: 1 }),
    });
    const { cursor } = await published.json();
    const polled = await fetch(`${url}/poll?channel=cross:fetch&wait=0&since=${cursor}`, { headers: { authorization: "Bearer none-needed-here" } });
    const streamed = await fetch(`${url}/sse?channel=cross:fetch`, { headers: { "last-event-id": cursor, "cache-control": "no-cache" } });
    const first = await streamed.body.getReader().read();
    return { published: published.status, polled: polled.status, exposed: polled.headers.get("tidings-cursor"), streamed: streamed.status, bytes: first.value.length };
  }, broker.url);
  assert.equal(answer.published, 200);
  assert.equal(answer.polled, 204);
  assert.ok(answer.exposed, "Tidings-Cursor is exposed");
  assert.equal(answer.streamed, 200);
  assert.ok(answer.bytes > 0, "the first bytes come at once");
  await context.close();
});

test("a page of an origin that is not listed can neither listen nor publish", async () => {
  const stranger = createServer((request, response) => response.writeHead(200, { "content-type": "text/html" }).end(PAGE));
  await new Promise((resolve) => stranger.listen(0, "127.0.0.1", resolve));
  const { page, context } = await visitor(browser);
  await page.goto(`http://127.0.0.1:${stranger.address().port}`);
  const result = await page.evaluate(async (url) => {
    const state = await new Promise((resolve) => {
      const source = new EventSource(`${url}/sse?channel=cross:secret`);
      source.onopen = () => resolve("opened");
      source.onerror = () => resolve("refused");
    });
    // text/plain needs no preflight: the broker itself must refuse it.
    const blind = await fetch(`${url}/v1/channels/cross:secret/messages`, { method: "POST", mode: "no-cors", body: "x" }).then((answer) => answer.type, () => "failed");
    return { state, blind };
  }, broker.url);
  assert.equal(result.state, "refused");
  const kept = await (await fetch(`${broker.url}/v1/channels/${encodeURIComponent("cross:secret")}/messages`)).json();
  assert.deepEqual(kept.messages ?? [], [], "nothing a stranger sent was kept");
  await context.close();
  stranger.close();
});
