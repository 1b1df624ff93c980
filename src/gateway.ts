/**
 * The composition root: source, hub and handler put together, and the server around them. What
 * an embedder holds. Knows no process and no command line.
 */

import * as http from 'node:http';
import type { AddressInfo, Socket } from 'node:net';

import { systemClock } from './core/clock.ts';
import { GatewayError, envelope, refuse } from './core/errors.ts';
import type { ErrorCode } from './core/errors.ts';
import { silentLogger } from './core/log.ts';
import type { Logger } from './core/log.ts';
import type { RunSource } from './core/run-source.ts';
import { Handler } from './http/handler.ts';
import { Hub } from './hub/hub.ts';
import { resolveOptions } from './options.ts';
import type { GatewayOptions, Settings } from './options.ts';
import { PollingSource } from './source/polling-source.ts';
import { Upstream } from './source/upstream.ts';

/** Numbers of this moment. */
export interface GatewayStats {
  /** Open streams, also those that have had their last event and wait for their client. */
  readonly streams: number;
  /** Runs that these follow. */
  readonly runs: number;
}

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
   * that brings them back, then stops listening and polling. Never rejects; idempotent.
   */
  close(): Promise<void>;
  stats(): GatewayStats;
}

/** Throws a {@link GatewayError} `INVALID_OPTIONS` that names every mistake. */
export function createGateway(options: GatewayOptions): Gateway {
  const settings = resolveOptions(options);
  const log = options.logger ?? silentLogger;
  return new ComposedGateway(settings, options.source ?? pollingSource(settings, log), log);
}

function pollingSource(settings: Settings, log: Logger): RunSource {
  const { upstreamPath: path, upstreamTimeoutMs: timeoutMs, maxBodyBytes } = settings;
  const url = new URL(settings.upstream ?? '');
  return new PollingSource({
    upstream: new Upstream({ url, path, timeoutMs, maxBodyBytes }, systemClock),
    mapping: settings,
    pollIntervalMs: settings.pollIntervalMs,
    clock: systemClock,
    random: Math.random,
    log,
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

class ComposedGateway implements Gateway {
  readonly handler: Gateway['handler'];
  readonly #settings: Settings;
  readonly #source: RunSource;
  readonly #log: Logger;
  readonly #hub: Hub;
  readonly #http: Handler;
  #server: http.Server | undefined;
  #closing: Promise<void> | undefined;

  constructor(settings: Settings, source: RunSource, log: Logger) {
    this.#settings = settings;
    this.#source = source;
    this.#log = log;
    const shared = { clock: systemClock, random: Math.random };
    this.#hub = new Hub(source, { ...settings, ...shared });
    const { keyPrefix } = settings;
    this.#http = new Handler({ source, hub: this.#hub, keyPrefix, log, ...shared });
    this.handler = this.#http.handle;
  }

  stats(): GatewayStats {
    return this.#hub.size;
  }

  async listen(): Promise<{ host: string; port: number; url: string }> {
    if (this.#closing) throw new GatewayError('CLOSED', ['The gateway is closed']);
    if (this.#server) throw new GatewayError('ALREADY_LISTENING', ['listen() was called before']);
    const { host, port } = this.#settings;
    const server = http.createServer(SERVER_OPTIONS, this.handler);
    this.#server = server;
    server.timeout = 0;
    server.on('clientError', onClientError);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host, port, backlog: 4096 }, resolve);
    });
    server.on('error', (error) => this.#log.error('server error', { error: error.message }));
    const address = server.address() as AddressInfo;
    const name = address.family === 'IPv6' ? `[${address.address}]` : address.address;
    return { host, port: address.port, url: `http://${name}:${address.port}` };
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const { drainTimeoutMs } = this.#settings;
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
