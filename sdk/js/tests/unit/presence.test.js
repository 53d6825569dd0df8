import assert from "node:assert/strict";
import { test } from "node:test";
import { Presence } from "../../build/presence.js";

/** A broker that says these lines on each connection, one connection after the other, and then nothing. */
function broker(...connections) {
  const asked = [];
  const fetch = async (url, { signal }) => {
    asked.push(String(url));
    if (signal?.aborted) throw new Error("aborted");
    const said = connections.shift();
    if (typeof said === "object" && !Array.isArray(said)) {
      return new Response(JSON.stringify({ error: said }), { status: 403, headers: { "content-type": "application/json" } });
    }
    const body = new ReadableStream({
      start(controller) {
        const encoder = new TextEncoder();
        for (const line of said ?? []) controller.enqueue(encoder.encode(typeof line === "string" ? line : `${JSON.stringify(line)}\n`));
        if (said) controller.close();
        else signal.addEventListener("abort", () => controller.error(new Error("aborted")));
      },
    });
    return new Response(body, { headers: { "content-type": "application/x-ndjson" } });
  };
  return { fetch, asked };
}

const notice = (more) => ({ presence: { channel: "a", users: 0, anonymous: 0, connections: 0, ...more } });

/** Resolves with so many changes. */
function changes(presence, count) {
  const seen = [];
  return new Promise((resolve) => {
    presence.on("change", (change) => {
      seen.push(change);
      if (seen.length === count) resolve(seen);
    });
  });
}

test("the list is what is here, and follows who joins and leaves", async () => {
  const { fetch, asked } = broker([
    notice({ users: 1, here: [{ user: "ann", info: { n: 1 } }] }),
    '{"presence":{"channel":"a","users":2,"anonymous":1,"connections":3,"joi',
    'ned":[{"user":"bob"}]}}\n',
    { heartbeat: {} },
    notice({ users: 1, left: ["ann"] }),
  ]);
  const presence = new Presence("http://broker.test/below", "a", { fetch });
  const seen = await changes(presence, 3);
  assert.deepEqual(seen.map(({ joined, left }) => [joined.map(({ user }) => user), left]), [[["ann"], []], [["bob"], []], [[], ["ann"]]]);
  assert.deepEqual([...presence.users.keys()], ["bob"]);
  assert.equal(seen[1].anonymous, 1);
  assert.equal(asked[0], "http://broker.test/below/stream?channel=a&presence=1");
  presence.close();
});

test("after a cut only what is other is told, and of a large channel only counts", async () => {
  const { fetch } = broker(
    [notice({ users: 2, here: [{ user: "ann" }, { user: "bob" }] })],
    [notice({ users: 2, here: [{ user: "bob" }, { user: "cid" }] }), notice({ users: 5000, counts_only: true })],
  );
  const presence = new Presence("http://broker.test/", "a", { fetch });
  const seen = await changes(presence, 3);
  assert.deepEqual([seen[1].joined.map(({ user }) => user), seen[1].left], [["cid"], ["ann"]]);
  assert.equal(seen[2].counts_only, true);
  assert.equal(presence.users.size, 0);
  presence.close();
});

test("a refusal ends it, and so does close", async () => {
  const { fetch } = broker({ code: "permission_denied", message: "no", retry: false });
  const presence = new Presence("http://broker.test/", "a", { fetch });
  const error = await new Promise((resolve) => presence.on("closed", resolve));
  assert.equal(error.code, "permission_denied");
  const other = new Presence("http://broker.test/", "a", { fetch: broker().fetch });
  const closed = new Promise((resolve) => other.on("closed", resolve));
  other.close();
  assert.equal(await closed, undefined);
});

test("a page is asked for by name", async () => {
  const asked = [];
  const fetch = async (url) => {
    asked.push(String(url));
    return Response.json({ channel: "a/b", users: 1, anonymous: 0, connections: 1, members: [{ user: "ann", connections: 1 }] });
  };
  const presence = new Presence("http://broker.test/", "a/b", { fetch });
  presence.close();
  const page = await presence.page({ after: "aaa", limit: 5 });
  assert.equal(page.members[0].user, "ann");
  assert.equal(asked.at(-1), "http://broker.test/v1/channels/a%2Fb/presence?after=aaa&limit=5");
});
