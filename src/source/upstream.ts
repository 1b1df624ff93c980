/**
 * One bounded request to the run API. The only outgoing sockets of the gateway are opened here:
 * kept alive, never redirected, with one deadline for the whole answer and a cap on its size.
 * What the answer means is `answer.ts`' business.
 */

import { randomBytes } from 'node:crypto';
import * as http from 'node:http';
import type * as https from 'node:https';
import { createRequire } from 'node:module';

import type { Clock } from '../core/clock.ts';
import type { ApiKey } from '../core/run-source.ts';
import { onwardTrace } from '../core/trace.ts';
import type { Trace } from '../core/trace.ts';
import { VERSION } from '../core/version.ts';
import type { Exchange } from './exchange.ts';
import { StreamRequest } from './stream-request.ts';
import type { StreamListener } from './stream-request.ts';

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
  /** Whose request it is made for, where it is one's. */
  readonly trace?: Trace | undefined;
}

export type { Exchange } from './exchange.ts';

/** Sockets at once; further requests wait for one, within their own deadline. */
export const MAX_SOCKETS = 512;

/** And those on which an answer is waited for. */
export const MAX_HELD_SOCKETS = 4096;

/** The run API, as seen by one request at a time. */
export class Upstream {
  readonly #options: UpstreamOptions;
  readonly #clock: Clock;
  readonly #agent: http.Agent;
  /** For requests that are held back: they must not keep others from their sockets. */
  readonly #heldAgent: http.Agent;
  readonly #request: typeof http.request;
  /** How to end each request under way, those included that wait for a socket. */
  readonly #underway = new Set<() => void>();
  #isClosed = false;

  constructor(options: UpstreamOptions, clock: Clock) {
    const { Agent, request } = options.url.protocol === 'https:' ? loadHttps() : http;
    this.#options = options;
    this.#clock = clock;
    this.#agent = new Agent({ keepAlive: true, maxSockets: MAX_SOCKETS, maxFreeSockets: 256 });
    this.#heldAgent = new Agent({
      keepAlive: true, maxSockets: MAX_HELD_SOCKETS, maxFreeSockets: 16,
    });
    this.#request = request;
  }

  /** Of one answer, or of one event of a stream. */
  get maxBodyBytes(): number {
    return this.#options.maxBodyBytes;
  }

  /** `GET` of one run with one key. `runId` is already known to be plain. Never rejects. */
  get(runId: string, key: ApiKey | undefined, extra: Extra = {}): Promise<Exchange> {
    const headers = {
      ...headersFor(key, 'application/json'),
      ...extra.etag === undefined ? {} : { 'if-none-match': extra.etag },
      ...extra.trace && onwardTrace(extra.trace, randomBytes(8).toString('hex')),
    };
    const target = this.#target(runId, extra.suffix);
    const isHeld = extra.heldMs !== undefined;
    const bounds = {
      deadlineMs: this.#options.timeoutMs + (extra.heldMs ?? 0),
      agent: isHeld ? this.#heldAgent : this.#agent,
    };
    if (this.#isClosed) return Promise.resolve({ kind: 'broken', why: 'closed' });
    return new Promise((resolve) => this.#exchange(target, headers, bounds, resolve));
  }

  /** `GET` of the list that the run is in: its path without the run's own part. */
  list(key: ApiKey, query: string): Promise<Exchange> {
    const { hostname, port, path } = this.#target('');
    const target = { hostname, port, path: `${path.replace(/\/$/, '')}?${query}` };
    const bounds = { deadlineMs: this.#options.timeoutMs, agent: this.#agent };
    if (this.#isClosed) return Promise.resolve({ kind: 'broken', why: 'closed' });
    const headers = headersFor(key, 'application/json');
    return new Promise((resolve) => this.#exchange(target, headers, bounds, resolve));
  }

  /**
   * `GET` of what is below the run, as an event stream, with a socket of its own. Tells nothing
   * during the call. Gives how to close it: after that comes nothing but a head that is missing.
   */
  open(
    runId: string, key: ApiKey, suffix: string, lastEventId: string, listener: StreamListener,
  ): () => void {
    const headers = {
      ...headersFor(key, 'text/event-stream'), 'last-event-id': lastEventId,
    };
    const target = this.#target(runId, suffix);
    const sent = this.#request({ ...target, agent: false, headers, method: 'GET' });
    const stream = new StreamRequest(sent, this.#options.timeoutMs, this.#clock, {
      ...listener,
      onDone: () => this.#underway.delete(close),
    });
    const close = (): void => stream.close();
    this.#underway.add(close);
    if (this.#isClosed) queueMicrotask(close);
    return close;
  }

  /**
   * Any request, with a socket of its own and one that is used once. Its head is sent with the
   * first of its body. Throws where it cannot be a head.
   */
  forward(
    method: string, below: string, headers: readonly string[], signal: AbortSignal,
  ): http.ClientRequest {
    const { url } = this.#options;
    const { hostname, port } = this.#target('');
    const path = url.pathname.replace(/\/+$/, '') + below;
    const target = { hostname, port, path, agent: false, signal };
    const all = ['host', url.host, 'connection', 'close', ...headers];
    const sent = this.#request({ ...target, method, headers: all });
    const end = (): void => void sent.destroy();
    this.#underway.add(end);
    sent.on('close', () => this.#underway.delete(end));
    if (this.#isClosed) queueMicrotask(end);
    return sent;
  }

  /** Requests under way fail, and so do later ones. */
  close(): void {
    this.#isClosed = true;
    for (const end of this.#underway) end();
    for (const agent of [this.#agent, this.#heldAgent]) {
      // It may yet open a socket for what waited for one, and would keep it (Node 24.22, 26.12).
      agent.maxFreeSockets = 0;
      agent.destroy();
    }
  }

  #target(runId: string, suffix = ''): { hostname: string; port: string; path: string } {
    const { url, path } = this.#options;
    const below = url.pathname.replace(/\/+$/, '');
    return {
      hostname: url.hostname.replace(/^\[|\]$/g, ''), port: url.port,
      path: below + path.replaceAll('{runId}', runId) + suffix,
    };
  }

  #exchange(
    target: http.RequestOptions, headers: http.OutgoingHttpHeaders,
    bounds: { readonly deadlineMs: number; readonly agent: http.Agent },
    resolve: (exchange: Exchange) => void,
  ): void {
    let request: http.ClientRequest | undefined;
    let hasBegun = false;
    let done = false;
    const settle = (exchange: Exchange): void => {
      if (done) return;
      done = true;
      this.#clock.clearTimeout(deadline);
      this.#underway.delete(end);
      if (exchange.kind !== 'answer') request?.destroy();
      resolve(exchange);
    };
    const end = (): void => settle({ kind: 'broken', why: 'closed' });
    this.#underway.add(end);
    const send = (again: boolean): void => {
      const agent = again ? false : bounds.agent; // another idle socket may be as stale
      const sent = this.#request({ ...target, agent, headers, method: 'GET' });
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

function headersFor(key: ApiKey | undefined, accept: string): http.OutgoingHttpHeaders {
  const isBearer = key?.header === 'authorization';
  return {
    accept,
    'accept-encoding': 'identity',
    'user-agent': `runcast/${VERSION}`,
    ...key && { [key.header]: isBearer ? `Bearer ${key.value}` : key.value },
  };
}
