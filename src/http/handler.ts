/**
 * Requests into answers: route, key, admission, and then the response is the hub's. Everything
 * before a stream's head is decided here; nothing after it is.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

import { ERROR_CODES, envelope, refuse, toSeconds } from '../core/errors.ts';
import type { Refusal } from '../core/errors.ts';
import { NO_ID, pingFrame } from '../core/frame.ts';
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import type { Machine } from '../core/machine.ts';
import type { Metrics } from '../core/metrics.ts';
import type { Admitted, ApiKey, RunSource } from '../core/run-source.ts';
import type { Hub } from '../hub/hub.ts';
import { readKey } from './credentials.ts';
import {
  hasBody, jsonHead, lastEventIdOf, requestIdOf, streamHead, wantsEvents,
} from './headers.ts';
import { ResponseSink } from './response-sink.ts';
import { parseRoute } from './routes.ts';
import type { Route } from './routes.ts';
import { SendQueues } from './send-queues.ts';

/** What the handler is put together from. */
export interface HandlerOptions {
  readonly source: RunSource;
  readonly hub: Hub;
  readonly keyPrefix: string;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly machine: Machine;
}

const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

type StreamRoute = Extract<Route, { kind: 'stream' }>;

/** Where upstream or a limit gives no `Retry-After`. */
const RETRY_AFTER_MS = 2000;

/** Answers requests; {@link Handler.handle} may be mounted in any server. */
export class Handler {
  readonly #options: HandlerOptions;
  /** Connections that carry a stream, or a request for one whose proof is under way. */
  readonly #streaming = new WeakSet<Socket>();
  /** Requests for a stream whose proof is under way. */
  readonly #joining = new Set<Exchange>();
  readonly #sendQueues: SendQueues;
  #isDraining = false;

  constructor(options: HandlerOptions) {
    this.#options = options;
    this.#sendQueues = new SendQueues(options.clock);
  }

  /** From now on streams are refused, in a way that brings their clients back. */
  drain(): void {
    this.#isDraining = true;
    for (const exchange of this.#joining) exchange.refuse(shuttingDown());
  }

  isStreaming(socket: Socket): boolean {
    return this.#streaming.has(socket);
  }

  readonly handle = (request: IncomingMessage, response: ServerResponse): void => {
    // What comes behind a stream's request on its connection has no turn before its end: answers
    // would pile up in memory, and their `close` never comes.
    if (this.#streaming.has(request.socket)) {
      request.socket.destroy();
      return;
    }
    const exchange = new Exchange(request, response, this.#options);
    this.#route(exchange).catch((error: unknown) => {
      this.#options.log.error('request failed', { error: String(error) });
      if (response.headersSent) response.destroy();
      else exchange.refuse(refuse('INTERNAL_ERROR'));
    });
  };

