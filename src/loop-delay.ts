/** How long the event loop of this process was held up, as a number for the metrics. */

import { monitorEventLoopDelay } from 'node:perf_hooks';

import type { Clock, Timer } from './core/clock.ts';
import type { Metrics } from './core/metrics.ts';

const WINDOW_MS = 10_000;
const RESOLUTION_MS = 100;

/**
 * The longest delay of this window of 10 s and of the one before: whoever looks every 20 s at the
 * least misses none. Keeps no process alive.
 */
export class LoopDelay {
  readonly #clock: Clock;
  readonly #delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  /** Nanoseconds. */
  #before = 0;
  #timer: Timer | undefined;

  constructor(clock: Clock, metrics: Metrics) {
    this.#clock = clock;
    metrics.read('runcast_event_loop_delay_max_seconds',
      () => Math.max(this.#before, this.#delay.max) / 1e9);
    this.#delay.enable();
    this.#next();
  }

  stop(): void {
    this.#delay.disable();
    if (this.#timer !== undefined) this.#clock.clearTimeout(this.#timer);
  }

  #next(): void {
    this.#timer = this.#clock.setIdleTimeout(() => {
      this.#before = this.#delay.max;
      this.#delay.reset();
      this.#next();
    }, WINDOW_MS);
  }
}
