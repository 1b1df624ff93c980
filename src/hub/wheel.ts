/**
 * One coarse timer for all streams of a process: pings, ends and slow checks are noted in slots
 * of 50 ms, and each tick wakes the slots that are due. It ticks only while something waits.
 */

import type { Clock, Timer } from '../core/clock.ts';
import { MultiMap } from '../core/multimap.ts';

/** Everything on the wheel is late by up to this much. */
export const TICK_MS = 50;

/** Somebody who waits on the wheel, at one place at a time. */
export interface Sleeper {
  /** Where it waits; written by the wheel alone. -1: nowhere. */
  slot: number;
  onWake(now: number): void;
}

/** Wakes sleepers, each at most {@link TICK_MS} late. */
export class Wheel {
  readonly #clock: Clock;
  readonly #slots = new MultiMap<number, Sleeper>();
  #done: number;
  #timer: Timer | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#done = slotOf(clock.now());
  }

  /** Wakes `sleeper` once at `at` (monotonic ms), in place of any time set before. */
  schedule(sleeper: Sleeper, at: number): void {
    if (this.#timer === undefined) this.#done = slotOf(this.#clock.now());
    const slot = Math.max(Math.ceil(at / TICK_MS), this.#done + 1);
    if (sleeper.slot === slot) return;
    this.cancel(sleeper);
    sleeper.slot = slot;
    this.#slots.add(slot, sleeper);
    this.#timer ??= this.#untilNextSlot();
  }

  cancel(sleeper: Sleeper): void {
    this.#slots.delete(sleeper.slot, sleeper);
    sleeper.slot = -1;
    if (this.#slots.size > 0 || this.#timer === undefined) return;
    this.#clock.clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** In step with the slots, or what is due at the start of one would wait for its end. */
  #untilNextSlot(): Timer {
    const now = this.#clock.now();
    // Node cuts fractions off, and would fire just before the slot begins.
    const delayMs = Math.ceil((slotOf(now) + 1) * TICK_MS - now);
    return this.#clock.setTimeout(() => this.#onTick(), delayMs);
  }

  #onTick(): void {
    const now = this.#clock.now();
    const last = slotOf(now);
    this.#timer = this.#untilNextSlot();
    while (this.#done < last && this.#slots.size > 0) {
      for (const sleeper of this.#slots.get(++this.#done)) {
        this.cancel(sleeper);
        sleeper.onWake(now);
      }
    }
    this.#done = last;
  }
}

const slotOf = (now: number): number => Math.floor(now / TICK_MS);
