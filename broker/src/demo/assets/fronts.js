// One client for each front, and the same channel for all of them.

import { follow, NAMES, Tidings } from "./client.js";
import { element } from "./live.js";

const CHANNEL = "demo:fronts";
const SHOWN_MAX = 5;
const byId = (id) => document.getElementById(id);
const now = () => performance.timeOrigin + performance.now();

const publisher = new Tidings();
follow(publisher, byId("connection"));
// Whatever front this one takes, it also counts what there is to hear.
let published = 0;
publisher.subscribe(CHANNEL).on("message", () => {
  published++;
  byId("said").textContent = `${published} published since this page was opened.`;
});

function card(front) {
  const made = element("article", "card front");
  made.dataset.front = front;
  const header = element("header");
  const button = element("button", "quiet", "Take off");
  button.type = "button";
  header.append(element("h2", "", NAMES[front]), button);
  const pill = element("span", "pill", "connecting…");
  const figures = element("dl");
  const figure = (name) => {
    const value = element("dd", "", "–");
    const pair = element("div");
    pair.append(element("dt", "", name), value);
    figures.append(pair);
    return value;
  };
  const [received, delay] = [figure("Received"), figure("Delay")];
  const list = element("ol");
  list.setAttribute("aria-label", `Messages by ${NAMES[front]}`);
  made.append(header, pill, figures, list);
  byId("fronts").append(made);

  let count = 0;
  let cursor;
  let tidings;
  const note = (text, more, kind = "") => {
    const line = element("li", kind);
    line.append(element("span", "", text), element("span", "muted", more));
    list.prepend(line);
    while (list.children.length > SHOWN_MAX) list.lastChild.remove();
  };
  const begin = () => {
    tidings = new Tidings("/", { fronts: [front] });
    follow(tidings, pill, () => "connected");
    const subscription = tidings.subscribe(CHANNEL, cursor ? { since: cursor } : {});
    const keep = () => (cursor = subscription.cursor ?? cursor);
    subscription
      .on("subscribed", keep)
      .on("message", ({ data }) => {
        keep();
        received.textContent = String(++count);
        const took = `${Math.max(0, now() - data?.sent).toFixed(0)} ms`;
        delay.textContent = took;
        note(`#${data?.n}`, took);
      })
      .on("gap", ({ reason }) => note("messages are missing", reason, "gap"));
  };
  button.addEventListener("click", () => {
    if (tidings.state.name === "closed") {
      button.textContent = "Take off";
      return begin();
    }
    tidings.close();
    button.textContent = "Let back";
    pill.textContent = "off the line";
    return undefined;
  });
  begin();
}

for (const front of Object.keys(NAMES)) card(front);

let last = 0;
async function publish(many) {
  for (let n = 0; n < many; n++) {
    try {
      await publisher.publish(CHANNEL, { n: ++last, sent: now() });
    } catch (error) {
      byId("said").textContent = `Not published: ${error.message}.`;
      return;
    }
  }
}
byId("one").addEventListener("click", () => publish(1));
byId("many").addEventListener("click", () => publish(20));
