/**
 * How soon the next request may go to upstream: by the rate that was given to us or read from its
 * answers, by what they say remains, and after a 429. Pure arithmetic over monotonic milliseconds;
 * who waits for it is `budget.ts`.
 */

import { backoffMs } from '../core/backoff.ts';
import type { Allowance } from './rate-limit.ts';

/** At most so many requests within any time of this length. */
export interface Rate {
  readonly requests: number;
  readonly perMs: number;
}

/** Of the rate, left to joins and ends: routine polls may not use it up. */
const RESERVE = 0.1;
/**
 * A request may be on its way for a moment, an earlier one longer than a later one: so much longer
 * than the rate's time it counts. A hundredth, or 300 ms where that is more, but never a quarter.
 */
const MARGIN = { share: 0.01, ms: 300, most: 0.25 };
/** After a 429 so many requests are under way at once; each answer doubles it. */
const SLOW_START = 2;
/** Doubled above that it is no bound any more. */
const MAX_SLOW_START = 64;
/** Upstream has a request after this long at the latest. */
const MAX_TRIP_MS = 1_000;

interface Told {
  readonly remaining: number;
  readonly until: number;
  readonly limit: number;
}

/** What may be sent, and when. */
export class Quota {
  #rate: Rate | undefined;
  readonly #isGiven: boolean;
  readonly #random: () => number;
  /** When each request of the last `perMs` was sent; those before the head are over. */
  #sent: number[] = [];
  #head = 0;
  #routineAt = -Infinity;
  #told: Told | undefined;
  #pausedUntil = -Infinity;
  /** Answers 429 in a row. */
  #limited = 0;
  #slowStart = Infinity;
  #underway = 0;

  constructor(rate: Rate | undefined, random: () => number) {
    this.#rate = rate;
    this.#isGiven = rate !== undefined;
    this.#random = random;
  }

  /** Of the rate, what routine polls may use. */
  readonly routineShare = 1 - RESERVE;

  /** Undefined: nobody has said. */
  get rate(): Rate | undefined {
    return this.#rate;
  }

