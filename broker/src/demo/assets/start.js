import { ask, clock, element, listen, showState } from "./live.js";

const CHANNEL = "demo:hello";
const SHOWN_MAX = 5;

const byId = (id) => document.getElementById(id);
const heard = byId("heard");

for (const code of document.querySelectorAll("[data-origin]")) {
  code.textContent = code.textContent.replaceAll("ORIGIN", location.origin);
}
for (const button of document.querySelectorAll(".copy")) {
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(button.previousElementSibling.textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select and copy";
    }
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
}

function show(message) {
  const { data } = message;
  const line = element("li");
  const text = typeof data === "string" ? data : (data?.text ?? JSON.stringify(data));
  line.append(element("time", "", clock(new Date(message.time))), element("span", "", String(text)));
  heard.prepend(line);
  while (heard.children.length > SHOWN_MAX) heard.lastChild.remove();
  byId("quiet").hidden = true;
}

listen({
  // With envelope=1 each event is the whole message, so that the time it was accepted comes along.
  url: (cursor) => `/sse?channel=${encodeURIComponent(CHANNEL)}&envelope=1&${cursor ? `since=${cursor}` : `last=${SHOWN_MAX}`}`,
  on: { message: show },
  onState: (state) => showState(byId("connection"), state),
});

const greetings = ["good news", "tea is ready", "the build is green", "a parcel has arrived", "the ferry sails at nine", "it has stopped raining"];
let next = Math.floor(Math.random() * greetings.length);
byId("publish").addEventListener("click", async () => {
  const failed = byId("failed");
  try {
    await ask("POST", "/v1/publish", { channel: CHANNEL, data: { text: greetings[next++ % greetings.length] } });
    failed.hidden = true;
  } catch (error) {
    failed.textContent = `Not published: ${error.message}.`;
    failed.hidden = false;
  }
});
