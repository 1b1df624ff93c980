/**
 * Pages of other origins: which of them may read our answers, and what their browser asks before
 * (Fetch, 3.3). No cookie means anything here, so none is allowed.
 */

import type { IncomingMessage } from 'node:http';

type Head = Record<string, string>;

/** What a page may send, and what it may see, besides what any page may. */
const REQUEST_HEADERS = [
  'x-api-key', 'authorization', 'content-type', 'accept', 'cache-control', 'if-none-match',
  'last-event-id', 'x-request-id',
].join(', ');
const RESPONSE_HEADERS = 'x-request-id, retry-after, x-runcast-refused, etag';
/** Two hours: Chromium remembers what a preflight said for no longer. */
const MAX_AGE_S = 7200;

/** The origins that are let in. With none of them, no head is touched. */
export class Cors {
  readonly #origins: ReadonlySet<string>;

  constructor(origins: readonly string[] = []) {
    this.#origins = new Set(origins);
  }

  /** `head` with what the browser of this request is to be told. */
  grant(request: IncomingMessage, head: Head): Head {
    if (this.#origins.size === 0) return head;
    const allowed = this.#allowed(request);
    return {
      ...head,
      // Of every answer, also to those without an origin: a cache must not hand it to others.
      'vary': head['vary'] === undefined ? 'origin' : `${head['vary']}, origin`,
      ...allowed !== undefined && {
        'access-control-allow-origin': allowed,
        'access-control-expose-headers': RESPONSE_HEADERS,
      },
    };
  }

  /** Does a browser ask here whether a page may send a request? */
  isPreflight({ method, headers }: IncomingMessage): boolean {
    return this.#origins.size > 0 && method === 'OPTIONS' && headers.origin !== undefined
      && headers['access-control-request-method'] !== undefined;
  }

  /** The answer to that, where a route has these `methods`. */
  preflightHead(request: IncomingMessage, methods: string): Head {
    if (this.#allowed(request) === undefined) return {};
    return {
      'access-control-allow-methods': methods,
      'access-control-allow-headers': REQUEST_HEADERS,
      'access-control-max-age': String(MAX_AGE_S),
    };
  }

  #allowed({ headers: { origin } }: IncomingMessage): string | undefined {
    if (origin === undefined) return undefined;
    if (this.#origins.has('*')) return '*';
    return this.#origins.has(origin) ? origin : undefined;
  }
}
