/** How long to wait before the next try. Pure arithmetic; the caller owns the timer. */

const FIRST_MS = 2_000;
const LAST_MS = 30_000;
/** An hour: a `Retry-After` beyond it is taken for a mistake and cut to it. */
const MAX_RETRY_AFTER_MS = 3_600_000;

/**
 * Full jitter: anything between 0 and a ceiling that doubles from 2 s to 30 s with the
 * `failures` in a row, but never sooner than `floorMs`: trouble does not make polls faster. A
 * `Retry-After` is obeyed, with up to a tenth (at most 2 s) on top, so that all runs of one
 * outage do not come back in one instant.
 */
export function backoffMs(
  failures: number,
  floorMs: number,
  retryAfterMs: number | undefined,
  random: () => number,
): number {
  if (retryAfterMs !== undefined) {
    return Math.max(floorMs, retryAfterMs + random() * Math.min(retryAfterMs / 10, 2_000));
  }
  const ceiling = Math.min(LAST_MS, FIRST_MS * 2 ** Math.min(failures - 1, 10));
  return Math.max(floorMs, random() * ceiling);
}

/**
 * A `Retry-After` header in milliseconds: whole seconds or an HTTP date (RFC 9110, 10.2.3). A
 * date is measured against the answer's own `Date`, so that a wrong clock on either side does
 * no harm. Undefined when absent, past or unreadable; never more than an hour.
 */
export function parseRetryAfter(
  value: string | undefined,
  date: string | undefined,
  wallNow: number,
): number | undefined {
  if (value === undefined) return undefined;
  const theirNow = parseHttpDate(date ?? '');
  const ms = /^\s*\d+\s*$/.test(value)
    ? Number(value) * 1000
    : parseHttpDate(value) - (Number.isNaN(theirNow) ? wallNow : theirNow);
  return ms > 0 ? Math.min(ms, MAX_RETRY_AFTER_MS) : undefined;
}

/** All three forms of RFC 9110 (5.6.7); the oldest says nothing of its zone, which is GMT. */
function parseHttpDate(text: string): number {
  return Date.parse(text.endsWith('GMT') ? text : `${text} GMT`);
}
