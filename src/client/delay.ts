/** When to connect again after a connection that ended, and not for good. Pure. */

import { backoffMs } from '../core/backoff.ts';
import type { End } from './connection.ts';

/** A connection that ended, and not for good. */
export type Passing =
  | Extract<End, { detail: string }>
  | { readonly kind: 'timeout'; readonly detail: string };

/** Where nothing says when to come back; the gateway itself says 2 to 5 s. */
const RETRY_MS = [2_000, 5_000] as const;
/** At the earliest, whatever a server says and however it fails. */
const MIN_DELAY_MS = 250;
/**
 * A `retry` above it is not obeyed: it is for those who come back after the end. It stands behind
 * the data of the last event, and a cut right there has told that event to nobody.
 */
const MAX_RETRY_MS = 3_600_000;

/** Does a `retry` say that all is over? */
export function isOfTheEnd(saidMs: number | undefined): boolean {
  return saidMs !== undefined && saidMs > MAX_RETRY_MS;
}

/** `saidMs`: the stream's `retry`. `failures`: tries in a row that came to nothing. */
export function delayMsAfter(
  end: Passing, saidMs: number | undefined, failures: number, random: () => number,
): number {
  if (end.kind === 'timeout') return random() * 1_000;
  const isObeyed = saidMs !== undefined && !isOfTheEnd(saidMs);
  const retryMs = isObeyed ? Math.max(MIN_DELAY_MS, saidMs) : undefined;
  if (end.kind === 'refused' && retryMs !== undefined) return retryMs;
  const retryAfterMs = end.kind === 'refused' ? end.retryAfterMs : undefined;
  const [from, to] = RETRY_MS;
  if (failures === 0) return retryMs ?? from + random() * (to - from);
  return backoffMs(failures, retryMs ?? MIN_DELAY_MS, retryAfterMs, random);
}
