/** Method and raw target into a route, as a value. Pure: what to do with it is the handler's. */

import { refuse } from '../core/errors.ts';
import type { Refusal } from '../core/errors.ts';

/** What a request is for. */
export type Route =
  | { readonly kind: 'stream'; readonly runId: string; readonly query: URLSearchParams }
  | { readonly kind: 'live' | 'ready' | 'health' | 'metrics' }
  | { readonly kind: 'refused'; readonly refusal: Refusal; readonly allow?: string };

/** Alive, whatever upstream does; taking new streams; and alive with the numbers of the moment. */
const PROBES: ReadonlyMap<string, 'live' | 'ready' | 'health' | 'metrics'> = new Map([
  ['/livez', 'live'], ['/readyz', 'ready'], ['/healthz', 'health'],
  ['/metrics', 'metrics'],
]);
const RUN_ID = /^[A-Za-z0-9_-]{1,128}$/;

/**
 * The target is taken as it was sent: `new URL` would fold `%2e%2e` away and let `//host` swap
 * the host. Absolute-form is accepted, as RFC 9112 (3.2.2) demands; its authority means nothing.
 */
export function parseRoute(method: string, target: string): Route {
  const local = target.replace(/^https?:\/\/[^/?#]*/i, '');
  const [path = '', ...rest] = local.split('?');
  const probe = PROBES.get(path);
  if (probe !== undefined) return allow(method, ['GET', 'HEAD']) ?? { kind: probe };
  const [, segment] = /^\/v1\/runs\/(.*)\/stream$/s.exec(path) ?? [];
  if (segment === undefined) {
    return { kind: 'refused', refusal: refuse('NOT_FOUND', { error: 'There is nothing here' }) };
  }
  const runId = decodeOnce(segment);
  if (runId === undefined || !RUN_ID.test(runId)) {
    const error = `runId must match ${RUN_ID.source}`;
    return allow(method, ['GET'])
      ?? { kind: 'refused', refusal: refuse('VALIDATION_ERROR', { error }) };
  }
  return allow(method, ['GET'])
    ?? { kind: 'stream', runId, query: new URLSearchParams(rest.join('?')) };
}

function allow(method: string, methods: readonly string[]): Route | undefined {
  if (methods.includes(method)) return undefined;
  return { kind: 'refused', refusal: refuse('METHOD_NOT_ALLOWED'), allow: methods.join(', ') };
}

function decodeOnce(segment: string): string | undefined {
  try {
    return decodeURIComponent(segment);
  } catch {
    return undefined;
  }
}
