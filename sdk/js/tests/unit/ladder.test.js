import assert from "node:assert/strict";
import { test } from "node:test";
import { Ladder } from "../../build/ladder.js";

const ALL = ["websocket", "sse", "stream", "poll"];
const ladder = (fronts = ALL) => new Ladder(fronts, 1000, 30_000, 30_000);
const broken = { end: "broken", after: 0, span: undefined, brought: false };
const silent = { ...broken, end: "silent" };
const lost = { end: "lost", after: 0, span: 500, brought: false };

test("fronts that never worked are tried one after another at once, and only then there is a pause", () => {
  const it = ladder();
  const tried = [];
  const waits = [];
  for (let n = 0; n < 5; n++) {
    tried.push(it.front);
    waits.push(it.next(broken) > 0);
  }
  assert.deepEqual(tried, [...ALL, "websocket"]);
  assert.deepEqual(waits.slice(0, 4), [false, false, false, true]);
});

test("a front that worked is given three tries before the next one is", () => {
  const it = ladder();
  it.next({ ...lost, brought: true });
  assert.equal(it.front, "websocket");
  for (const expected of ["websocket", "websocket", "sse"]) {
    it.next(broken);
    assert.equal(it.front, expected);
  }
});

test("a front that is cut again and again before it brings anything is given up", () => {
  const it = ladder();
  for (let n = 0; n < 3; n++) it.next(lost);
  assert.equal(it.front, "sse");
});

test("when one stream is held back, the other one is not even tried", () => {
  const it = ladder();
  it.next(broken);
  assert.equal(it.front, "sse");
  assert.equal(it.next(silent), 0);
  assert.equal(it.front, "poll");
});

test("a front that falls silent after a good while is tried again", () => {
  const it = ladder();
  for (let n = 0; n < 10; n++) it.next({ ...silent, span: 3_600_000, brought: true });
  assert.equal(it.front, "websocket");
  // With nothing after its first word, it only looked as if it worked.
  for (let n = 0; n < 3; n++) it.next({ ...silent, span: 0, brought: true });
  assert.equal(it.front, "poll".replace("poll", "sse"));
});

test("waits grow up to the bound, are drawn at random, and are never shorter than the broker says", () => {
  const it = ladder(["poll"]);
  const waits = Array.from({ length: 400 }, () => it.next(broken));
  assert.ok(waits[0] < 1000);
  assert.ok(waits.slice(6).every((wait) => wait >= 15_000 && wait <= 30_000));
  assert.ok(new Set(waits).size > 300);
  assert.equal(it.next({ ...broken, end: "told", after: 44_000 }), 44_000);
  it.next({ ...lost, brought: true });
  assert.ok(it.next({ ...lost, brought: true }) <= 1000, "what worked is tried again soon");
});

test("a better front is tried later and later, and soon again on another network", () => {
  const it = ladder();
  assert.equal(it.upgrade, undefined);
  it.next(broken);
  assert.equal(it.upgrade, 30_000);
  it.tried(undefined);
  assert.equal(it.upgrade, 60_000);
  for (let n = 0; n < 20; n++) it.tried(undefined);
  assert.equal(it.upgrade, 600_000);
  it.anew();
  assert.equal(it.upgrade, 30_000);
  it.tried(0);
  assert.equal(it.front, "websocket");
  it.next({ ...lost, end: "changed" });
  assert.equal(it.front, "websocket");
});
