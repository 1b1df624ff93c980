/**
 * Requests into answers: which of the routes it is, and the little that is answered from what is
 * at hand. What belongs to one route has a file of its own.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

import { refuse } from '../core/errors.ts';
import type { Machine } from '../core/machine.ts';
import type { RunSource } from '../core/run-source.ts';
import { traceFacts } from '../core/trace.ts';
import { Cors } from './cors.ts';
import { Doctor } from './doctor.ts';
import type { DoctorOptions } from './doctor.ts';
import { Entrance } from './entrance.ts';
import { Exchange } from './exchange.ts';
import type { ExchangeOptions } from './exchange.ts';
import { Forwards } from './forwards.ts';
import type { ForwardsOptions } from './forwards.ts';
import { answerPage } from './live-page.ts';
import { Pipeline } from './pipeline.ts';
import { Pushes } from './pushes.ts';
import type { PushesOptions } from './pushes.ts';
import { parseAdminRoute, parseRoute } from './routes.ts';
import type { Offers, Route } from './routes.ts';
import { answerStatus } from './status.ts';
import { Streams } from './streams.ts';
import type { StreamsOptions } from './streams.ts';
import { TicketOffice } from './ticket-office.ts';
import { Tickets } from './tickets.ts';
import type { TicketsOptions } from './tickets.ts';
import { Waits } from './wait.ts';

/** What the handler is put together from. */
export interface HandlerOptions extends
  Omit<ExchangeOptions, 'cors'>, StreamsOptions, PushesOptions, TicketsOptions, DoctorOptions,
  ForwardsOptions {
  readonly source: RunSource;
  readonly keyPrefix: string;
  readonly basePath: string | undefined;
  /** Where probes and metrics are, if not beside all else. */
  readonly adminPort: number | undefined;
  readonly allowedOrigins: readonly string[] | undefined;
  readonly machine: Machine;
  readonly page: boolean | undefined;
  /** What the page may be used with at once. */
  readonly demoKey?: string;
}

const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/** Answers requests; {@link Handler.handle} may be mounted in any server. */
export class Handler {
  readonly #options: HandlerOptions & ExchangeOptions;
  readonly #cors: Cors;
  readonly #entrance: Entrance;
  readonly #streams: Streams;
  readonly #waits: Waits;
  readonly #pushes: Pushes;
  readonly #doctor: Doctor;
  readonly #ticketOffice: TicketOffice;
  readonly #forwards: Forwards;
  readonly #offers: Offers;
  readonly #pipeline: Pipeline;

  constructor(options: HandlerOptions) {
    const { source, keyPrefix, clock, hub } = options;
    this.#cors = new Cors(options.allowedOrigins);
    this.#options = { ...options, cors: this.#cors };
    const tickets = new Tickets(options);
    this.#entrance = new Entrance(source, keyPrefix, tickets);
    this.#streams = new Streams(options, this.#entrance);
    this.#waits = new Waits(clock, hub, this.#entrance);
    this.#pushes = new Pushes(options);
    this.#doctor = new Doctor(options);
    this.#ticketOffice = new TicketOffice(tickets, this.#entrance, options);
    this.#forwards = new Forwards(options);
    const { page = false } = options;
    this.#pipeline = new Pipeline(options.metrics);
    this.#offers = { ...this.#pushes.offers, page, forward: this.#forwards.isOn };
  }

  /**
   * From now on nobody is let in, in a way that brings clients back. Resolves when nothing is
   * being passed on any more.
   */
  drain(): Promise<void> {
    this.#entrance.drain();
    this.#doctor.close();
    return this.#forwards.drain();
  }

  /** Cuts what is still being passed on. */
  destroy(): void {
    this.#forwards.destroy();
  }

  /** Would anything that is written to it now be taken for what its client waits for? */
  isHeld(socket: Socket): boolean {
    return this.#streams.has(socket) || this.#doctor.has(socket) || this.#pipeline.isHeld(socket);
  }

  /** For a server of somebody else's: what it knows of its connections stays true. */
  readonly handle = (request: IncomingMessage, response: ServerResponse): void => {
    this.#handle(new Exchange(request, response, this.#options, 'host'));
  };

  /** For our own server: a stream's connection is taken from it, where there is room for one. */
  handleOwn(request: IncomingMessage, response: ServerResponse, isFull: boolean): void {
    this.#handle(new Exchange(request, response, this.#options, isFull ? 'spare' : 'own'));
  }

