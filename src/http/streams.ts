/**
 * Requests for a stream: everything before its head is decided here; after it the response is the
 * hub's, and in our own server so is the connection.
 */

import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';

import type { Clock } from '../core/clock.ts';
import { refuse } from '../core/errors.ts';
import type { Refusal } from '../core/errors.ts';
import { splitId } from '../core/event-id.ts';
import type { Metrics } from '../core/metrics.ts';
import type { Admission, ApiKey } from '../core/run-source.ts';
import type { Hub } from '../hub/hub.ts';
import type { Client } from '../hub/sink.ts';
import { Connections } from './connections.ts';
import type { Entrance } from './entrance.ts';
import type { Exchange } from './exchange.ts';
import { firstAnswers, hasSeen, verdictOn } from './first-answers.ts';
import { acceptsGzip, lastEventIdOf, streamHead } from './headers.ts';
import type { StreamRoute, StreamsRoute } from './routes.ts';
import { SendQueues } from './send-queues.ts';
import { SocketSink } from './socket-sink.ts';
import type { Framing, SentBytes } from './socket-sink.ts';

/** What streams are put together from. */
export interface StreamsOptions {
  readonly clock: Clock;
  readonly hub: Hub;
  readonly compress: boolean;
  readonly metrics: Metrics;
}

interface Ask {
  readonly runId: string;
  /** Or why its ticket is none. */
  readonly key: ApiKey | Refusal;
}

/** Opens streams. */
export class Streams {
  readonly #options: StreamsOptions;
  readonly #entrance: Entrance;
  /** Connections that node:http has, with a stream or a request for one on them. */
  readonly #streaming = new WeakSet<Socket>();
  readonly #queues: SendQueues;
  readonly #connections: Connections;
  readonly #sent: SentBytes = { events: 0, identity: 0, gzip: 0 };

  constructor(options: StreamsOptions, entrance: Entrance) {
    this.#options = options;
    this.#entrance = entrance;
    this.#queues = new SendQueues(options.clock);
    this.#connections = new Connections(options.clock);
    const { metrics } = options;
    metrics.read('runcast_event_bytes_total', () => this.#sent.events);
    for (const encoding of ['identity', 'gzip'] as const) {
      metrics.read('runcast_sent_bytes_total', () => this.#sent[encoding], encoding);
    }
  }

  has(socket: Socket): boolean {
    return this.#streaming.has(socket);
  }

  async open(exchange: Exchange, route: StreamRoute | StreamsRoute): Promise<void> {
    const { request, response } = exchange;
    if (response.socket === null) {
      const error = 'A stream has its own connection';
      return exchange.refuse(refuse('VALIDATION_ERROR', { error }));
    }
    const lastEventId = lastEventIdOf(request, route.query);
    this.#streaming.add(request.socket);
    let isOpen = false;
    try {
      isOpen = await (route.kind === 'stream'
        ? this.#join(exchange, route.runId, lastEventId)
        : this.#joinAll(exchange, route.runIds, lastEventId));
    } finally {
      if (!isOpen) this.#streaming.delete(request.socket);
    }
    return undefined;
  }

  /** Is there a stream now? */
  async #join(
    exchange: Exchange, runId: string, lastEventId: string | undefined,
  ): Promise<boolean> {
    const key = this.#entrance.keyOf(exchange, runId);
    if (key === undefined) return false;
    const admitted = await this.#entrance.admit(exchange, runId, key, 'follow');
    if (admitted === undefined) return false;
    if (hasSeen(admitted, lastEventId)) {
      admitted.leave?.();
      exchange.noContent();
      return false;
    }
    return this.#open(exchange, lastEventId, (client) => {
      this.#options.hub.subscribe(admitted, client);
    });
  }

  /** Is there a stream of several now? */
  async #joinAll(
    exchange: Exchange, runIds: readonly string[], lastEventId: string | undefined,
  ): Promise<boolean> {
    const { trace } = exchange;
    const keys = this.#entrance.keysOf(exchange, runIds);
    if (keys === undefined) return false;
    const asks = runIds.map((runId, i) => ({ runId, key: keys[i] as ApiKey | Refusal }));
    const ask = async ({ runId, key }: Ask): Promise<Admission> =>
      ('code' in key ? { kind: 'refused', refusal: key } : this.#entrance.ask(runId, key, trace));
    const asked = asks.map(ask);
    const answers = await this.#entrance.gather(
      exchange, firstAnswers(asked, this.#options.clock));
    const verdict = answers && verdictOn(answers, splitId(lastEventId, asks.length));
    if (answers !== undefined && verdict?.kind === 'open') {
      const wanted = asks.map((each, i) => ({
        runId: each.runId, answer: answers[i], answered: asked[i] as Promise<Admission>,
        ask: () => ask(each),
      }));
      return this.#open(exchange, lastEventId, (client) => {
        this.#options.hub.bundle(wanted, client);
      });
    }
    for (const each of asked) void each.then(giveBack);
    if (verdict?.kind === 'seen') exchange.noContent();
    else if (verdict?.kind === 'refused') exchange.refuse(verdict.refusal);
    return false;
  }

  /** Head and first event leave in one packet. */
  #open(
    exchange: Exchange, lastEventId: string | undefined, subscribe: (client: Client) => void,
  ): boolean {
    const { request: { socket }, response, requestId, place } = exchange;
    const framing = this.#framing(exchange.request);
    socket.cork();
    response.writeHead(200, exchange.head(streamHead(requestId, framing === 'gzip')));
    response.flushHeaders();
    const isTaken = place === 'own' && this.#connections.take(response);
    if (isTaken) this.#streaming.delete(socket);
    const outlet = isTaken ? { socket, response: undefined } : { socket, response };
    const sink = new SocketSink({
      ...outlet, framing, queues: this.#queues, sent: this.#sent,
    });
    subscribe({ sink, requestId, lastEventId });
    socket.uncork();
    return true;
  }

  #framing(request: IncomingMessage): Framing {
    if (request.httpVersion === '1.0') return 'plain';
    return this.#options.compress && acceptsGzip(request) ? 'gzip' : 'chunked';
  }
}

function giveBack(admission: Admission): void {
  if (admission.kind === 'admitted') admission.leave?.();
}
