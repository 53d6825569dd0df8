import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startBroker } from "./broker.js";
import { isNarrowEnough, pictures, startBrowser, visitor } from "./browser.js";

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

test("the monitor shows figures of this machine that move", async () => {
  const { page, context } = await visitor(browser);
  await page.goto(`${broker.url}/demo/monitor`);
  await page.locator('#connection[data-state="open"]').waitFor();
  await page.waitForFunction(() => /\d/.test(document.getElementById("cpu").textContent));
  assert.match(await page.textContent("#memory-total"), /^[\d.]+ [KMGT]iB of [\d.]+ [KMGT]iB$/);
  assert.match(await page.textContent("#load"), /^load \d/);
  const cores = await page.locator("#cores span").count();
  assert.ok(cores >= 1, "at least one core is shown");

  // Figures move: three further samples, each with its own time.
  const seen = new Set();
  for (let n = 0; n < 3; n++) {
    const before = await page.textContent("#freshness");
    await page.waitForFunction((old) => document.getElementById("freshness").textContent !== old, before);
    seen.add(await page.textContent("#freshness"));
  }
  assert.equal(seen.size, 3);

  // The line on the canvas is drawn.
  const inked = await page.locator("#cpu-spark").evaluate((canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return data.some((value) => value !== 0);
  });
  assert.ok(inked, "the sparkline has ink");

  // The broker's own figures come from its /metrics: this very page is a connection and a message a second.
  await page.waitForFunction(() => Number(document.getElementById("connections").textContent) >= 1);
  await page.waitForFunction(() => Number.parseFloat(document.getElementById("delivered").textContent) > 0);
  await page.waitForFunction(() => /\d (B|KiB|MiB|GiB)|\d(B|KiB|MiB|GiB)/.test(document.getElementById("rss").textContent));
  assert.match(await page.getAttribute("#alarm", "data-state"), /^(calm|raised)$/);
  assert.ok(await isNarrowEnough(page));
  await pictures(page, "monitor");
  assert.deepEqual(page.faults, []);
  await context.close();
});

const receives = (page, least) =>
  page.waitForFunction((least) => Number(/(\d+) received/.exec(document.getElementById("freshness").textContent)?.[1]) >= least, least);

test("a page opened later starts with the past minute and the alarms in it", async () => {
  const first = await visitor(browser);
  await first.page.goto(`${broker.url}/demo/monitor`);
  await receives(first.page, 3);
  await broker.publish("demo:machine", { time: Date.now(), rule: "cpu", state: "raised", value_percent: 96, limit_percent: 91 }, { event: "alarm" });
  await first.page.locator("#alarms li.raised", { hasText: "Processor use at 96 % (limit 91 %)" }).waitFor();
  const later = await visitor(browser);
  await later.page.goto(`${broker.url}/demo/monitor`);
  await later.page.locator("#alarms li.raised", { hasText: "Processor use at 96 % (limit 91 %)" }).waitFor();
  await receives(later.page, 3);
  for (const { page, context } of [first, later]) {
    assert.deepEqual(page.faults, []);
    await context.close();
  }
});

test("the start page explains itself, listens and publishes", async () => {
  const { page, context } = await visitor(browser);
  await page.goto(broker.url);
  await page.locator('#connection[data-state="open"]').waitFor();
  assert.ok((await page.textContent("pre >> nth=0")).includes(`curl ${broker.url}/v1/publish`));
  await page.click("#publish");
  await page.locator("#heard li").first().waitFor();
  await broker.publish("demo:hello", { text: "from a terminal <b>" });
  await page.locator("#heard li", { hasText: "from a terminal <b>" }).waitFor();
  assert.ok(await isNarrowEnough(page));
  await pictures(page, "start");
  await page.getByRole("link", { name: /^Monitor/ }).first().click();
  await page.waitForURL(/\/demo\/monitor$/);
  assert.deepEqual(page.faults, []);
  await context.close();
});

test("every demo page comes with a strict policy and nothing from elsewhere", async () => {
  const { page, context } = await visitor(browser);
  const foreign = [];
  page.on("request", (request) => {
    if (!request.url().startsWith(broker.url)) foreign.push(request.url());
  });
  for (const path of ["/", "/demo/monitor", "/demo/chat", "/demo/fronts", "/demo/ticker"]) {
    const response = await page.goto(broker.url + path);
    const headers = response.headers();
    assert.equal(response.status(), 200);
    assert.match(headers["content-security-policy"], /default-src 'none'/);
    assert.match(headers["content-security-policy"], /script-src 'self'/);
    assert.doesNotMatch(headers["content-security-policy"], /unsafe/);
    assert.equal(headers["x-content-type-options"], "nosniff");
    await page.locator('#connection[data-state="open"]').waitFor();
  }
  assert.deepEqual(foreign, []);
  assert.deepEqual(page.faults, []);
  await context.close();
});