  async #route(exchange: Exchange): Promise<void> {
    const { request } = exchange;
    const { machine } = this.#options;
    if (request.headers.host === undefined && request.httpVersion === '1.1') {
      return exchange.refuse(refuse('VALIDATION_ERROR', { error: 'A request has a Host' }));
    }
    const route = parseRoute(request.method ?? '', request.url ?? '');
    switch (route.kind) {
      case 'refused':
        return exchange.refuse(route.refusal, route.allow);
      case 'live':
        return exchange.json(200, JSON.stringify({ status: 'ok' }));
      case 'ready':
        return this.#ready(exchange);
      case 'health':
        return this.#health(exchange);
      case 'metrics': {
        const text = await machine.metrics();
        if (text === undefined) return exchange.refuse(refuse('RESOURCE_UNAVAILABLE'));
        return exchange.json(200, text, { 'content-type': METRICS_TYPE });
      }
      case 'stream':
        return this.#stream(exchange, route);
    }
  }

  async #ready(exchange: Exchange): Promise<void> {
    const isSilent = !this.#isDraining && await this.#options.machine.stats() === undefined;
    const status = this.#isDraining ? 'draining' : isSilent ? 'silent' : 'ready';
    exchange.json(status === 'ready' ? 200 : 503, JSON.stringify({ status }));
  }

  async #health(exchange: Exchange): Promise<void> {
    const stats = await this.#options.machine.stats();
    if (stats === undefined) return exchange.refuse(refuse('RESOURCE_UNAVAILABLE'));
    return exchange.json(200, JSON.stringify({ status: 'ok', ...stats }));
  }

  async #stream(exchange: Exchange, route: StreamRoute): Promise<void> {
    const { keyPrefix } = this.#options;
    const { request, response } = exchange;
    const isQueued = response.socket === null;
    // A body that never comes would end the stream at the server's request timeout.
    if (isQueued || hasBody(request)) {
      const error = isQueued ? 'A stream has its own connection' : 'A GET here has no body';
      return exchange.refuse(refuse('VALIDATION_ERROR', { error }));
    }
    const key = readKey(request, keyPrefix);
    if ('code' in key) return exchange.refuse(key);
    if (this.#isDraining) return exchange.refuse(shuttingDown());
    this.#streaming.add(request.socket);
    if (!await this.#join(exchange, route, key)) this.#streaming.delete(request.socket);
    return undefined;
  }

  /** Is there a stream now? */
  async #join(exchange: Exchange, route: StreamRoute, key: ApiKey): Promise<boolean> {
    this.#joining.add(exchange);
    const admission = await this.#options.source.admit(route.runId, key)
      .finally(() => this.#joining.delete(exchange));
    if (!exchange.isOpen) {
      if (admission.kind === 'admitted') admission.leave?.();
      return false;
    }
    if (admission.kind === 'refused') {
      exchange.refuse(admission.refusal);
      return false;
    }
    const { request, response, requestId } = exchange;
    const lastEventId = lastEventIdOf(request, route.query);
    if (hasSeenTheEnd(admission, lastEventId)) {
      admission.leave?.();
      exchange.noContent();
      return false;
    }
    response.writeHead(200, streamHead(requestId));
    response.flushHeaders();
    const sink = new ResponseSink(response, this.#sendQueues);
    this.#options.hub.subscribe(admission, { sink, requestId, lastEventId });
    return true;
  }
}

/** One request with its response, and the ways of answering it without a stream. */
class Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly requestId: string;
  readonly #options: HandlerOptions;

  constructor(request: IncomingMessage, response: ServerResponse, options: HandlerOptions) {
    this.request = request;
    this.response = response;
    this.requestId = requestIdOf(request);
    this.#options = options;
  }

  /** Is there still somebody to answer, who was not answered? */
  get isOpen(): boolean {
    const { response } = this;
    return !response.destroyed && !response.writableEnded && response.socket !== null;
  }

  json(status: number, body: string, headers: Record<string, string> = {}): void {
    const { request, response, requestId } = this;
    // What is left of a request that was not read must not become the next one.
    const close = hasBody(request) || status === 400 ? { connection: 'close' } : {};
    const length = { 'content-length': String(Buffer.byteLength(body)) };
    response.writeHead(status, { ...jsonHead(requestId), ...length, ...close, ...headers });
    response.end(request.method === 'HEAD' ? undefined : body);
  }

  /** 204: the one answer that makes an EventSource stop. */
  noContent(): void {
    const { response, requestId } = this;
    response.writeHead(204, { 'cache-control': 'no-store', 'x-request-id': requestId }).end();
  }

  refuse(refusal: Refusal, allow?: string): void {
    // Upstream's own codes could be any number of labels.
    const code = ERROR_CODES.find((ours) => ours === refusal.code) ?? 'upstream';
    this.#options.metrics.count('runcast_refusals_total', code);
    if (!refusal.retryable) {
      this.json(refusal.status, envelope(refusal, this.requestId), allow ? { allow } : {});
      return;
    }
    const retryAfterMs = refusal.retryAfterMs ?? RETRY_AFTER_MS;
    const timed = { ...refusal, retryAfterMs };
    if (wantsEvents(this.request)) return this.#refuseAsStream(timed, retryAfterMs);
    const headers = { 'retry-after': String(toSeconds(retryAfterMs)) };
    return this.json(refusal.status, envelope(timed, this.requestId), headers);
  }

  /** An EventSource never comes back from a status, so it is told when to in a stream. */
  #refuseAsStream({ status, code }: Refusal, retryAfterMs: number): void {
    const { request, response, requestId } = this;
    const { clock, random } = this.#options;
    // Its position is handed back, or the client would forget which state it has.
    const [, query] = (request.url ?? '').split('?');
    const id = lastEventIdOf(request, new URLSearchParams(query)) ?? NO_ID;
    const retryMs = Math.floor(Math.max(1000, retryAfterMs) * (1 + random() / 2));
    const head = { ...streamHead(requestId), 'x-runcast-refused': `${status} ${code}` };
    response.writeHead(200, head);
    response.end(pingFrame(id, clock.wallNow(), retryMs).bytes);
  }
}

function hasSeenTheEnd({ snapshot }: Admitted, lastEventId: string | undefined): boolean {
  return snapshot.terminal !== undefined && snapshot.id === lastEventId;
}

function shuttingDown(): Refusal {
  return refuse('RESOURCE_UNAVAILABLE', { error: 'The gateway is shutting down' });
}
