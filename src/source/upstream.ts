/**
 * One bounded request to the run API. The only outgoing sockets of the gateway are opened here:
 * kept alive, never redirected, with one deadline for the whole answer and a cap on its size.
 * What the answer means is `answer.ts`' business.
 */

import * as http from 'node:http';
import type * as https from 'node:https';
import { createRequire } from 'node:module';

import type { Clock } from '../core/clock.ts';
import type { ApiKey } from '../core/run-source.ts';
import { VERSION } from '../core/version.ts';

/** Where the run API is, and the bounds of one request to it. */
export interface UpstreamOptions {
  /** Origin of the run API, with an optional base path. */
  readonly url: URL;
  /** Path of one run below it, with `{runId}` in it. */
  readonly path: string;
  /** For the whole answer: connecting, head and body. Beyond it the socket is destroyed. */
  readonly timeoutMs: number;
  /** A larger body is not read to its end; its socket is destroyed. */
  readonly maxBodyBytes: number;
}

/** TLS is a tenth of what a start takes: it is loaded only where upstream wants it. */
function loadHttps(): typeof https {
  return createRequire(import.meta.url)('node:https') as typeof https;
}

/** What a request asks for beyond the run as it is. */
export interface Extra {
  /** Behind the path of the run. */
  readonly suffix?: string;
  /** Upstream may take this much longer than the deadline. */
  readonly heldMs?: number;
  /** Unless the answer would be the same as the one with this tag (RFC 9110, 13.1.2). */
  readonly etag?: string;
}

/** What came back, complete; or how it failed. */
export type Exchange =
  | { readonly kind: 'answer'; readonly status: number; readonly body: Buffer;
      readonly headers: http.IncomingHttpHeaders }
  | { readonly kind: 'late' }
  | { readonly kind: 'broken'; readonly why: string }
  | { readonly kind: 'too-large' };

/** Sockets at once; further requests wait for one, within their own deadline. */
export const MAX_SOCKETS = 512;

/** And those on which an answer is waited for. */
const MAX_HELD = 4096;

/** The run API, as seen by one request at a time. */
export class Upstream {
  readonly #options: UpstreamOptions;
  readonly #clock: Clock;
  readonly #agent: http.Agent;
  /** For requests that are held back: they must not keep others from their sockets. */
  readonly #heldAgent: http.Agent;
  readonly #request: typeof http.request;
  /** How to end each request under way, those included that wait for a socket. */
  readonly #open = new Set<() => void>();
  #isClosed = false;

  constructor(options: UpstreamOptions, clock: Clock) {
    const { Agent, request } = options.url.protocol === 'https:' ? loadHttps() : http;
    this.#options = options;
    this.#clock = clock;
    this.#agent = new Agent({ keepAlive: true, maxSockets: MAX_SOCKETS, maxFreeSockets: 256 });
    this.#heldAgent = new Agent({ keepAlive: true, maxSockets: MAX_HELD, maxFreeSockets: 16 });
    this.#request = request;
  }

  /** `GET` of one run with one key. `runId` is already known to be plain. Never rejects. */
  get(runId: string, key: ApiKey | undefined, extra: Extra = {}): Promise<Exchange> {
    const headers = {
      'accept': 'application/json',
      'accept-encoding': 'identity',
      'user-agent': `runcast/${VERSION}`,
      ...key === undefined ? {} : keyHeader(key),
      ...extra.etag === undefined ? {} : { 'if-none-match': extra.etag },
    };
    const { url, path } = this.#options;
    const target = url.pathname.replace(/\/+$/, '') + path.replaceAll('{runId}', runId)
      + (extra.suffix ?? '');
    const isHeld = extra.heldMs !== undefined;
    const bounds = {
      deadlineMs: this.#options.timeoutMs + (extra.heldMs ?? 0),
      agent: isHeld ? this.#heldAgent : this.#agent,
    };
    if (this.#isClosed) return Promise.resolve({ kind: 'broken', why: 'closed' });
    return new Promise((resolve) => this.#exchange(target, headers, bounds, resolve));
  }

  /** Requests under way fail, and so do later ones. */
  close(): void {
    this.#isClosed = true;
    for (const end of this.#open) end();
    this.#agent.destroy();
    this.#heldAgent.destroy();
  }

  #exchange(
    path: string, headers: http.OutgoingHttpHeaders,
    bounds: { readonly deadlineMs: number; readonly agent: http.Agent },
    resolve: (exchange: Exchange) => void,
  ): void {
    const { hostname, port } = this.#options.url;
    let request: http.ClientRequest | undefined;
    let hasBegun = false;
    let done = false;
    const settle = (exchange: Exchange): void => {
      if (done) return;
      done = true;
      this.#clock.clearTimeout(deadline);
      this.#open.delete(end);
      if (exchange.kind !== 'answer') request?.destroy();
      resolve(exchange);
    };
    const end = (): void => settle({ kind: 'broken', why: 'closed' });
    this.#open.add(end);
    const send = (again: boolean): void => {
      const host = hostname.replace(/^\[|\]$/g, '');
      const agent = again ? false : bounds.agent; // another idle socket may be as stale
      const sent = this.#request({ agent, hostname: host, port, path, headers, method: 'GET' });
      request = sent;
      sent.on('response', (response) => {
        hasBegun = true;
        this.#collect(response, settle);
      });
      sent.on('error', (error: NodeJS.ErrnoException) => {
        // An idle socket may be closed by the other side just as it is used again: that says
        // nothing about upstream, so it is tried once more on the same deadline.
        const isStale = sent.reusedSocket && /^(ECONNRESET|EPIPE)$/.test(error.code ?? '');
        if (isStale && !hasBegun && !done && !again) send(true);
        else settle({ kind: 'broken', why: error.code ?? error.message });
      });
      sent.end();
    };
    const deadline = this.#clock.setTimeout(() => settle({ kind: 'late' }), bounds.deadlineMs);
    send(false);
  }

  #collect(response: http.IncomingMessage, settle: (exchange: Exchange) => void): void {
    const { maxBodyBytes } = this.#options;
    const { statusCode: status = 0, headers } = response;
    const chunks: Buffer[] = [];
    let size = 0;
    if (Number(headers['content-length']) > maxBodyBytes) return settle({ kind: 'too-large' });
    response.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > maxBodyBytes) settle({ kind: 'too-large' });
      else chunks.push(chunk);
    });
    response.on('end', () => {
      settle({ kind: 'answer', status, headers, body: Buffer.concat(chunks, size) });
    });
    response.on('error', () => settle({ kind: 'broken', why: 'cut short' }));
    response.on('close', () => settle({ kind: 'broken', why: 'cut short' }));
    return undefined;
  }
}

function keyHeader({ header, value }: ApiKey): http.OutgoingHttpHeaders {
  return { [header]: header === 'authorization' ? `Bearer ${value}` : value };
}
