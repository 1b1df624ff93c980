/**
 * One coarse timer for all streams of a process: pings, ends and slow checks are noted in slots
 * of 50 ms, and each tick wakes the slots that are due. It ticks only where something waits.
 */

import type { Clock, Timer } from '../core/clock.ts';
import { MultiMap } from '../core/multimap.ts';

/** Everything on the wheel is late by up to this much. */
export const TICK_MS = 50;

/** Slots that are looked through for the next tick; behind them one is due in any case. */
const LOOK_AHEAD = 20;

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
  /** What the timer waits for. */
  #tick = Infinity;

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
    if (slot < this.#tick) this.#wait(slot);
  }

  cancel(sleeper: Sleeper): void {
    this.#slots.delete(sleeper.slot, sleeper);
    sleeper.slot = -1;
    if (this.#slots.size === 0) this.#stop();
  }

  #stop(): void {
    if (this.#timer !== undefined) this.#clock.clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#tick = Infinity;
  }

  /** Until the slot begins. */
  #wait(slot: number): void {
    this.#stop();
    this.#tick = slot;
    // Node cuts fractions off, and would fire just before.
    const delayMs = Math.ceil(slot * TICK_MS - this.#clock.now());
    this.#timer = this.#clock.setTimeout(() => this.#onTick(), delayMs);
  }

  #onTick(): void {
    const now = this.#clock.now();
    const last = slotOf(now);
    this.#wait(last + 1); // so that nobody who is woken sets it for a slot of this tick
    while (this.#done < last && this.#slots.size > 0) {
      for (const sleeper of this.#slots.get(++this.#done)) {
        this.cancel(sleeper);
        sleeper.onWake(now);
      }
    }
    this.#done = last;
    if (this.#slots.size > 0) this.#wait(this.#next());
  }

  /** The next slot in which somebody waits, as far as one looks. */
  #next(): number {
    let slot = this.#done + 1;
    while (slot < this.#done + LOOK_AHEAD && !this.#slots.has(slot)) slot++;
    return slot;
  }
}

const slotOf = (now: number): number => Math.floor(now / TICK_MS);