  /** For the port of probes and metrics. */
  handleAdmin(request: IncomingMessage, response: ServerResponse): void {
    const exchange = new Exchange(request, response, this.#options, 'own');
    this.#handle(exchange, parseAdminRoute(request.method ?? '', request.url ?? ''));
  }

  #handle(exchange: Exchange, route = this.#routeOf(exchange)): void {
    const { request, response, trace } = exchange;
    const { log } = this.#options;
    const { socket } = request;
    // Never the path as it came: a key may stand in it by mistake.
    const facts = { ...traceFacts(trace), method: request.method, route: route.kind };
    log.debug('request', { ...facts, ...'runId' in route && { runId: route.runId } });
    // What comes behind a stream's request on its connection has no turn before its end: answers
    // would pile up in memory, and their `close` never comes.
    if (this.#streams.has(socket) || this.#doctor.has(socket) || !this.#pipeline.enter(exchange)) {
      socket.destroy();
      return;
    }
    this.#answer(exchange, route).catch((error: unknown) => {
      log.error('request failed', { ...traceFacts(trace), error: String(error) });
      if (response.headersSent) socket.destroy();
      else exchange.refuse(refuse('INTERNAL_ERROR'));
    }).finally(() => this.#pipeline.leave(socket));
  }

  #routeOf({ request: { method = '', url = '' }, place }: Exchange): Route {
    // A host has but one port.
    const probes = this.#options.adminPort === undefined || place === 'host';
    return parseRoute(method, url, { ...this.#offers, probes }, this.#options.basePath);
  }

  async #answer(exchange: Exchange, route: Route): Promise<void> {
    const { request } = exchange;
    if (request.headers.host === undefined && request.httpVersion === '1.1') {
      return exchange.refuse(refuse('VALIDATION_ERROR', { error: 'A request has a Host' }));
    }
    switch (route.kind) {
      case 'refused':
        if (route.allow !== undefined && this.#cors.isPreflight(request)) {
          return exchange.noContent(this.#cors.preflightHead(request, route.allow));
        }
        return exchange.refuse(route.refusal, route.allow);
      case 'live':
        return exchange.json(200, JSON.stringify({ status: 'ok' }));
      case 'ready':
        return this.#ready(exchange);
      case 'health':
        return this.#health(exchange);
      case 'metrics':
        return this.#metrics(exchange);
      case 'openapi': {
        const { OPENAPI } = await import('./openapi.ts');
        return exchange.json(200, JSON.stringify(OPENAPI));
      }
      case 'stream': case 'streams':
        return this.#streams.open(exchange, route);
      case 'status':
        return answerStatus(exchange, route.runId, this.#entrance);
      case 'wait':
        return this.#pipeline.inTurn(request.socket, () => this.#waits.answer(exchange, route));
      case 'poke':
        return this.#pushes.poke(exchange, route.runId);
      case 'publish':
        return this.#pushes.publish(exchange, route.runId);
      case 'ticket':
        return this.#ticketOffice.issue(exchange, route.runId);
      case 'webhook':
        return this.#pushes.webhook(exchange);
      case 'forward':
        return this.#pipeline.inTurn(request.socket, () => this.#forwards.answer(exchange, route));
      case 'doctor': case 'doctor-facts': case 'doctor-stream': case 'doctor-script':
        return this.#doctor.answer(exchange, route);
      case 'page': case 'page-style': case 'page-script':
        return answerPage(exchange, route, this.#options.demoKey);
    }
  }

  async #ready(exchange: Exchange): Promise<void> {
    const { isDraining } = this.#entrance;
    const isSilent = !isDraining && await this.#options.machine.stats() === undefined;
    const status = isDraining ? 'draining' : isSilent ? 'silent' : 'ready';
    exchange.json(status === 'ready' ? 200 : 503, JSON.stringify({ status }));
  }

  async #health(exchange: Exchange): Promise<void> {
    const stats = await this.#options.machine.stats();
    if (stats === undefined) return exchange.refuse(refuse('RESOURCE_UNAVAILABLE'));
    return exchange.json(200, JSON.stringify({ status: 'ok', ...stats }));
  }

  async #metrics(exchange: Exchange): Promise<void> {
    const text = await this.#options.machine.metrics();
    if (text === undefined) return exchange.refuse(refuse('RESOURCE_UNAVAILABLE'));
    return exchange.json(200, text, { 'content-type': METRICS_TYPE });
  }
}
