/** Response heads and what is read from request heads. Pure functions over header values. */

import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

/**
 * The head of every stream. `x-accel-buffering` is what makes nginx pass events on at once;
 * `no-transform` keeps compressing proxies away. One stream is one connection.
 */
export function streamHead(requestId: string, isGzip: boolean): Record<string, string> {
  return {
    ...isGzip ? { 'content-encoding': 'gzip', 'vary': 'accept-encoding' } : {},
    'content-type': 'text/event-stream',
    'cache-control': 'no-store, no-transform',
    'x-accel-buffering': 'no',
    'x-content-type-options': 'nosniff',
    'x-request-id': requestId,
    'connection': 'close',
  };
}

/** The head of every answer that is not a stream. */
export function jsonHead(requestId: string): Record<string, string> {
  return {
    'content-type': 'application/json; charset=utf-8',
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    'x-request-id': requestId,
  };
}

/** The client's own, where it is short and plain, and not its key by mistake; else a new one. */
export function requestIdOf({ headers }: IncomingMessage): string {
  const { 'x-request-id': theirs, 'x-api-key': key, authorization } = headers;
  const isPlain = typeof theirs === 'string' && /^[\w.:-]{1,128}$/.test(theirs);
  return isPlain && theirs !== key && authorization?.split(' ').includes(theirs) !== true
    ? theirs : randomUUID();
}

/** Does the client name `text/event-stream`? Then a refusal must not be a status for ever. */
export function wantsEvents(request: IncomingMessage): boolean {
  return /(^|,)\s*text\/event-stream\s*(;|,|$)/i.test(request.headers.accept ?? '');
}

/** Does the client take gzip? A weight of 0 is a no (RFC 9110, 12.5.3). */
export function acceptsGzip({ headers }: IncomingMessage): boolean {
  const codings = String(headers['accept-encoding'] ?? '').toLowerCase().split(',');
  const weights = new Map(codings.map((coding) => {
    const [name = '', ...parameters] = coding.split(';').map((part) => part.trim());
    const weight = parameters.find((each) => /^q\s*=/.test(each))?.replace(/^q\s*=\s*/, '');
    return [name, Number(weight ?? 1)];
  }));
  return (weights.get('gzip') ?? weights.get('x-gzip') ?? weights.get('*') ?? 0) > 0;
}

/** Has the client what is named by `id` (RFC 9110, 13.1.2: a weak tag is as good, `*` is any)? */
export function matchesTag({ headers }: IncomingMessage, id: string): boolean {
  const value = headers['if-none-match'];
  if (value === undefined) return false;
  if (value.trim() === '*') return true;
  const tags = value.matchAll(/(?:^|,)\s*(?:W\/)?"([^"]*)"\s*(?=,|$)/g);
  return [...tags].some(([, tag]) => tag === id);
}

/** Does a request announce a body? */
export function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

/**
 * Where the client left off: the header, or for those who cannot send one, the query. Anything
 * that cannot be one of our ids is no position at all.
 */
export function lastEventIdOf(
  request: IncomingMessage, query: URLSearchParams,
): string | undefined {
  const id = request.headers['last-event-id'] ?? query.get('lastEventId');
  return typeof id === 'string' && /^[\w.~-]{1,1024}$/.test(id) ? id : undefined;
}
