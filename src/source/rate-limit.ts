/**
 * What an answer says of the run API's own limit, in the forms that are about: `RateLimit-*`
 * (IETF draft-ietf-httpapi-ratelimit-headers, -03 to -06), `RateLimit` as one field (-07 and as a
 * structured field in later ones), `X-RateLimit-*` with an epoch. Pure.
 */

import type { IncomingHttpHeaders } from 'node:http';

/** How many more requests upstream takes, and for how long that holds. */
export interface Allowance {
  readonly remaining: number;
  /** Until all of the limit is there again. */
  readonly resetMs: number;
  readonly limit: number | undefined;
}

/** Seconds since the epoch, not seconds to go. */
const EPOCH_S = 1_000_000_000;
/** A longer one is taken for a mistake and cut to it, as with `Retry-After`. */
const MAX_RESET_MS = 3_600_000;

/** Undefined where the headers do not say both what remains and until when. */
export function readAllowance(
  headers: IncomingHttpHeaders, wallNow: number,
): Allowance | undefined {
  const one = text(headers['ratelimit']);
  const field = (...names: readonly string[]): number | undefined => {
    for (const name of names) {
      const apart = text(headers[`ratelimit-${name}`]) ?? text(headers[`x-ratelimit-${name}`]);
      const value = wholeNumber(apart) ?? wholeNumber(parameter(one, name));
      if (value !== undefined) return value;
    }
    return undefined;
  };
  const remaining = field('remaining', 'r');
  const reset = field('reset', 't');
  if (remaining === undefined || reset === undefined) return undefined;
  const ms = reset >= EPOCH_S ? reset * 1000 - wallNow : reset * 1000;
  const resetMs = Math.min(Math.max(ms, 0), MAX_RESET_MS);
  return { remaining, resetMs, limit: field('limit', 'q') };
}

const text = (value: string | string[] | undefined): string | undefined =>
  (Array.isArray(value) ? value[0] : value);

/** `limit=100, remaining=50, reset=30` or `"default";r=50;t=30`. */
function parameter(field: string | undefined, name: string): string | undefined {
  return field?.split(/[;,]/).map((part) => part.trim().split('='))
    .find(([key]) => key === name)?.[1];
}

/** The first one of what may be a list with policies behind it: `100, 100;w=60`. */
function wholeNumber(value: string | undefined): number | undefined {
  const [, digits] = /^\s*(\d{1,15})(?:\.\d+)?\s*(?:[,;].*)?$/.exec(value ?? '') ?? [];
  return digits === undefined ? undefined : Number(digits);
}
