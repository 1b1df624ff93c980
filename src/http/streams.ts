/**
 * Requests for a stream: everything before its head is decided here; after it the response is the
 * hub's, and in our own server so is the connection.
 */

import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';

import type { Clock } from '../core/clock.ts';
import { refuse } from '../core/errors.ts';
import type { Admitted, ApiKey } from '../core/run-source.ts';
import type { Hub } from '../hub/hub.ts';
import { Connections } from './connections.ts';
import type { Entrance } from './entrance.ts';
import type { Exchange } from './exchange.ts';
import { acceptsGzip, lastEventIdOf, streamHead } from './headers.ts';
import type { StreamRoute } from './routes.ts';
import { SendQueues } from './send-queues.ts';
import { SocketSink } from './socket-sink.ts';
import type { Framing } from './socket-sink.ts';

/** What streams are put together from. */
export interface StreamsOptions {
  readonly clock: Clock;
  readonly hub: Hub;
  readonly compress: boolean;
}

/** Opens streams. */
export class Streams {
  readonly #options: StreamsOptions;
  readonly #entrance: Entrance;
  /** Connections that carry a stream, or a request for one whose proof is under way. */
  readonly #streaming = new WeakSet<Socket>();
  readonly #queues: SendQueues;
  readonly #connections: Connections;

  constructor(options: StreamsOptions, entrance: Entrance) {
    this.#options = options;
    this.#entrance = entrance;
    this.#queues = new SendQueues(options.clock);
    this.#connections = new Connections(options.clock);
  }

  has(socket: Socket): boolean {
    return this.#streaming.has(socket);
  }

  async open(exchange: Exchange, route: StreamRoute): Promise<void> {
    const { request, response } = exchange;
    if (response.socket === null) {
      const error = 'A stream has its own connection';
      return exchange.refuse(refuse('VALIDATION_ERROR', { error }));
    }
    const key = this.#entrance.keyOf(exchange, route.runId);
    if (key === undefined) return undefined;
    this.#streaming.add(request.socket);
    if (!await this.#join(exchange, route, key)) this.#streaming.delete(request.socket);
    return undefined;
  }

  /** Is there a stream now? */
  async #join(exchange: Exchange, { runId, query }: StreamRoute, key: ApiKey): Promise<boolean> {
    const admitted = await this.#entrance.admit(exchange, runId, key, 'follow');
    if (admitted === undefined) return false;
    const lastEventId = lastEventIdOf(exchange.request, query);
    if (hasSeenTheEnd(admitted, lastEventId)) {
      admitted.leave?.();
      exchange.noContent();
      return false;
    }
    return this.#open(exchange, admitted, lastEventId);
  }

  /** Head and first event leave in one packet. */
  #open(exchange: Exchange, admitted: Admitted, lastEventId: string | undefined): boolean {
    const { request: { socket }, response, requestId, place } = exchange;
    const framing = this.#framing(exchange.request);
    socket.cork();
    response.writeHead(200, exchange.head(streamHead(requestId, framing === 'gzip')));
    response.flushHeaders();
    const isTaken = place === 'own' && this.#connections.take(response);
    if (isTaken) this.#streaming.delete(socket);
    const outlet = isTaken ? { socket, response: undefined } : { socket, response };
    const sink = new SocketSink({ ...outlet, framing, queues: this.#queues });
    this.#options.hub.subscribe(admitted, { sink, requestId, lastEventId });
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
