/**
 * The composition root: source, hub and handler put together, and the server around them. What
 * an embedder holds. Knows no process and no command line.
 */

import * as http from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { monitorEventLoopDelay } from 'node:perf_hooks';

import { systemClock } from './core/clock.ts';
import type { Timer } from './core/clock.ts';
import { GatewayError, envelope, refuse } from './core/errors.ts';
import type { ErrorCode } from './core/errors.ts';
import { silentLogger } from './core/log.ts';
import type { Logger } from './core/log.ts';
import type { Machine, Stats } from './core/machine.ts';
import { Metrics, mergeSamples, renderMetrics } from './core/metrics.ts';
import type { RunSource } from './core/run-source.ts';
import { Doorkeeper } from './http/doorkeeper.ts';
import { Handler } from './http/handler.ts';
import { Hub } from './hub/hub.ts';
import { resolveOptions } from './options.ts';
import type { GatewayOptions, Settings } from './options.ts';
import { LimitedSource } from './source/limited-source.ts';
import { PollingSource } from './source/polling-source.ts';
import { Upstream } from './source/upstream.ts';

export type { Stats as GatewayStats } from './core/machine.ts';

/** A gateway: mounted by its handler, or listening by itself. */
export interface Gateway {
  /** To be mounted in any `node:http` server. Bound: may be passed around alone. */
  readonly handler: (request: http.IncomingMessage, response: http.ServerResponse) => void;
  /**
   * Listens on `host` and `port`; resolves with what it really listens on, and rejects with the
   * system's error where it cannot. Once.
   */
  listen(): Promise<{ host: string; port: number; url: string }>;
  /**
   * Ends every stream without a verdict, spread over `drainTimeoutMs`, refuses new ones in a way
   * that brings them back, then stops listening and polling. Never rejects; idempotent: the
   * first call's time counts.
   */
  close(drainTimeoutMs?: number): Promise<void>;
  /** Of this process. */
  stats(): Stats;
}

/** Throws a {@link GatewayError} `INVALID_OPTIONS` that names every mistake. */
export function createGateway(options: GatewayOptions): Gateway {
  const settings = resolveOptions(options);
  const log = options.logger ?? silentLogger;
  return composeGateway(machineParts(settings, log, options.source));
}

/** The parts of a gateway that is a whole machine's: its source polls, unless one is given. */
export function machineParts(settings: Settings, log: Logger, given?: RunSource): Parts {
  const metrics = new Metrics();
  const source = limitedSource(settings, log, metrics, given);
  const machine: Machine = {
    stats: () => source.size,
    metrics: () => renderMetrics(mergeSamples(metrics.samples())),
  };
  return { settings, source, log, metrics, machine };
}

/** The source of a whole machine: polling, unless there is another one, within the limits. */
export function limitedSource(
  settings: Settings, log: Logger, metrics: Metrics, given?: RunSource,
): LimitedSource {
  const source = given ?? pollingSource(settings, log, metrics);
  return new LimitedSource(source, settings, metrics);
}

/** What a gateway is put together from. */
export interface Parts {
  readonly settings: Settings;
  /** Sees to the limits itself. */
  readonly source: RunSource;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly machine: Machine;
  /** Client connections that this process can afford. Default: any number. */
  readonly maxSockets?: number;
}

/** A gateway from its parts: what a worker and the program make of themselves. */
export function composeGateway(parts: Parts): Gateway {
  return new ComposedGateway(parts);
}

function pollingSource(settings: Settings, log: Logger, metrics: Metrics): RunSource {
  const { upstreamPath: path, upstreamTimeoutMs: timeoutMs, maxBodyBytes } = settings;
  const url = new URL(settings.upstream ?? '');
  return new PollingSource({
    upstream: new Upstream({ url, path, timeoutMs, maxBodyBytes }, systemClock),
    mapping: settings,
    pollIntervalMs: settings.pollIntervalMs,
    clock: systemClock,
    random: Math.random,
    log,
    metrics,
  });
}

/** Every limit of the server: Node's own defaults differ from line to line. */
const SERVER_OPTIONS: http.ServerOptions = {
  headersTimeout: 10_000,
  requestTimeout: 20_000,
  connectionsCheckingInterval: 1000,
  keepAliveTimeout: 65_000,
  maxHeaderSize: 16 * 1024,
  noDelay: true,
  insecureHTTPParser: false,
};

/** From so many streams on a drain takes all its time; fewer need less to come back gently. */
const FULL_DRAIN_STREAMS = 50;
/** Of the time for a drain, what is left to readers that are slow to take their last event. */
const DRAIN_RESERVE = 0.2;
const MIN_DRAIN_MS = 100;
const LOOP_WINDOW_MS = 10_000;

