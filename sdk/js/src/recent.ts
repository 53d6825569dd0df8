// Messages that were seen lately, so that one which comes twice is shown once.

/** Ids remembered for each channel. */
const KEPT = 512;
/** The broker takes a repeated id for a new message after this time, in milliseconds; so do we. */
const WINDOW = 120_000;

/** The ids a channel brought lately, and when each was accepted. */
export class Recent {
  readonly #times = new Map<string, number>();

  /** Notes it, and says whether it had come before. */
  sees({ id, time }: { id: string; time: number }): boolean {
    const before = this.#times.get(id);
    // A publisher may use an id again later on, and means another message.
    if (before !== undefined && Math.abs(time - before) <= WINDOW) return true;
    this.#times.delete(id);
    this.#times.set(id, time);
    if (this.#times.size > KEPT) this.#times.delete(this.#times.keys().next().value as string);
    return false;
  }
}
