// Which front is tried next, and how long to wait before. Takes what happened and the time, and starts nothing.

import type { End } from "./session.js";
import type { Front } from "./types.js";

/** A front that worked before is given up after so many failures in a row. */
const FAULTS = 3;
/** Bytes that come this long after the first one show that they really flow, in milliseconds. */
const FLOWING = 10_000;
/** Longest time between two tries of a better front, in milliseconds. */
const UPGRADE_MAX = 600_000;

/** What a stay was worth. */
export interface Stay {
  end: End["kind"];
  /** What the broker said to wait, in milliseconds. */
  after: number;
  /** From its first word to its last, in milliseconds; missing when there was none. */
  span: number | undefined;
  /** Messages came. */
  brought: boolean;
}

/** Fronts from the best to the worst, and the rung in use. */
export class Ladder {
  rung = 0;
  #faults = 0;
  #attempts = 0;
  #upgrade: number;
  readonly #proven = new Set<Front>();

  constructor(
    readonly fronts: readonly Front[],
    private readonly min: number,
    private readonly max: number,
    private readonly upgradeAfter: number,
  ) {
    this.#upgrade = upgradeAfter;
  }

  get front(): Front {
    return this.fronts[this.rung] as Front;
  }

  /** Time until a better front is tried, in milliseconds; nothing on the best one. */
  get upgrade(): number | undefined {
    return this.rung ? this.#upgrade : undefined;
  }

  /** A better front was tried. */
  tried(rung: number | undefined): void {
    if (rung === undefined) this.#upgrade = Math.min(this.#upgrade * 2, UPGRADE_MAX);
    else this.#move(rung);
  }

  /** The network is another one: what failed may work now. */
  anew(): void {
    this.#upgrade = this.upgradeAfter;
    this.#attempts = this.#faults = 0;
  }

  /** What to wait after this stay, in milliseconds. */
  next({ end, after, span, brought }: Stay): number {
    if (end === "changed" || end === "refused") return 0;
    if (span !== undefined) this.#proven.add(this.front);
    const flowed = span !== undefined && span >= FLOWING;
    if (flowed || (end === "lost" && brought)) this.#faults = this.#attempts = 0;
    else if (end !== "told") this.#faults++;
    if (end !== "told" && this.#faults && (!this.#proven.has(this.front) || this.#faults >= FAULTS)) {
      if (this.rung) this.tried(undefined);
      // Who holds back one stream holds back the other one, too.
      const held = end === "silent" && isStream(this.front);
      let rung = this.rung + 1;
      while (held && isStream(this.fronts[rung])) rung++;
      this.#move(rung);
      if (rung < this.fronts.length) return after;
      this.#move(0);
    }
    return Math.max(after, this.#backoff());
  }

  #move(rung: number): void {
    this.rung = rung;
    this.#faults = 0;
  }

  #backoff(): number {
    const most = Math.min(this.min * 2 ** this.#attempts, this.max);
    // At first anywhere from nothing on, so that all clients of a broker that fell spread; later at least half of it.
    const least = this.#attempts++ ? most / 2 : 0;
    return least + (most - least) * Math.random();
  }
}

const isStream = (front: Front | undefined): boolean => front === "sse" || front === "stream";