  /** Requests that may still be sent now; Infinity where nothing is known. */
  left(now: number): number {
    if (now < this.#pausedUntil) return 0;
    this.#forget(now);
    const ours = this.rate === undefined ? Infinity : this.rate.requests - this.used(now);
    return Math.max(0, Math.min(ours, this.#told?.remaining ?? Infinity));
  }

  /** Requests that count now, by the rate. */
  used(now: number): number {
    const { perMs } = this.rate ?? { perMs: 0 };
    const overAt = now - countedMs(perMs);
    while ((this.#sent[this.#head] ?? Infinity) <= overAt) this.#head++;
    if (this.#head > 1024 && this.#head > this.#sent.length / 2) {
      this.#sent = this.#sent.slice(this.#head);
      this.#head = 0;
    }
    return this.#sent.length - this.#head;
  }

  /**
   * Milliseconds until a request may go with `ahead` others before it; 0: now. A routine one
   * leaves a reserve, and keeps its distance from the one before. Infinity: when an answer is in.
   */
  delayMs(now: number, isRoutine: boolean, ahead = 0): number {
    this.#forget(now);
    if (now < this.#pausedUntil) return this.#pausedUntil - now;
    if (this.#underway >= this.#slowStart) return Infinity;
    const inWindow = this.#windowDelayMs(now, isRoutine, ahead + 1);
    return Math.max(inWindow, this.#toldDelayMs(now, isRoutine, ahead + 1));
  }

  /** A request goes out. */
  spend(now: number, isRoutine: boolean): void {
    this.#underway++;
    if (this.rate !== undefined) this.#sent.push(now);
    if (this.#told) this.#told = { ...this.#told, remaining: this.#told.remaining - 1 };
    if (isRoutine) this.#routineAt = now;
  }

  /**
   * The request that was sent at `sentAt` has reached upstream by now, but who knows when: it
   * counts from now. One that is held back was there long ago.
   */
  onArrived(sentAt: number, now: number): void {
    if (this.#rate === undefined || now - sentAt > MAX_TRIP_MS) return;
    const index = this.#sent.findLastIndex((at) => at <= sentAt);
    if (index < this.#head) return;
    this.#sent.splice(index, 1);
    this.#sent.push(now);
  }

  /** Its answer has come, or its failure. */
  settle(now: number, isLimited: boolean, retryAfterMs?: number, allowance?: Allowance): void {
    this.#underway--;
    if (isLimited) {
      this.#limited++;
      this.#slowStart = SLOW_START;
      const floorMs = allowance?.remaining === 0 ? allowance.resetMs : 0;
      const askedMs = backoffMs(this.#limited, floorMs, retryAfterMs, this.#random);
      // One that says the same time and again does not say enough.
      const againMs = this.#limited === 1 ? 0
        : backoffMs(this.#limited, 0, undefined, this.#random);
      const pauseMs = Math.max(askedMs, againMs);
      this.#pausedUntil = Math.max(this.#pausedUntil, now + pauseMs);
      this.#told = undefined;
      return;
    }
    this.#limited = 0;
    if (this.#slowStart < MAX_SLOW_START) this.#slowStart *= 2;
    else this.#slowStart = Infinity;
    if (allowance === undefined) return;
    this.#learn(allowance);
    const { remaining, resetMs, limit = remaining } = allowance;
    // Those that are under way may or may not be counted already.
    const left = Math.max(0, remaining - this.#underway);
    this.#told = { remaining: left, until: now + resetMs, limit };
  }

  /** The longest time to a reset that was seen is the time that the limit is for. */
  #learn({ limit = 0, resetMs }: Allowance): void {
    if (this.#isGiven || limit < 1 || resetMs <= 0) return;
    this.#rate = { requests: limit, perMs: Math.max(resetMs, this.#rate?.perMs ?? 0) };
  }

  /** What was told of a time that is over. */
  #forget(now: number): void {
    if (this.#told !== undefined && now >= this.#told.until) this.#told = undefined;
  }

  /** A request that was to go does not. */
  giveBack(): void {
    // Which of the times was its own is not known: they stay.
    this.#underway--;
  }

  /** When `count` requests more have room in the rate, its reserve left alone. */
  roomAt(now: number, count: number): number {
    return now + this.#windowRoomMs(now, this.#cap(true), count);
  }

  #windowDelayMs(now: number, isRoutine: boolean, count: number): number {
    if (this.rate === undefined) return 0;
    const { perMs } = this.rate;
    const roomMs = this.#windowRoomMs(now, this.#cap(isRoutine), count);
    const apartMs = isRoutine ? this.#routineAt + perMs / this.#cap(true) - now : 0;
    return Math.max(0, roomMs, apartMs);
  }

  #windowRoomMs(now: number, cap: number, count: number): number {
    if (this.rate === undefined) return 0;
    const overMs = countedMs(this.rate.perMs);
    const missing = this.used(now) + count - cap;
    if (missing <= 0) return 0;
    // So many must be over before; where even all are not enough, whole times pass.
    const rounds = Math.floor((missing - 1) / cap);
    const oldest = this.#sent[this.#head + (missing - 1) - rounds * cap] ?? now;
    return Math.max(0, oldest + overMs * (1 + rounds) - now);
  }

  #cap(isRoutine: boolean): number {
    const { requests } = this.rate ?? { requests: Infinity };
    return isRoutine ? Math.max(1, Math.floor(requests * (1 - RESERVE))) : requests;
  }

  #toldDelayMs(now: number, isRoutine: boolean, count: number): number {
    if (this.#told === undefined) return 0;
    const { remaining, until, limit } = this.#told;
    const usable = isRoutine ? remaining - Math.floor(limit * RESERVE) : remaining;
    if (usable < count) return until - now;
    if (!isRoutine) return 0;
    return Math.max(0, this.#routineAt + (until - now) / usable - now);
  }
}

/** How long a request counts that was sent now. */
export function countedMs(perMs: number): number {
  return perMs + Math.max(perMs * MARGIN.share, Math.min(MARGIN.ms, perMs * MARGIN.most));
}
