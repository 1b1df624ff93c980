/** The waits that hang on a run's end: the only timers of the demo run API, one for each. */

import type { Clock, Timer } from '../core/clock.ts';
import { endsAtMs, type Run } from './run.ts';

/** Holds a wait until its run ends, its time is up or its client leaves. */
export class WaitRoom {
  readonly #clock: Clock;
  /** Who is to look again, and when. */
  readonly #timers = new Map<() => void, Timer>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Calls `done` once the run is over or `timeoutMs` have passed, at once if it is over already.
   * The returned function forgets the wait; calling it too late is harmless.
   */
  hang(run: Run, timeoutMs: number, done: () => void): () => void {
    const deadlineMs = this.#clock.now() + timeoutMs;
    // It looks instead of trusting its timer, which may be early where a cancel is earlier still.
    const look = (): void => {
      this.#forget(look);
      const leftMs = Math.min(endsAtMs(run), deadlineMs) - this.#clock.now();
      if (leftMs <= 0) done();
      else this.#timers.set(look, this.#clock.setTimeout(look, Math.ceil(leftMs)));
    };
    look();
    return () => this.#forget(look);
  }

  /** A run ended sooner than it was to. That is rare, so all look again. */
  wake(): void {
    for (const look of [...this.#timers.keys()]) look();
  }

  /** Forgets every wait, without a call. */
  close(): void {
    for (const look of this.#timers.keys()) this.#forget(look);
  }

  #forget(look: () => void): void {
    const timer = this.#timers.get(look);
    if (timer !== undefined) this.#clock.clearTimeout(timer);
    this.#timers.delete(look);
  }
}
