/**
 * The only place that makes timers. Everything else is handed a {@link Clock}, so that unit
 * tests can move time by hand and nothing in them sleeps.
 */

/** A pending timer, opaque to its owner. */
export type Timer = { readonly timer: unique symbol } | NodeJS.Timeout;

/** Time as everything here is given it. */
export interface Clock {
  /** Monotonic milliseconds; only differences mean anything, wall-clock steps do not show. */
  now(): number;
  /** Unix time in milliseconds: for people and for `Date` headers, never for intervals. */
  wallNow(): number;
  /** Calls `fn` once after `delayMs` (at most 2^31-1: above it Node would fire at once). */
  setTimeout(fn: () => void, delayMs: number): Timer;
  /** The same, but the process need not stay for it. */
  setIdleTimeout(fn: () => void, delayMs: number): Timer;
  clearTimeout(timer: Timer): void;
}

const MAX_DELAY_MS = 2 ** 31 - 1;

/** The real clock. Its timers keep the process alive: their owners must clear them. */
export const systemClock: Clock = {
  now: () => performance.now(),
  wallNow: () => Date.now(),
  setTimeout: (fn, delayMs) => setTimeout(fn, Math.min(delayMs, MAX_DELAY_MS)),
  setIdleTimeout: (fn, delayMs) => setTimeout(fn, Math.min(delayMs, MAX_DELAY_MS)).unref(),
  clearTimeout: (timer) => clearTimeout(timer as NodeJS.Timeout),
};
