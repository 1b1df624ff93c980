/**
 * The one fake run API of all tests: a real HTTP server on 127.0.0.1 that answers each run as
 * scripted (see answers.ts) and remembers who asked for what. Where nothing is scripted it is
 * the real API: 401 without a key, 404 for a run it does not know.
 */

import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingHttpHeaders, IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { refused, serve } from './answers.ts';
import type { Answer } from './answers.ts';
import { within } from './wait.ts';

export * from './answers.ts';

export interface UpstreamRequest {
  /** For a path other than `…/v1/runs/{runId}`: that path, without its query. */
  readonly runId: string;
  readonly key: string | undefined;
  readonly headerForm: 'x-api-key' | 'authorization' | 'none';
  /** As sent, query included. */
  readonly path: string;
  readonly method: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  /** `performance.now()` at its arrival. */
  readonly at: number;
}

interface Waiter {
  readonly runId: string;
  readonly resolve: (request: UpstreamRequest) => void;
}

/** A listening upstream. Whoever starts one closes it. */
export async function startUpstream(): Promise<Upstream> {
  const upstream = new Upstream();
  await upstream.restart();
  return upstream;
}

export class Upstream {
  /** In order of arrival, since the start: `stop` and `restart` forget nothing. */
  readonly requests: UpstreamRequest[] = [];
  /** TCP connections ever accepted. */
  connections = 0;

  readonly #answers = new Map<string, Answer>();
  readonly #inFlight = new Map<string, number>();
  readonly #maxInFlight = new Map<string, number>();
  readonly #sockets = new Set<Socket>();
  #waiters: Waiter[] = [];
  #server: Server | undefined;
  #port = 0;

  get origin(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Connections open now. */
  get openConnections(): number {
    return this.#sockets.size;
  }

  /** Requests taken and not yet answered, or hung up on, now. */
  get inFlight(): number {
    return [...this.#inFlight.values()].reduce((sum, n) => sum + n, 0);
  }

  /** The most requests for this run that were ever in flight at once. */
  maxInFlight(runId: string): number {
    return this.#maxInFlight.get(runId) ?? 0;
  }

  /** From now on this run is answered so. A path (`/v1/runs/r1/wait`) can stand for a run. */
  run(runId: string, answer: Answer): void {
    this.#answers.set(runId, answer);
  }

  /** How many requests came for this run; without one, for all. */
  count(runId?: string): number {
    if (runId === undefined) return this.requests.length;
    return this.requests.filter((request) => request.runId === runId).length;
  }

  /** The next request of this run that arrives after this call. */
  next(runId: string, ms = 20_000): Promise<UpstreamRequest> {
    const arrival = new Promise<UpstreamRequest>((resolve) => {
      this.#waiters.push({ runId, resolve });
    });
    return within(ms, `the next upstream request for ${runId}`, arrival);
  }

  /** Dead: nobody listens (connection refused) and every open connection is cut. */
  async stop(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    const closed = once(server, 'close');
    server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  /** Listens again where it did before. */
  async restart(): Promise<void> {
    if (this.#server !== undefined) return;
    // No timeouts: nothing here may close a connection that the script does not close.
    const server = createServer({ requestTimeout: 0, headersTimeout: 0, keepAliveTimeout: 0 });
    server.on('connection', (socket) => this.#onConnection(socket));
    server.on('request', (req, res) => void this.#onRequest(req, res));
    this.#server = server;
    server.listen(this.#port, '127.0.0.1');
    await once(server, 'listening');
    this.#port = (server.address() as AddressInfo).port;
  }

  /** For the end of a test. */
  async close(): Promise<void> {
    await this.stop();
  }

  #onConnection(socket: Socket): void {
    this.connections++;
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
  }

  async #onRequest(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const at = performance.now();
    const path = req.url ?? '';
    const runId = subjectOf(path);
    this.#track(runId, res);
    const method = req.method ?? '';
    // A client that leaves in the middle of its body has not asked for anything.
    const body = method === 'GET' ? '' : await text(req).catch(() => undefined);
    if (body === undefined) return;
    const { headers } = req;
    const request = { runId, ...keyOf(headers), path, method, headers, body, at };
    this.requests.push(request);
    const isMine = (waiter: Waiter): boolean => waiter.runId === runId;
    const mine = this.#waiters.filter(isMine);
    this.#waiters = this.#waiters.filter((waiter) => !isMine(waiter));
    for (const waiter of mine) waiter.resolve(request);
    const { key } = request;
    serve(this.#answerTo(runId, key), { runId, key, headers, n: this.count(runId) }, res);
  }

  #answerTo(runId: string, key: string | undefined): Answer {
    if (key === undefined) return refused(401, 'AUTH_MISSING_KEY');
    return this.#answers.get(runId) ?? refused(404, 'NOT_FOUND');
  }

  #track(runId: string, res: ServerResponse): void {
    const count = (this.#inFlight.get(runId) ?? 0) + 1;
    this.#inFlight.set(runId, count);
    this.#maxInFlight.set(runId, Math.max(this.maxInFlight(runId), count));
    res.once('close', () => this.#inFlight.set(runId, (this.#inFlight.get(runId) ?? 1) - 1));
  }
}

/** A base path in front of `/v1` is fine: an `--upstream` may have one. */
function subjectOf(path: string): string {
  const pathname = path.split('?', 1)[0] ?? '';
  return /\/v1\/runs\/([^/]+)$/.exec(pathname)?.[1] ?? pathname;
}

function keyOf(headers: IncomingHttpHeaders): Pick<UpstreamRequest, 'key' | 'headerForm'> {
  const plain = headers['x-api-key'];
  if (typeof plain === 'string') return { key: plain, headerForm: 'x-api-key' };
  const bearer = /^Bearer +(\S+)$/i.exec(headers.authorization ?? '')?.[1];
  if (bearer !== undefined) return { key: bearer, headerForm: 'authorization' };
  return { key: undefined, headerForm: 'none' };
}