class ComposedGateway implements Gateway {
  readonly handler: Gateway['handler'];
  readonly #settings: Settings;
  readonly #source: RunSource;
  readonly #log: Logger;
  readonly #hub: Hub;
  readonly #http: Handler;
  readonly #door: Doorkeeper;
  readonly #loopDelay = monitorEventLoopDelay({ resolution: 20 });
  #loopTimer: Timer | undefined;
  #server: http.Server | undefined;
  #closing: Promise<void> | undefined;

  constructor({ settings, source, log, metrics, machine, maxSockets = Infinity }: Parts) {
    this.#settings = settings;
    this.#source = source;
    this.#log = log;
    metrics.read('runcast_event_loop_delay_max_seconds', () => this.#loopDelay.max / 1e9);
    this.#door = new Doorkeeper(maxSockets, log, metrics);
    const shared = { clock: systemClock, random: Math.random };
    this.#hub = new Hub(source, { ...settings, ...shared }, metrics);
    const { keyPrefix } = settings;
    const hub = this.#hub;
    this.#http = new Handler({ source, hub, keyPrefix, log, metrics, machine, ...shared });
    this.handler = this.#http.handle;
  }

  stats(): Stats {
    return this.#hub.size;
  }

  async listen(): Promise<{ host: string; port: number; url: string }> {
    if (this.#closing) throw new GatewayError('CLOSED', ['The gateway is closed']);
    if (this.#server) throw new GatewayError('ALREADY_LISTENING', ['listen() was called before']);
    const { host, port } = this.#settings;
    const server = http.createServer(SERVER_OPTIONS, (request, response) => {
      this.#door.onRequest(request.socket);
      this.handler(request, response);
    });
    this.#server = server;
    server.timeout = 0;
    server.on('connection', this.#door.onConnection);
    server.on('clientError', onClientError);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host, port, backlog: 4096 }, resolve);
    });
    server.on('error', (error) => this.#log.error('server error', { error: error.message }));
    this.#watchLoop();
    const address = server.address() as AddressInfo;
    const name = address.family === 'IPv6' ? `[${address.address}]` : address.address;
    return { host, port: address.port, url: `http://${name}:${address.port}` };
  }

  close(drainTimeoutMs = this.#settings.drainTimeoutMs): Promise<void> {
    this.#closing ??= this.#close(drainTimeoutMs);
    return this.#closing;
  }

  /** The longest delay is of the last 10 s, not of all time. */
  #watchLoop(): void {
    this.#loopDelay.enable();
    const onTick = (): void => {
      this.#loopDelay.reset();
      this.#loopTimer = systemClock.setTimeout(onTick, LOOP_WINDOW_MS);
    };
    onTick();
  }

  async #close(drainTimeoutMs: number): Promise<void> {
    const { streams } = this.#hub.size;
    this.#log.info('closing', { streams });
    this.#http.drain();
    const share = Math.min(1, streams / FULL_DRAIN_STREAMS);
    const drained = this.#hub.drain(drainTimeoutMs * (1 - DRAIN_RESERVE) * share);
    const cut = systemClock.setTimeout(
      () => this.#hub.destroy(), Math.max(drainTimeoutMs, MIN_DRAIN_MS),
    );
    await drained;
    systemClock.clearTimeout(cut);
    this.#loopDelay.disable();
    if (this.#loopTimer) systemClock.clearTimeout(this.#loopTimer);
    this.#source.close();
    const server = this.#server;
    if (!server?.listening) return;
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
      // It waits for silent sockets for ever, and no longer times them out.
      server.closeAllConnections();
    });
  }
}

/** What Node's parser would not take. Into a stream that runs nothing may be written. */
function onClientError(error: NodeJS.ErrnoException, socket: Socket): void {
  if (socket.bytesWritten > 0 || !socket.writable) {
    socket.destroy();
    return;
  }
  const codes: Record<string, ErrorCode> = {
    HPE_HEADER_OVERFLOW: 'HEADERS_TOO_LARGE', ERR_HTTP_REQUEST_TIMEOUT: 'REQUEST_TIMEOUT',
  };
  const refusal = refuse(codes[error.code ?? ''] ?? 'VALIDATION_ERROR');
  const body = envelope(refusal, '-');
  const head = [
    `HTTP/1.1 ${refusal.status} ${http.STATUS_CODES[refusal.status]}`,
    'content-type: application/json; charset=utf-8',
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`, () => socket.destroy());
}
