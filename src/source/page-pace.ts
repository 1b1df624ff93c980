/**
 * When the next page of a list is asked for: as often as joins and ends leave a place, and evenly.
 * Places in the budget come free as they were taken: a burst would come back as one for ever, with
 * nothing free in between.
 *
 * The arithmetic for 1,000 runs, ten pages, in 100 requests a minute: a join takes one request, and
 * so does an end, since the list shows no outputs. Fifteen of each leave 70 places, of which seven
 * stay free, for by chance one minute in ten has seven joins and ends more, and a full budget
 * makes all wait. A place is taken for 60.6 s: so a page goes every 962 ms, and each comes around
 * in 9.6 s. An end is known after 4.8 s in the mean and 9.6 at most, one page later for a run that
 * has moved on to the next one; then one request tells it. Thirty of each leave 33 pages a minute,
 * and 18 s. There is no way around it but fewer pages.
 */

import type { Clock, Timer } from '../core/clock.ts';
import { countedMs } from './quota.ts';
import type { Quota } from './quota.ts';

/** Of a budget, the most and the least that pages take, and what stays free beside all. */
const MOST = 0.75;
const LEAST = 0.3;
const SPARE = 0.07;
/** So many pages that came late are made up for at once. */
const CATCH_UP = 2;

/** One page after the other. */
export class PagePace {
  readonly #clock: Clock;
  readonly #quota: Quota;
  /** When each page went that counts still. */
  #sent: number[] = [];
  #at = -Infinity;
  #timer: Timer | undefined;
  #wake: (() => void) | undefined;

  constructor(clock: Clock, quota: Quota) {
    this.#clock = clock;
    this.#quota = quota;
  }

  /** From one to the next. */
  get gapMs(): number {
    const { rate } = this.#quota;
    if (rate === undefined) return 0;
    const now = this.#clock.now();
    const overMs = countedMs(rate.perMs);
    this.#sent = this.#sent.filter((at) => at > now - overMs);
    const others = this.#quota.used(now) - this.#sent.length;
    const free = rate.requests * (1 - SPARE) - others;
    return overMs / Math.min(rate.requests * MOST, Math.max(rate.requests * LEAST, free));
  }

  /** Resolves when it is time for one, or with `close`. */
  async next(): Promise<void> {
    const { gapMs } = this;
    const now = this.#clock.now();
    this.#at = Math.max(this.#at + gapMs, now - CATCH_UP * gapMs);
    if (this.#at > now) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        this.#timer = this.#clock.setTimeout(resolve, this.#at - now);
      });
    }
    if (this.#quota.rate !== undefined) this.#sent.push(this.#clock.now());
  }

  close(): void {
    if (this.#timer !== undefined) this.#clock.clearTimeout(this.#timer);
    this.#wake?.();
  }
}
