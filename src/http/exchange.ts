/** One request and its response: what is answered without a stream, and in which form. */

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

import type { Clock } from '../core/clock.ts';
import { ERROR_CODES, envelope, refuse, toSeconds } from '../core/errors.ts';
import type { Refusal } from '../core/errors.ts';
import { NO_ID } from '../core/event-id.ts';
import { pingFrame } from '../core/frame.ts';
import type { Logger } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import { traceFacts, traceOf } from '../core/trace.ts';
import type { Trace } from '../core/trace.ts';
import type { Cors } from './cors.ts';
import {
  hasBody, jsonHead, lastEventIdOf, requestIdOf, streamHead, wantsEvents,
} from './headers.ts';

/** What answering takes. */
export interface ExchangeOptions {
  readonly clock: Clock;
  readonly random: () => number;
  readonly metrics: Metrics;
  readonly log: Logger;
  /** A reader that takes nothing of an answer for this long is cut off. */
  readonly slowTimeoutMs: number;
  readonly cors: Cors;
}

/** Where upstream or a limit gives no `Retry-After`. */
const RETRY_AFTER_MS = 2000;

/** Connections on which the last word is said, and to which request. */
const closing = new WeakMap<Socket, number>();
/** Requests so far. */
let requests = 0;

/** Whose connection it is: a host's, our own server's, or that one's beyond its limit. */
export type Place = 'host' | 'own' | 'spare';

/** One request with its response, and the ways of answering it without a stream. */
export class Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly trace: Trace;
  readonly place: Place;
  readonly #options: ExchangeOptions;
  readonly #number = ++requests;

  constructor(
    request: IncomingMessage, response: ServerResponse, options: ExchangeOptions, place: Place,
  ) {
    this.request = request;
    this.response = response;
    this.place = place;
    this.trace = traceOf(request.headers, requestIdOf(request));
    this.#options = options;
  }

  get requestId(): string {
    return this.trace.requestId;
  }

  /** Is there still somebody to answer, who was not answered? */
  get isOpen(): boolean {
    const { request, response } = this;
    return !response.destroyed && !response.writableEnded && !request.socket.destroyed
      // What has come behind the last word is no request.
      && this.#number <= (closing.get(request.socket) ?? Infinity);
  }

  /** As it is sent: with what the page of another origin is to be told. */
  head(headers: Record<string, string>): Record<string, string> {
    return this.#options.cors.grant(this.request, headers);
  }

  json(status: number, body: string, headers: Record<string, string> = {}): void {
    const { request, response, requestId } = this;
    // What is left of a request that was not read must not become the next one.
    const isUnread = hasBody(request) && !request.complete;
    const isLast = isUnread || status === 400;
    const close = isLast ? { connection: 'close' } : {};
    if (isLast) closing.set(request.socket, this.#number);
    const length = { 'content-length': String(Buffer.byteLength(body)) };
    // A host's server has times of its own. One that is queued has the socket of another's answer.
    if (this.place !== 'host') response.socket?.setTimeout(this.#options.slowTimeoutMs);
    const head = { ...jsonHead(requestId), ...length, ...close, ...headers };
    response.writeHead(status, this.head(head));
    response.end(request.method === 'HEAD' ? undefined : body);
  }

  /** 304: the client has it. */
  notModified(headers: Record<string, string>): void {
    const head = this.head({ ...headers, 'x-request-id': this.requestId });
    this.response.writeHead(304, head).end();
  }

  /** 204: the one answer that makes an EventSource stop. Also to a question without a body. */
  noContent(headers: Record<string, string> = {}): void {
    const { response, requestId } = this;
    const head = { 'cache-control': 'no-store', 'x-request-id': requestId, ...headers };
    response.writeHead(204, this.head(head)).end();
  }

  refuse(refusal: Refusal, allow?: string): void {
    // Upstream's own codes could be any number of labels.
    const code = ERROR_CODES.find((ours) => ours === refusal.code) ?? 'upstream';
    const { metrics, log } = this.#options;
    metrics.count('runcast_refusals_total', code);
    log.debug('refused', { ...traceFacts(this.trace), status: refusal.status, code });
    if (!refusal.retryable) {
      this.json(refusal.status, envelope(refusal, this.requestId), allow ? { allow } : {});
      return;
    }
    const retryAfterMs = refusal.retryAfterMs ?? RETRY_AFTER_MS;
    const timed = { ...refusal, retryAfterMs };
    const isSource = this.request.method === 'GET' && wantsEvents(this.request);
    if (isSource) return this.#refuseAsStream(timed, retryAfterMs);
    const headers = { 'retry-after': String(toSeconds(retryAfterMs)) };
    return this.json(refusal.status, envelope(timed, this.requestId), headers);
  }

  /** Its connection is one more than there is room for. */
  refuseFull(): void {
    this.#options.metrics.count('runcast_limit_total', 'connections');
    this.refuse(refuse('RESOURCE_UNAVAILABLE', { error: 'Too many connections are open' }));
  }

  /** An EventSource never comes back from a status, so it is told when to in a stream. */
  #refuseAsStream({ status, code }: Refusal, retryAfterMs: number): void {
    const { request, response, requestId } = this;
    const { clock, random } = this.#options;
    // Its position is handed back, or the client would forget which state it has.
    const [, ...query] = (request.url ?? '').split('?');
    const id = lastEventIdOf(request, new URLSearchParams(query.join('?'))) ?? NO_ID;
    const retryMs = Math.floor(Math.max(1000, retryAfterMs) * (1 + random() / 2));
    const head = { ...streamHead(requestId, false), 'x-runcast-refused': `${status} ${code}` };
    response.writeHead(200, this.head(head));
    response.end(pingFrame(id, clock.wallNow(), retryMs).bytes);
  }
}
