// The operators' page on the admin listener, in a real Chromium.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import net from "node:net";
import { after, before, test } from "node:test";
import { startBroker } from "./broker.js";
import { isNarrowEnough, pictures, startBrowser, visitor } from "./browser.js";

const KEY = "tdk_an-admin-key-of-this-test";
const HASH = createHash("sha256").update(KEY).digest("hex");
const EVIL = '<img src=x onerror=alert(1)>"\'&';

let broker;
let browser;
const sockets = [];

before(async () => {
  broker = await startBroker("limits.subscribe_channels=4");
  browser = await startBrowser();
});
after(async () => {
  for (const socket of sockets) socket.destroy();
  await browser?.close();
  await broker?.stop();
});

/** A bare event stream, or one that does not read. Resolves once its first bytes are there. */
async function listen(target, { reads = true } = {}) {
  const { hostname, port } = new URL(broker.url);
  const socket = net.connect({ host: hostname, port: Number(port) });
  sockets.push(socket);
  socket.on("error", () => {});
  socket.write(`GET ${target} HTTP/1.1\r\nHost: ${hostname}\r\n\r\n`);
  await new Promise((resolve) => socket.once("data", resolve));
  if (reads) socket.resume();
  else socket.pause();
  return socket;
}

const open = async (hash = "", options = {}) => {
  const { page, context } = await visitor(browser, options);
  await page.goto(`${broker.addresses.admin}/${hash}`);
  return { page, context };
};
const end = async ({ page, context }) => {
  assert.deepEqual(page.faults, []);
  await context.close();
};

test("the overview says how the node is and draws the last while", async () => {
  for (let n = 0; n < 6; n += 1) await listen("/sse?channel=news");
  const publishing = setInterval(() => broker.publish("news", { n: 1 }).catch(() => {}), 100);
  const { page, context } = await open();
  await page.locator('#state[data-state="ready"]').waitFor();
  assert.match(await page.textContent("#verdict"), /All is well/);
  await page.waitForFunction(() => Number(document.querySelector("#plots .now")?.textContent) >= 6);
  // Two steps of the trend.
  await page.waitForFunction(() => document.querySelectorAll("#plots path.line").length >= 7, undefined, { timeout: 25_000 });
  assert.match(await page.locator("#plots svg").first().getAttribute("aria-label"), /^Connections: now \d+/);
  assert.ok((await page.locator("#bounds meter").count()) >= 6);
  await page.locator("#fronts tr", { hasText: "sse" }).waitFor();
  // What a moment was is shown where it is pointed at.
  const box = await page.locator("#plots svg").first().boundingBox();
  await page.mouse.move(box.x + box.width - 2, box.y + 20);
  assert.match(await page.locator("#plots footer").first().textContent(), /^\d\d:\d\d:\d\d/);
  await page.getByRole("button", { name: "15 min" }).click();
  assert.equal(await page.getByRole("button", { name: "15 min" }).getAttribute("aria-pressed"), "true");
  assert.ok(await isNarrowEnough(page));
  await pictures(page, "admin-overview");
  clearInterval(publishing);
  await end({ page, context });
});

test("channels, who is on them, and what went over them; a name is never markup", async () => {
  await listen(`/sse?channel=${encodeURIComponent(`room:${EVIL}`)}&session=anna-7`);
  await broker.publish(`room:${EVIL}`, EVIL, { event: "said" });
  const { page, context } = await open("#channels");
  await page.locator("#channels-list").getByRole("link", { name: `room:${EVIL}` }).waitFor();
  await pictures(page, "admin-channels");
  await page.fill("#channels-prefix", "room:");
  await page.press("#channels-prefix", "Enter");
  await page.waitForFunction(() => document.querySelectorAll("#channels-list tbody tr").length === 1);
  await page.getByRole("link", { name: `room:${EVIL}` }).click();
  await page.locator("#view-channel:not([hidden])").waitFor();
  assert.equal(await page.textContent("#channel-title"), `room:${EVIL}`);
  assert.match(await page.textContent("#channel-line"), /^1 listen, 1 messages kept/);
  await page.locator("#on-list tr", { hasText: "anna-7" }).waitFor();
  assert.equal(await page.textContent("#newest pre"), EVIL);
  assert.equal(await page.locator("#main img").count(), 0);
  assert.ok(await isNarrowEnough(page));
  await pictures(page, "admin-channel");
  await page.locator("#on-list").getByRole("link", { name: "anna-7" }).click();
  await page.locator("#view-session:not([hidden])").waitFor();
  assert.match(await page.textContent("#session-line"), /here now/);
  await end({ page, context });
});

test("a session's story says why it was not let in, and why it was dropped", async () => {
  await fetch(`${broker.url}/sse?channel=a&channel=b&channel=c&channel=d&channel=e&session=greedy`);
  const socket = await listen("/sse?channel=a&session=greedy");
  socket.destroy();
  const { page, context } = await open("#sessions");
  await page.locator("#sessions-list tr", { hasText: "limits.subscribe_channels" }).waitFor();
  await pictures(page, "admin-sessions");
  await page.selectOption("#sessions-event", "refused,denied");
  await page.waitForFunction(() => [...document.querySelectorAll("#sessions-list tbody tr")].every((row) => /refused|denied/.test(row.textContent)));
  await page.fill("#sessions-text", "greedy");
  await page.press("#sessions-text", "Enter");
  await page.locator("#sessions-list").getByRole("link", { name: "greedy" }).first().click();
  await page.locator("#story li", { hasText: "limits.subscribe_channels" }).waitFor();
  await page.locator("#story li", { hasText: "the client went away" }).waitFor();
  assert.match(await page.textContent("#session-line"), /not on a socket/);
  assert.ok(await isNarrowEnough(page));
  await pictures(page, "admin-session");
  await page.goto(`${broker.addresses.admin}/#session/nobody`);
  await page.locator("#story-note", { hasText: "Nothing is kept of it" }).waitFor();
  await end({ page, context });
});

