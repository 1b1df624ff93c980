/**
 * The gateway's side of `GET /doctor`: what it sees of a request, and streams of a known pace. No
 * key and no upstream are needed, nothing of a run is shown, and no value of a header comes back.
 */

import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';

import type { Clock } from '../core/clock.ts';
import { refuse } from '../core/errors.ts';
import type { Refusal } from '../core/errors.ts';
import type { Metrics } from '../core/metrics.ts';
import {
  MAX_PROBES, NONCE_HEADER, PROXY_HEADERS, WATCHED_HEADERS, probeHeaders,
  sampleHeaders,
} from '../doctor/probes.ts';
import type { Arrival, Facts, WatchedHeader } from '../doctor/probes.ts';
import { DOCTOR_CSP, DOCTOR_HTML, DOCTOR_MODULES } from './doctor-page.ts';
import type { DoctorRoute } from './doctor-routes.ts';
import type { Exchange } from './exchange.ts';
import { acceptsGzip, hasBody, wantsEvents } from './headers.ts';
import { serveModule } from './modules.ts';
import { ProbeStream } from './probe-stream.ts';

/** What the doctor is put together from. */
export interface DoctorOptions {
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly pingIntervalMs: number;
  readonly compress: boolean;
}

type AnsweredRoute = Exclude<DoctorRoute, { kind: 'refused' }>;

/** Answers what is asked of the doctor. */
export class Doctor {
  readonly #options: DoctorOptions;
  readonly #probes = new Set<ProbeStream>();
  readonly #sockets = new WeakSet<Socket>();
  #isClosed = false;

  constructor(options: DoctorOptions) {
    this.#options = options;
  }

  /** Does this connection carry a probe stream? */
  has(socket: Socket): boolean {
    return this.#sockets.has(socket);
  }

  /** Ends all probe streams, and takes no more: a host would wait for each of them. */
  close(): void {
    this.#isClosed = true;
    for (const probe of this.#probes) probe.close();
  }

  async answer(exchange: Exchange, route: AnsweredRoute): Promise<void> {
    const { request } = exchange;
    if (hasBody(request)) {
      return exchange.refuse(refuse('VALIDATION_ERROR', { error: 'A GET here has no body' }));
    }
    switch (route.kind) {
      case 'doctor':
        if (/\btext\/html\b/i.test(request.headers.accept ?? '')) return servePage(exchange);
        return this.#tellFacts(exchange, route.nonce);
      case 'doctor-facts':
        return this.#tellFacts(exchange, route.nonce);
      case 'doctor-script':
        return serveModule(exchange, route.name, DOCTOR_MODULES);
      case 'doctor-stream':
        return this.#open(exchange, route);
    }
  }

  #tellFacts(exchange: Exchange, nonce: string | null): void {
    const { request } = exchange;
    const { pingIntervalMs, compress } = this.#options;
    const samples = nonce === null ? {} : sampleHeaders(nonce);
    const facts: Facts = {
      nonce,
      httpVersion: request.httpVersion,
      requestHeaders: arrivalsIn(request, nonce),
      responseHeaders: Object.keys(samples),
      proxyHeaders: PROXY_HEADERS.filter((name) => name in request.headers),
      pingIntervalMs,
      compress,
    };
    exchange.json(200, JSON.stringify(facts), {
      'vary': 'accept', ...samples, ...nonce === null ? {} : { [NONCE_HEADER]: nonce },
    });
  }

  #open(exchange: Exchange, route: Extract<DoctorRoute, { kind: 'doctor-stream' }>): void {
    const { request } = exchange;
    const { clock, compress } = this.#options;
    const refusal = this.#refusalFor(exchange);
    if (refusal !== undefined) return exchange.refuse(refusal);
    const isPacked = route.isPacked && compress && request.httpVersion !== '1.0'
      && acceptsGzip(request);
    const { socket } = request;
    const probe = new ProbeStream(exchange, { ...route, isPacked }, clock, () => {
      this.#probes.delete(probe);
      this.#sockets.delete(socket);
    });
    this.#probes.add(probe);
    this.#sockets.add(socket);
    probe.start();
    return undefined;
  }

  #refusalFor({ response, place }: Exchange): Refusal | undefined {
    const busy = (error: string): Refusal => refuse('RESOURCE_UNAVAILABLE', { error });
    if (this.#isClosed) return busy('The gateway is shutting down');
    if (place === 'spare') return busy('Too many connections are open');
    // Its time would begin before it has the connection.
    if (response.socket === null) return busy('A probe does not wait behind another request');
    if (this.#probes.size < MAX_PROBES) return undefined;
    this.#options.metrics.count('runcast_limit_total', 'probes');
    return busy('Too many probes are under way');
  }
}

function arrivalsIn(request: IncomingMessage, nonce: string | null): Facts['requestHeaders'] {
  const sent = nonce === null ? undefined : probeHeaders(nonce);
  const howOf = (name: WatchedHeader): Arrival => {
    const value = request.headers[name];
    if (value === undefined) return 'missing';
    if (name === 'accept') return wantsEvents(request) ? 'whole' : 'changed';
    if (name === 'accept-encoding') return acceptsGzip(request) ? 'whole' : 'changed';
    return value === sent?.[name] ? 'whole' : 'changed';
  };
  const entries = WATCHED_HEADERS.map((name) => [name, howOf(name)] as const);
  return Object.fromEntries(entries) as Record<WatchedHeader, Arrival>;
}

function servePage(exchange: Exchange): void {
  exchange.json(200, DOCTOR_HTML, {
    'content-type': 'text/html; charset=utf-8',
    'content-security-policy': DOCTOR_CSP,
    'referrer-policy': 'no-referrer',
    'vary': 'accept',
  });
}
