/**
 * A {@link Clock} that stands still until a test moves it. Timers run inside `advance`, in the
 * order real ones would: by due time, then by age. Nothing here knows promises: code that
 * awaits between two timers needs a turn of the event loop between two calls of `advance`.
 */

import type { Clock, Timer } from '../../src/core/clock.ts';

interface Entry {
  readonly dueAt: number;
  readonly fn: () => void;
}

const MAX_DELAY_MS = 2 ** 31 - 1;

export class FakeClock implements Clock {
  #now = 0;
  readonly #wallStart: number;
  readonly #timers = new Set<Entry>();

  /** `wallStart`: Unix time in milliseconds at `now() === 0`. */
  constructor(wallStart = Date.UTC(2026, 0, 1)) {
    this.#wallStart = wallStart;
  }

  now(): number {
    return this.#now;
  }

  wallNow(): number {
    return this.#wallStart + this.#now;
  }

  /** Like Node's: less than 1 ms is 1 ms, so a timer that renews itself cannot stop time. */
  setTimeout(fn: () => void, delayMs: number): Timer {
    const delay = delayMs >= 1 ? Math.min(delayMs, MAX_DELAY_MS) : 1;
    const entry: Entry = { dueAt: this.#now + delay, fn };
    this.#timers.add(entry);
    return entry as unknown as Timer;
  }

  setIdleTimeout(fn: () => void, delayMs: number): Timer {
    return this.setTimeout(fn, delayMs);
  }

  clearTimeout(timer: Timer): void {
    this.#timers.delete(timer as unknown as Entry);
  }

  /** Timers that are set and have neither run nor been cleared: 0 after a clean shutdown. */
  get pending(): number {
    return this.#timers.size;
  }

  /** Milliseconds from now to the next timer; undefined when there is none. */
  get nextInMs(): number | undefined {
    const next = this.#earliest();
    return next === undefined ? undefined : next.dueAt - this.#now;
  }

  /** Moves time by `ms` and runs all that falls due, timers set on the way included. */
  advance(ms: number): void {
    const end = this.#now + ms;
    for (let next = this.#earliest(); next && next.dueAt <= end; next = this.#earliest()) {
      this.#timers.delete(next);
      this.#now = next.dueAt;
      next.fn();
    }
    this.#now = end;
  }

  #earliest(): Entry | undefined {
    let earliest: Entry | undefined;
    for (const entry of this.#timers) {
      if (earliest === undefined || entry.dueAt < earliest.dueAt) earliest = entry;
    }
    return earliest;
  }
}
