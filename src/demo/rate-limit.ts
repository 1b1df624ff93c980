/** How many requests a client address may make in a minute. One fixed window for all of them. */

import type { Clock } from '../core/clock.ts';

const WINDOW_MS = 60_000;

/** Counts by address. The addresses of one minute are kept, no older ones. */
export class RateLimit {
  readonly perMinute: number;
  readonly #clock: Clock;
  readonly #taken = new Map<string, number>();
  #endsAtMs = 0;

  constructor(clock: Clock, perMinute: number) {
    this.#clock = clock;
    this.perMinute = perMinute;
  }

  /** Counts a request; how many its client has left. Below zero, it was one too many. */
  take(client: string): number {
    const nowMs = this.#clock.now();
    if (nowMs >= this.#endsAtMs) {
      this.#taken.clear();
      this.#endsAtMs = nowMs + WINDOW_MS;
    }
    const taken = (this.#taken.get(client) ?? 0) + 1;
    this.#taken.set(client, taken);
    return this.perMinute - taken;
  }

  /** Milliseconds until the window ends and everybody starts from zero. */
  get resetMs(): number {
    return this.#endsAtMs - this.#clock.now();
  }
}
