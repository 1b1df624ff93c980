/**
 * The embedded demo run API: what `runcast serve` stands in front of when it is told of no other,
 * and an upstream for load tests. This file is its door: socket, request limit, keys, answers.
 * It has the run API's surface but for `/stream`, webhooks and what is not about runs.
 */

import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

import { systemClock, type Clock } from '../core/clock.ts';
import { envelope, refuse, toSeconds, type Refusal } from '../core/errors.ts';
import { Endpoints, type Reply } from './endpoints.ts';
import type { PlanOptions } from './plan.ts';
import { RateLimit } from './rate-limit.ts';
import { RunStore } from './run-store.ts';
import { WaitRoom } from './wait-room.ts';

/** {@link PlanOptions} say what becomes of a run: `outputs`, `failRate`, `durationMs`, `pace`. */
export interface DemoOptions extends Partial<PlanOptions> {
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** Default 0: any free one. */
  readonly port?: number;
  /** Key → the workspace it belongs to. Default `{ lma_demo: 'demo' }`. */
  readonly keys?: Readonly<Record<string, string>>;
  /** For each client address over all of `/v1`; above it 429. Default 6000. */
  readonly requestsPerMinute?: number;
  /** Default 1000; above it the oldest finished run is forgotten, else the oldest. */
  readonly maxRuns?: number;
  /** Bytes of all text outputs together, and so about those of a state. Default 0: sentences. */
  readonly outputTextBytes?: number;
  /** Default {@link systemClock}. */
  readonly clock?: Clock;
}

/** A running demo run API. */
export interface DemoApi {
  /** `http://127.0.0.1:PORT`, without a slash at its end. */
  readonly origin: string;
  /** Every key it knows, the one for people to try first. */
  readonly keys: readonly string[];
  /** Ends hanging waits and open connections too; no timer is left. Idempotent. */
  close(): Promise<void>;
}

const DEFAULTS = {
  host: '127.0.0.1', port: 0, keys: { lma_demo: 'demo' }, requestsPerMinute: 6_000,
  maxRuns: 1_000, outputTextBytes: 0, clock: systemClock,
  outputs: 5, failRate: 0.2, durationMs: [10_000, 40_000], pace: 1,
} as const satisfies Required<DemoOptions>;

/** Starts the demo run API. Rejects where it cannot listen. */
export async function startDemoApi(options: DemoOptions = {}): Promise<DemoApi> {
  const settings: Required<DemoOptions> = { ...DEFAULTS, ...options };
  const { clock, host, port, keys } = settings;
  const waits = new WaitRoom(clock);
  const runs = new RunStore(clock, settings, settings.maxRuns);
  const endpoints = new Endpoints(clock, runs, waits, settings.outputTextBytes);
  const door = new Door(endpoints, new RateLimit(clock, settings.requestsPerMinute), keys);
  const server = createServer((req, res) => void door.onRequest(req, res));
  // All set, because the defaults differ between Node lines. None of them ends a hanging wait.
  server.headersTimeout = 10_000;
  server.requestTimeout = 30_000;
  server.keepAliveTimeout = 75_000;
  server.timeout = 0;
  server.listen(port, host);
  await once(server, 'listening');
  const { address, family, port: bound } = server.address() as AddressInfo;
  let closed: Promise<unknown> | undefined;
  return {
    origin: `http://${family === 'IPv6' ? `[${address}]` : address}:${bound}`,
    keys: Object.keys(keys),
    async close() {
      closed ??= once(server.close(), 'close');
      waits.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

type Headers = Record<string, string | number>;

/** What every request has to pass before it reaches an endpoint. */
class Door {
  readonly #endpoints: Endpoints;
  readonly #limit: RateLimit;
  readonly #workspaces: ReadonlyMap<string, string>;

  constructor(endpoints: Endpoints, limit: RateLimit, keys: Readonly<Record<string, string>>) {
    this.#endpoints = endpoints;
    this.#limit = limit;
    this.#workspaces = new Map(Object.entries(keys));
  }

  async onRequest(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const headers: Headers = {};
    let reply: Reply | Refusal;
    try {
      reply = await this.#answer(req, res, headers);
    } catch {
      // Only a body that broke off gets here, and then nobody is left to read this.
      reply = refuse('INTERNAL_ERROR', { error: 'Something went wrong in the demo run API' });
    }
    const requestId = randomUUID();
    const body = 'code' in reply ? envelope(reply, requestId) : JSON.stringify(reply.body);
    res.writeHead(reply.status, {
      'content-type': 'application/json; charset=utf-8',
      'content-length': Buffer.byteLength(body),
      'cache-control': 'no-store',
      'x-request-id': requestId,
      ...headers,
    });
    res.end(body);
  }

  #answer(
    req: IncomingMessage,
    res: ServerResponse,
    headers: Headers,
  ): Reply | Refusal | Promise<Reply | Refusal> {
    const [path = '', search] = (req.url ?? '').split('?', 2);
    const refusal = path.startsWith('/v1/') ? this.#count(req, headers) : undefined;
    if (refusal !== undefined) return refusal;
    const route = this.#endpoints.find(path);
    if (route === undefined) return refuse('NOT_FOUND');
    if (route.method !== req.method) {
      headers['allow'] = route.method;
      return refuse('METHOD_NOT_ALLOWED');
    }
    const key = keyOf(req);
    if (key === undefined) return refuse('AUTH_MISSING_KEY');
    const workspace = this.#workspaces.get(key);
    if (workspace === undefined) return refuse('AUTH_INVALID_KEY');
    return route.handle({
      id: route.id, query: new URLSearchParams(search), workspace, req, res,
    });
  }

  /** Counts a request against its client's limit, and says so in the headers. */
  #count(req: IncomingMessage, headers: Headers): Refusal | undefined {
    const { perMinute } = this.#limit;
    const left = this.#limit.take(req.socket.remoteAddress ?? '');
    const { resetMs } = this.#limit;
    headers['ratelimit-limit'] = perMinute;
    headers['ratelimit-remaining'] = Math.max(0, left);
    headers['ratelimit-reset'] = toSeconds(resetMs);
    if (left >= 0) return undefined;
    headers['retry-after'] = toSeconds(resetMs);
    const error = `No more than ${perMinute} requests a minute`;
    return refuse('RATE_LIMITED', { error, retryAfterMs: resetMs });
  }
}

function keyOf({ headers }: IncomingMessage): string | undefined {
  const key = headers['x-api-key'] ?? /^Bearer +(\S+)$/i.exec(headers.authorization ?? '')?.[1];
  return typeof key === 'string' && key !== '' ? key : undefined;
}
