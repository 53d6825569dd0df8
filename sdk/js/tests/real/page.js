// A page in Chromium with the client in it.

import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { startBroker } from "../../../../broker/tests/browser/broker.js";
import { startBrowser, visitor } from "../../../../broker/tests/browser/browser.js";

export { startBroker, startBrowser };

const CLIENT = fileURLToPath(new URL("../../dist/tidings.global.js", import.meta.url));
export const FRONTS = ["websocket", "sse", "stream", "poll"];
/** Quick enough for a test. */
export const QUICK = { backoff: { min: 5, max: 100 }, connectTimeout: 1500, silence: 6000, upgradeAfter: 60_000 };
export const SETTINGS = ['cors.origins=["*"]', "sse.retry=100ms", "shard.heartbeat_min=1s", "shard.heartbeat_max=2s", "drain.grace=2s", "drain.retry_min=100ms", "drain.retry_max=300ms"];

/**
 * An empty page of another origin that has `listen`, `clients` and `count`. It comes from a real server, since Chromium lets no
 * page that came from nowhere reach this machine.
 */
export async function clientPage(browser) {
  const site = createServer((request, response) => response.writeHead(200, { "content-type": "text/html" }).end("<!doctype html><title>a page</title>"));
  await new Promise((resolve) => site.listen(0, "127.0.0.1", resolve));
  const { page, context } = await visitor(browser);
  context.on("close", () => site.close());
  await context.addInitScript({ path: CLIENT });
  await page.goto(`http://127.0.0.1:${site.address().port}/`);
  await page.evaluate(() => {
    window.clients = {};
    /** A client with a name; what it hears is kept by channel. */
    window.listen = (name, url, options, channels, start) => {
      const client = { tidings: new Tidings(url, options), heard: {}, gaps: [], states: [], subscriptions: {}, closed: [] };
      clients[name] = client;
      client.tidings.on("state", (state) => client.states.push(state));
      client.subscribe = (channel, start) => {
        const heard = (client.heard[channel] ??= []);
        client.subscriptions[channel] = client.tidings
          .subscribe(channel, start)
          .on("message", (message) => heard.push(message.data))
          .on("gap", (gap) => {
            client.gaps.push(gap);
            heard.push(`gap ${gap.reason}`);
          })
          .on("closed", (error) => error && client.closed.push(`${channel}: ${error.message}`));
      };
      for (const channel of channels) client.subscribe(channel, start);
    };
    window.count = (name, channel) => clients[name].heard[channel]?.length ?? 0;
  });
  return { page, context };
}

/** Waits until the client is live on a front, and says on which one. */
export async function liveOn(page, name, fronts = FRONTS) {
  const found = await page.waitForFunction(
    ([name, fronts]) => {
      const { state } = clients[name].tidings;
      return state.name === "live" && fronts.includes(state.front) && state.front;
    },
    [name, fronts],
  );
  return found.jsonValue();
}

export const hears = (page, name, channel, many) =>
  page.waitForFunction(([name, channel, many]) => count(name, channel) >= many, [name, channel, many], { timeout: 15_000 });
