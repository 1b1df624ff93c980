/**
 * `watchRun` and `watchRuns`: the events of runs for as long as it takes, over as many
 * connections as it takes. Each state is told once, and after the end of the last run so is the
 * iterator. Runs unchanged in Node and in browsers.
 */

import { systemClock } from '../core/clock.ts';
import { WatchError } from './events.ts';
import type { RunEvent, Ticket, WatchOptions } from './events.ts';
import { Watch } from './watch.ts';

/**
 * Watches one run. `url` is that of its stream, `…/v1/runs/{runId}/stream`; in a browser it may
 * be relative. Throws a {@link WatchError} where the run cannot be followed from the beginning
 * (no such run, no access, not a gateway), never because of trouble that passes. To end it while
 * it waits for an event use `signal`: `return()` is heeded only after the next one, as with any
 * async generator.
 */
export function watchRun(
  url: string | URL, options: WatchOptions = {},
): AsyncGenerator<RunEvent, void, undefined> {
  const whole = absolute(url);
  // What comes before the last part of the path.
  const [, runId = ''] = /([^/]+)\/[^/]*\/?$/.exec(whole.pathname) ?? [];
  return new Watch(whole, [decoded(runId)], options, systemClock, Math.random).events();
}

/**
 * Watches up to 50 runs on one connection. `baseUrl` is where the gateway is, without `/v1`. The
 * events of each run are as `watchRun` has them, and `runId` tells them apart; a run that cannot
 * be followed is `lost`, and the others go on. The iterator ends with the last of them.
 */
export function watchRuns(
  baseUrl: string | URL, runIds: readonly string[], options: WatchOptions = {},
): AsyncGenerator<RunEvent, void, undefined> {
  const url = absolute(baseUrl);
  url.pathname = `${url.pathname.replace(/\/+$/, '')}/v1/runs/stream`;
  const asked = [...new Set(runIds)];
  for (const runId of asked) url.searchParams.append('runId', runId);
  const { ticket } = options;
  const tickets = typeof ticket === 'function'
    ? async () => ticketsOnce(await ticket(), runIds) : ticket && ticketsOnce(ticket, runIds);
  const each = tickets === undefined ? options : { ...options, ticket: tickets };
  return new Watch(url, asked, each, systemClock, Math.random).events();
}

/** A run that is named twice is asked for once, and so is its ticket. */
function ticketsOnce(tickets: Ticket, runIds: readonly string[]): Ticket {
  if (typeof tickets === 'string' || tickets.length !== runIds.length) return tickets;
  return tickets.filter((_, i) => runIds.indexOf(runIds[i] ?? '') === i);
}

function absolute(url: string | URL): URL {
  const { location } = globalThis as { location?: { readonly href: string } };
  const base = location?.href;
  const whole = URL.canParse(String(url), base) ? new URL(url, base) : undefined;
  const code = 'VALIDATION_ERROR';
  // The URL itself may hold a ticket, so it is not repeated.
  if (whole === undefined || !/^https?:$/.test(whole.protocol)) {
    throw new WatchError('This is no http:// or https:// URL', { code });
  }
  // No `fetch` takes one, and what it says of it repeats it.
  if (whole.username !== '' || whole.password !== '') {
    throw new WatchError('A URL to watch has no user and no password', { code });
  }
  return whole;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
