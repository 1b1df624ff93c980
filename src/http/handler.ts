/**
 * Requests into answers: route, key, admission, and then the response is the hub's. Everything
 * before a stream's head is decided here; nothing after it is.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

import { refuse } from '../core/errors.ts';
import type { Refusal } from '../core/errors.ts';
import type { Logger } from '../core/log.ts';
import type { Machine } from '../core/machine.ts';
import type { Admitted, ApiKey, RunSource } from '../core/run-source.ts';
import type { Hub } from '../hub/hub.ts';
import { Connections } from './connections.ts';
import { readKey } from './credentials.ts';
import { Exchange } from './exchange.ts';
import type { ExchangeOptions } from './exchange.ts';
import { acceptsGzip, hasBody, lastEventIdOf, streamHead } from './headers.ts';
import { parseRoute } from './routes.ts';
import type { Route } from './routes.ts';
import { SendQueues } from './send-queues.ts';
import { SocketSink } from './socket-sink.ts';
import type { Framing } from './socket-sink.ts';

/** What the handler is put together from. */
export interface HandlerOptions extends ExchangeOptions {
  readonly source: RunSource;
  readonly hub: Hub;
  readonly keyPrefix: string;
  readonly compress: boolean;
  readonly log: Logger;
  readonly machine: Machine;
}

const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

type StreamRoute = Extract<Route, { kind: 'stream' }>;

/** Answers requests; {@link Handler.handle} may be mounted in any server. */
export class Handler {
  readonly #options: HandlerOptions;
  /** Connections that carry a stream, or a request for one whose proof is under way. */
  readonly #streaming = new WeakSet<Socket>();
  /** Requests for a stream whose proof is under way. */
  readonly #joining = new Set<Exchange>();
  readonly #queues: SendQueues;
  readonly #connections: Connections;
  #isDraining = false;

  constructor(options: HandlerOptions) {
    this.#options = options;
    this.#queues = new SendQueues(options.clock);
    this.#connections = new Connections(options.clock);
  }

  /** From now on streams are refused, in a way that brings their clients back. */
  drain(): void {
    this.#isDraining = true;
    for (const exchange of this.#joining) exchange.refuse(shuttingDown());
  }

  isStreaming(socket: Socket): boolean {
    return this.#streaming.has(socket);
  }

  /** For a server of somebody else's: what it knows of its connections stays true. */
  readonly handle = (request: IncomingMessage, response: ServerResponse): void => {
    this.#handle(new Exchange(request, response, this.#options, 'host'));
  };

  /** For our own server: a stream's connection is taken from it, where there is room for one. */
  handleOwn(request: IncomingMessage, response: ServerResponse, isFull: boolean): void {
    this.#handle(new Exchange(request, response, this.#options, isFull ? 'spare' : 'own'));
  }

  #handle(exchange: Exchange): void {
    const { request, response } = exchange;
    // What comes behind a stream's request on its connection has no turn before its end: answers
    // would pile up in memory, and their `close` never comes.
    if (this.#streaming.has(request.socket)) {
      request.socket.destroy();
      return;
    }
    this.#route(exchange).catch((error: unknown) => {
      this.#options.log.error('request failed', { error: String(error) });
      if (response.headersSent) request.socket.destroy();
      else exchange.refuse(refuse('INTERNAL_ERROR'));
    });
  }

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
    if (exchange.place === 'spare') return exchange.refuse(full());
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
    const lastEventId = lastEventIdOf(exchange.request, route.query);
    if (hasSeenTheEnd(admission, lastEventId)) {
      admission.leave?.();
      exchange.noContent();
      return false;
    }
    return this.#open(exchange, admission, lastEventId);
  }

  /** Head and first event leave in one packet. */
  #open(exchange: Exchange, admission: Admitted, lastEventId: string | undefined): boolean {
    const { request: { socket }, response, requestId, place } = exchange;
    const framing = this.#framing(exchange.request);
    socket.cork();
    response.writeHead(200, streamHead(requestId, framing === 'gzip'));
    response.flushHeaders();
    const isTaken = place === 'own' && this.#connections.take(response);
    if (isTaken) this.#streaming.delete(socket);
    const outlet = isTaken ? { socket, response: undefined } : { socket, response };
    const sink = new SocketSink({ ...outlet, framing, queues: this.#queues });
    this.#options.hub.subscribe(admission, { sink, requestId, lastEventId });
    socket.uncork();
    return true;
  }

  #framing(request: IncomingMessage): Framing {
    if (request.httpVersion === '1.0') return 'plain';
    return this.#options.compress && acceptsGzip(request) ? 'gzip' : 'chunked';
  }
}

function hasSeenTheEnd({ snapshot }: Admitted, lastEventId: string | undefined): boolean {
  return snapshot.terminal !== undefined && snapshot.id === lastEventId;
}

function full(): Refusal {
  return refuse('RESOURCE_UNAVAILABLE', { error: 'Too many connections are open' });
}

function shuttingDown(): Refusal {
  return refuse('RESOURCE_UNAVAILABLE', { error: 'The gateway is shutting down' });
}
