// Prices: one channel for each of the goods, and of each only what is newest.

import { follow, Tidings } from "./client.js";
import { element } from "./live.js";
import { Spark } from "./spark.js";

const CHANNELS = "ticker:{demo}:";
const GOODS = ["acorns", "feathers", "lanterns", "maps", "sealing-wax"];
const AWAY_MS = 5000;
/** The line shows so many percent up and down. */
const RANGE = 20;
const byId = (id) => document.getElementById(id);

const tidings = new Tidings();
follow(tidings, byId("connection"));
let received = 0;
let drawn = 0;
/** Rows with a price that is not on the screen yet. */
const fresh = new Set();

const rows = GOODS.map((name) => {
  const row = element("tr");
  const title = element("th", "", name.replace("-", " "));
  title.scope = "row";
  const price = element("td", "number", "–");
  const change = element("td", "number");
  const line = element("td", "line");
  const canvas = element("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Prices of ${name} lately`);
  line.append(canvas);
  row.append(title, price, change, line);
  byId("prices").append(row);
  return { name, price, change, spark: new Spark(canvas, { points: 40, top: 2 * RANGE }), first: null, newest: null, subscription: null };
});

function draw() {
  for (const row of fresh) {
    const { cents, first } = { cents: row.newest, first: (row.first ??= row.newest) };
    const percent = ((cents - first) / first) * 100;
    row.price.textContent = (cents / 100).toFixed(2);
    row.change.textContent = `${percent < 0 ? "−" : "+"}${Math.abs(percent).toFixed(1)} %`;
    row.change.className = `number ${percent < 0 ? "down" : "up"}`;
    row.spark.push([Math.max(0, RANGE + percent)]);
    drawn++;
  }
  fresh.clear();
  byId("counts").textContent = `${received} prices received, ${drawn} drawn.`;
}

function listen() {
  for (const row of rows) {
    row.subscription = tidings.subscribe(CHANNELS + row.name, { last: 1 }).on("message", ({ data }) => {
      if (!Number.isFinite(data?.cents)) return;
      received++;
      row.newest = data.cents;
      // A page in the background is not drawn at all; when it is shown again, each row has its newest price.
      if (!fresh.size) requestAnimationFrame(draw);
      fresh.add(row);
    });
  }
}

byId("away").addEventListener("click", ({ target }) => {
  target.disabled = true;
  for (const row of rows) row.subscription.close();
  byId("told").textContent = "Looking away: nothing is received.";
  setTimeout(() => {
    const before = received;
    listen();
    target.disabled = false;
    // Everything that was kept would have come in the first rush; the last one of each is all that does.
    setTimeout(() => (byId("told").textContent = `Back: ${received - before} prices came at once, not the ${AWAY_MS / 200} that were missed.`), 400);
  }, AWAY_MS);
});
listen();
