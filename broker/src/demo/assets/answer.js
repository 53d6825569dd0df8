// A question, and the answer word by word. What was read so far is kept with its cursor, so that a reload costs nothing.

import { follow, Tidings } from "./client.js";
import { freshId } from "./live.js";

const KEY = "tidings.answer";
const byId = (id) => document.getElementById(id);
const tidings = new Tidings();
follow(tidings, byId("connection"));

let subscription = null;
/** What this tab knows of its last answer: { id, question, text, cursor, done }. */
let known = null;

const keep = () => sessionStorage.setItem(KEY, JSON.stringify(known));

function show(status) {
  byId("text").textContent = known.text;
  byId("text").classList.toggle("writing", !known.done);
  byId("status").textContent = status;
}

function listen() {
  subscription?.close();
  subscription = null;
  byId("asked").textContent = known.question;
  if (known.done) return show("Finished.");
  show(known.cursor ? "Going on where this page was reloaded." : "Asked; waiting for the first word.");
  let words = 0;
  subscription = tidings
    .subscribe(`answer:${known.id}`, { since: known.cursor ?? "earliest" })
    .on("message", ({ event, data, cursor }) => {
      if (event === "end") known.done = true;
      else known.text += String(data);
      known.cursor = cursor;
      // Text and cursor are kept together: after a reload, what is shown and what is asked for meet exactly.
      keep();
      words++;
      show(known.done ? "Finished." : `${words} pieces since this page was opened.`);
      if (known.done) subscription.close();
    })
    .on("gap", ({ reason }) => {
      known.text += " […] ";
      show(`Some of it is missing (${reason}).`);
    });
  return undefined;
}

byId("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  const question = byId("question").value.trim();
  if (!question) return;
  known = { id: freshId(), question, text: "", cursor: null, done: false };
  keep();
  listen();
  try {
    await tidings.publish("demo:ask", { id: known.id, question });
    byId("failed").hidden = true;
  } catch (error) {
    byId("failed").textContent = `Not asked: ${error.message}.`;
    byId("failed").hidden = false;
  }
});
byId("reload").addEventListener("click", () => location.reload());

try {
  known = JSON.parse(sessionStorage.getItem(KEY));
} catch {
  // What cannot be read was not ours.
}
if (typeof known?.id === "string") listen();
