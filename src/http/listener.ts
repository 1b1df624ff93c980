/**
 * The server of a gateway that listens by itself: its limits, its errors below HTTP, and its end.
 * An embedder's server has its own.
 */

import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import * as http from 'node:http';
import { Server } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';

import type { Address } from '../core/address.ts';
import type { Clock } from '../core/clock.ts';
import { envelope, refuse } from '../core/errors.ts';
import type { ErrorCode } from '../core/errors.ts';
import type { Logger } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import type { Doorkeeper } from './doorkeeper.ts';
import type { Handler } from './handler.ts';
import { jsonHead } from './headers.ts';

/** Every limit of the server: Node's own defaults differ from line to line. */
const SERVER_OPTIONS: http.ServerOptions = {
  headersTimeout: 10_000,
  requestTimeout: 20_000,
  connectionsCheckingInterval: 1000,
  keepAliveTimeout: 65_000,
  maxHeaderSize: 16 * 1024,
  highWaterMark: 16 * 1024,
  noDelay: true,
  insecureHTTPParser: false,
  requireHostHeader: false, // the handler says so in our own words
};
const BACKLOG = 4096;
/** What was answered has this long to leave before connections are cut. */
const LINGER_MS = 250;

/** What a listener is put together from, besides who answers. */
export interface ListenerParts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Bodies may take any time: who reads one sees to its pace. */
  readonly takesUploads: boolean;
}

/** Who answers what comes to a listener. */
export type Answerer = Pick<Handler, 'handleOwn' | 'isHeld'>;

/** Listens once. */
export class Listener {
  readonly #server: http.Server;
  readonly #clock: Clock;
  /** While it is to listen, perhaps with a pause. */
  #place: { readonly host: string; readonly port: number; readonly backlog: number } | undefined;
  #isAccepting = true;

  constructor(
    handler: Answerer, door: Doorkeeper, { clock, log, metrics, takesUploads }: ListenerParts,
  ) {
    const onRequest: http.RequestListener = (request, response) => {
      door.onRequest(request.socket);
      handler.handleOwn(request, response, door.isFull);
    };
    const server = http.createServer(
      { ...SERVER_OPTIONS, ...takesUploads && { requestTimeout: 0 } }, onRequest,
    );
    server.timeout = 0;
    // Beyond a count Node leaves headers out without a word, a body's length among them.
    server.maxHeadersCount = 0;
    server.on('connection', door.onConnection);
    server.on('checkExpectation', onRequest); // an expectation may be left unmet: RFC 9110, 10.1.1
    server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
      // Into a stream that runs, or before the answer to a wait, nothing may be written.
      if (handler.isHeld(socket) || !socket.writable) socket.destroy();
      else refuseRaw(error, socket, metrics);
    });
    server.on('error', (error) => log.error('server error', { error: error.message }));
    this.#server = server;
    this.#clock = clock;
  }

  /** Rejects with the system's error where it cannot. */
  async listen(host: string, port: number): Promise<Address> {
    this.#place = { host, port, backlog: BACKLOG };
    this.#server.listen(this.#place);
    await once(this.#server, 'listening');
    const { address, family, port: bound } = this.#server.address() as AddressInfo;
    const name = family === 'IPv6' ? `[${address}]` : address;
    return { host: address, port: bound, url: `http://${name}:${bound}` };
  }

  /**
   * Takes no connections for now, or takes them again; those that are open notice nothing. For
   * workers, which share the socket: newcomers wait in it for who takes them.
   */
  accept(isOn: boolean, onListening: () => void): void {
    if (this.#place === undefined || isOn === this.#isAccepting) return;
    this.#isAccepting = isOn;
    if (isOn) this.#server.listen(this.#place, onListening);
    // Not http's own: that would also end the watch over silent connections.
    else Server.prototype.close.call(this.#server);
  }

  /** Takes no more connections; resolves when the last one is gone, which is soon. */
  async close(): Promise<void> {
    if (this.#place === undefined || this.#isAccepting && !this.#server.listening) return;
    this.#place = undefined;
    const closed = once(this.#server, 'close');
    // By itself it would wait for silent sockets for ever, and no longer time them out.
    const cut = this.#clock.setTimeout(() => this.#server.closeAllConnections(), LINGER_MS);
    this.#server.close();
    await closed;
    this.#clock.clearTimeout(cut);
  }
}

/** The answer to what Node's parser would not take. */
function refuseRaw(error: NodeJS.ErrnoException, socket: Socket, metrics: Metrics): void {
  const codes: Record<string, ErrorCode> = {
    HPE_HEADER_OVERFLOW: 'HEADERS_TOO_LARGE', ERR_HTTP_REQUEST_TIMEOUT: 'REQUEST_TIMEOUT',
  };
  const refusal = refuse(codes[error.code ?? ''] ?? 'VALIDATION_ERROR');
  metrics.count('runcast_refusals_total', refusal.code);
  const requestId = randomUUID();
  const body = envelope(refusal, requestId);
  const headers = {
    ...jsonHead(requestId), 'content-length': Buffer.byteLength(body), 'connection': 'close',
  };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join('');
  const status = `HTTP/1.1 ${refusal.status} ${http.STATUS_CODES[refusal.status]}\r\n`;
  socket.end(`${status}${lines}\r\n${body}`, () => socket.destroy());
}