test("a message is published and seen going by, by keyboard alone", async () => {
  const { page, context } = await open("#try");
  await page.locator("#view-try:not([hidden])").waitFor();
  await page.focus("#try-channel");
  await page.keyboard.type("trial");
  await page.focus("#tail-switch");
  await page.keyboard.press("Space");
  await page.locator("#tail-note", { hasText: "Watching trial" }).waitFor();
  await page.focus("#try-text");
  for (const text of ["one", EVIL]) {
    await page.fill("#try-text", text);
    await page.focus("#publish-form button:not([type=button])");
    await page.keyboard.press("Enter");
    await page.locator("#tail pre", { hasText: text }).first().waitFor();
  }
  await broker.publish("trial", "from outside");
  await page.locator("#tail pre", { hasText: "from outside" }).waitFor();
  assert.equal(await page.locator("#tail article").count(), 3, "each once");
  assert.match(await page.textContent("#publish-note"), /no\. 2 of trial/);
  await page.check("#try-json");
  await page.fill("#try-text", "{no json");
  await page.click("#publish-form button:not([type=button])");
  await page.locator("#publish-note.bad", { hasText: "no JSON" }).waitFor();
  assert.ok(await isNarrowEnough(page));
  await pictures(page, "admin-try");
  await page.click("#tail-switch");
  await page.locator("#tail-note", { hasText: "Not watching" }).waitFor();
  await end({ page, context });
});

test("a single node shows itself; the log's level is changed", async () => {
  const { page, context } = await open("#cluster");
  await page.locator("#cluster-nodes tr", { hasText: "this node" }).waitFor();
  assert.match(await page.textContent("#cluster-line"), /alone/);
  assert.equal(await page.locator("#cluster-map circle").count(), 1);
  await pictures(page, "admin-cluster");
  await page.goto(`${broker.addresses.admin}/#overview`);
  await page.waitForFunction(() => document.getElementById("log-level").value === "info");
  await page.fill("#log-level", "info,tidings::session=debug");
  await page.press("#log-level", "Enter");
  await page.locator("#log-note", { hasText: "Writes info,tidings::session=debug now." }).waitFor();
  await page.fill("#log-level", "inof");
  await page.press("#log-level", "Enter");
  await page.locator("#log-note", { hasText: "did you mean `info`?" }).waitFor();
  assert.ok(broker.lines.some((line) => line.includes("log_level_changed")), broker.lines.join("\n"));
  await end({ page, context });
});

test("with a key it asks for it, and without one outside dev it is closed", async () => {
  for (const settings of [[`admin.keys=[{name: op, sha256: ${HASH}}]`], ["dev=false", "insecure=true"]]) {
    const locked = await startBroker(...settings);
    const { page, context } = await visitor(browser);
    await page.goto(locked.addresses.admin);
    await page.locator("#key:not([hidden])").waitFor();
    await pictures(page, settings.length > 1 ? "admin-closed" : "admin-key");
    if (settings.length > 1) {
      await page.locator("#key-why", { hasText: "admin.keys" }).waitFor();
      assert.ok(await page.locator("#key-form").isHidden());
    } else {
      await page.fill("#key-input", "a guess");
      await page.press("#key-input", "Enter");
      await page.locator("#key-error", { hasText: "unknown" }).waitFor();
      await page.fill("#key-input", KEY);
      await page.press("#key-input", "Enter");
      await page.locator('#state[data-state="ready"]').waitFor();
      await page.locator("#view-overview:not([hidden])").waitFor();
    }
    await end({ page, context });
    // Health and metrics stay as they are.
    for (const path of ["/metrics", "/livez"]) assert.equal((await fetch(locked.addresses.admin + path)).status, 200, path);
    await locked.stop();
  }
});

test("every control has a name, and the page takes nothing from elsewhere", async () => {
  const { page, context } = await visitor(browser);
  const foreign = [];
  page.on("request", (request) => {
    if (!request.url().startsWith(broker.addresses.admin)) foreign.push(request.url());
  });
  const response = await page.goto(broker.addresses.admin);
  const policy = response.headers()["content-security-policy"];
  assert.match(policy, /default-src 'none'/);
  assert.doesNotMatch(policy, /unsafe/);
  for (const view of ["overview", "channels", "sessions", "cluster", "try"]) {
    await page.goto(`${broker.addresses.admin}/#${view}`);
    await page.locator(`#view-${view}:not([hidden])`).waitFor();
    assert.equal(await page.locator('.bar nav a[aria-current="page"]').count(), 1);
    const nameless = await page.evaluate(() =>
      [...document.querySelectorAll("main > section:not([hidden]) :is(button, input, select, textarea, a, [role=img], meter)")]
        .filter((one) => !(one.getAttribute("aria-label") || one.textContent.trim() || one.labels?.length || one.closest("label")))
        .map((one) => one.outerHTML),
    );
    assert.deepEqual(nameless, [], view);
  }
  assert.deepEqual(foreign, []);
  await end({ page, context });
});
