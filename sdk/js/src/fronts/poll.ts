// Long-poll: one request after another.

import { told } from "../error.js";
import type { Session } from "../session.js";
import { Together } from "../together.js";

/** An empty answer that comes faster than this was not held by the broker, in milliseconds. */
const HELD = 200;

export async function poll(session: Session): Promise<void> {
  const together = new Together(session, session.around.subscriptions.values());
  await together.align();
  for (let quick = 0; !session.over; ) {
    const asked = Date.now();
    const brought = session.brought;
    session.brought = false;
    // The first one is short: a poll that is held says nothing for a long time, also about whether polls get through.
    const after = await together.poll(!session.openedAt);
    if (after) throw told({ code: "draining", message: "this node is leaving" }, after);
    quick = session.brought || Date.now() - asked > HELD ? 0 : quick + 1;
    session.brought ||= brought;
    if (quick > 3) throw new Error("polls come back at once");
  }
}
