// The operators' page on the admin listener, in a real Chromium.

import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
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
async function listen(target, { reads = true, at = broker } = {}) {
  const { hostname, port } = new URL(at.url);
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
  const refused = await fetch(`${broker.url}/v1/channels/shown/messages`, { method: "POST", body: "x".repeat(70_000) });
  assert.equal(refused.status, 413);
  const { page, context } = await open("#sessions");
  await page.locator("#sessions-list tr", { hasText: "limits.subscribe_channels" }).waitFor();
  await pictures(page, "admin-sessions");
  await page.selectOption("#sessions-event", { label: "refused" });
  await page.waitForFunction(() => [...document.querySelectorAll("#sessions-list tbody tr")].every((row) => /refused|denied/.test(row.textContent)));
  await page.locator("#sessions-list tr", { hasText: "publish refused" }).filter({ hasText: "to shown" }).waitFor();
  await page.fill("#sessions-text", "greedy");
  await page.press("#sessions-text", "Enter");
  await page.locator("#sessions-list").getByRole("link", { name: "greedy" }).first().click();
  await page.locator("#story li", { hasText: "limits.subscribe_channels" }).waitFor();
  await page.locator("#story li", { hasText: "the client went away" }).waitFor();
  assert.match(await page.textContent("#session-line"), /not on this node/);
  assert.ok(await isNarrowEnough(page));
  await pictures(page, "admin-session");
  await page.goto(`${broker.addresses.admin}/#session/nobody`);
  await page.locator("#story-note", { hasText: "Nothing is kept of it" }).waitFor();
  await end({ page, context });
});

test("why a slow client, one that a rule denies and one with an expired token were dropped is told, to who has the key", async () => {
  const secret = "a secret of the browser test, long enough for HS256";
  const token = (seconds) => {
    const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const claims = { sub: "ann", exp: Math.floor(Date.now() / 1000) + seconds, channels: [{ match: "chat:hall", can: ["subscribe"] }] };
    const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
    return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
  };
  const strict = await startBroker(
    "dev=false", "shards=1", "http.send_buffer_bytes=16KiB", `admin.keys=[{name: op, sha256: ${HASH}}]`,
    `tokens={keys: [{algorithm: HS256, secret: "${secret}"}], leeway: 0s}`,
    "namespaces={chat: {}, film: {allow: {subscribe: anyone, publish: anyone}, history: {size: 0}}}",
  );
  const { page, context } = await visitor(browser);
  try {
    await page.goto(`${strict.addresses.admin}/#sessions`);
    await page.fill("#key-input", KEY);
    await page.press("#key-input", "Enter");
    await page.locator("#view-sessions:not([hidden])").waitFor();

    const denied = await fetch(`${strict.url}/sse?channel=chat:attic&session=denied-1&token=${token(600)}`);
    assert.equal(denied.status, 403);
    const stale = await fetch(`${strict.url}/sse?channel=chat:hall&session=stale-1&token=${token(-5)}`);
    assert.equal(stale.status, 401);
    await listen(`/sse?channel=chat:hall&session=expired-1&token=${token(2)}`, { at: strict });
    const slow = await listen("/sse?channel=film:1&session=slow-1", { at: strict, reads: false });
    // More than all buffers between the two hold; then it takes what is there, and hears that it came too late for the rest.
    for (let n = 0; n < 300; n += 1) await strict.publish("film:1", "x".repeat(60_000));
    const closed = new Promise((resolve) => slow.on("data", (bytes) => String(bytes).includes("too_slow") && resolve()));
    slow.resume();
    await closed;

    const told = [
      ["slow-1", "closed", "reads too slowly for a channel without history", "too_slow"],
      ["denied-1", "refused", /no grant for subscribe on `chat:attic`, and the namespace `chat`/, "permission_denied"],
      ["stale-1", "refused", "expired", "token_expired"],
      ["expired-1", "closed", "the token has expired", "token_expired"],
    ];
    for (const [session, what, why, reason] of told) {
      await page.goto(`${strict.addresses.admin}/#sessions`);
      await page.fill("#sessions-text", session);
      await page.press("#sessions-text", "Enter");
      const line = page.locator("#sessions-list tbody tr", { hasText: what }).filter({ hasText: why }).filter({ hasText: reason });
      await line.waitFor();
      assert.ok(await line.locator(".tag.bad").count(), `${session} stands out`);
      await line.getByRole("link", { name: session }).click();
      await page.locator('#story li[data-kind="bad"]', { hasText: what }).filter({ hasText: why }).waitFor();
      assert.match(await page.textContent("#session-line"), /not on this node/);
      assert.ok(await isNarrowEnough(page));
      await pictures(page, `admin-session-${session}`);
    }
    await end({ page, context });
  } finally {
    await strict.stop();
  }
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
  // The line comes by another way than the answer.
  const told = () => broker.lines.some((line) => line.includes("log_level_changed"));
  for (let n = 0; n < 100 && !told(); n += 1) await new Promise((resolve) => setTimeout(resolve, 50));
  assert.ok(told(), broker.lines.join("\n"));
  await end({ page, context });
});

const freePort = () =>
  new Promise((resolve) => {
    const server = net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

test("a cluster is drawn with its links and slots, and a node that dies is seen to be missing", async () => {
  const ports = [await freePort(), await freePort(), await freePort()];
  const seeds = `cluster.seeds=[${ports.map((port) => `"127.0.0.1:${port}"`).join(", ")}]`;
  const nodes = await Promise.all(
    ports.map((port, at) => startBroker('cluster.keys=["a secret of the browser test"]', `cluster.listen=127.0.0.1:${port}`, `cluster.node=node-${at + 1}`, seeds)),
  );
  const { page, context } = await visitor(browser);
  try {
    await page.goto(`${nodes[0].addresses.admin}/#cluster`);
    await page.waitForFunction(() => document.querySelectorAll('#cluster-map circle[data-kind="good"]').length === 3, undefined, { timeout: 30_000 });
    await page.waitForFunction(() => document.querySelectorAll('#cluster-map line[data-kind="good"]').length === 2);
    for (let n = 0; n < 30; n += 1) await nodes[n % 3].publish(`room-${n}`, { n });
    await page.locator("#cluster-line", { hasText: "whole" }).waitFor();
    await page.locator("#cluster-nodes tr", { hasText: "node-1 (this one)" }).waitFor();
    assert.match(await page.locator("#cluster-slots svg").getAttribute("aria-label"), /node-1 leads \d+, node-2 leads \d+, node-3 leads \d+/);
    await page.locator("#cluster-work tr", { hasText: "each has a copy" }).waitFor();
    assert.ok(await isNarrowEnough(page));
    await pictures(page, "admin-cluster-whole");
    // What only another node was asked for is listed here too.
    await page.goto(`${nodes[0].addresses.admin}/#channels`);
    await page.fill("#channels-prefix", "room-29");
    await page.press("#channels-prefix", "Enter");
    await page.locator("#channels-list tr", { hasText: "room-29" }).waitFor();
    await nodes[2].kill();
    await page.goto(`${nodes[0].addresses.admin}/#cluster`);
    await page.locator("#cluster-nodes tr", { hasText: /node-3.*(down|silent)/s }).waitFor({ timeout: 15_000 });
    await page.locator("#cluster-links tr", { hasText: /node-3.*down/s }).waitFor();
    await pictures(page, "admin-cluster-missing");
    await end({ page, context });
  } finally {
    await Promise.all([nodes[0].stop(), nodes[1].stop()]);
  }
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
