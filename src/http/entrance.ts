/**
 * Who is let in to a run: the key of a request, its own or out of a ticket, and what the source
 * says to it. The same for streams, waits and single looks, refused in the same words.
 */

import type { IncomingMessage } from 'node:http';

import { refuse } from '../core/errors.ts';
import type { Refusal } from '../core/errors.ts';
import type { Admission, Admitted, ApiKey, Purpose, RunSource } from '../core/run-source.ts';
import type { Trace } from '../core/trace.ts';
import { hasKey, readKey, ticketsOf } from './credentials.ts';
import type { Exchange } from './exchange.ts';
import { hasBody } from './headers.ts';
import type { Tickets } from './tickets.ts';

/** In front of all that needs a key. */
export class Entrance {
  readonly #source: RunSource;
  readonly #keyPrefix: string;
  readonly #tickets: Tickets;
  /** Requests whose proof is under way. */
  readonly #joining = new Set<Exchange>();
  #isDraining = false;

  constructor(source: RunSource, keyPrefix: string, tickets: Tickets) {
    this.#source = source;
    this.#keyPrefix = keyPrefix;
    this.#tickets = tickets;
  }

  get isDraining(): boolean {
    return this.#isDraining;
  }

  /** From now on nobody is let in, in a way that brings clients back. */
  drain(): void {
    this.#isDraining = true;
    for (const exchange of this.#joining) exchange.refuse(shuttingDown());
  }

  /** The key of a request that may be asked for about this run; undefined: it was refused. */
  keyOf(exchange: Exchange, runId: string): ApiKey | undefined {
    const [key] = this.keysOf(exchange, [runId]) ?? [];
    if (key === undefined || !('code' in key)) return key;
    return void exchange.refuse(key);
  }

  /**
   * The key that each of the runs is asked for with, or why its ticket is none; undefined: the
   * whole request was refused.
   */
  keysOf(
    exchange: Exchange, runIds: readonly string[],
  ): readonly (ApiKey | Refusal)[] | undefined {
    const { request } = exchange;
    // A body that never comes would end the answer at the server's request timeout.
    if (hasBody(request)) {
      const error = 'A GET here has no body';
      return void exchange.refuse(refuse('VALIDATION_ERROR', { error }));
    }
    return this.#passing(exchange, this.#keysIn(request, runIds));
  }

  /** The same for a request whose key must be its own: no ticket is good for another one. */
  ownKeyOf(exchange: Exchange): ApiKey | undefined {
    return this.#passing(exchange, readKey(exchange.request, this.#keyPrefix));
  }

  /** A proxy in front might have judged by another one than we do, so there is one of anything. */
  #keysIn(
    request: IncomingMessage, runIds: readonly string[],
  ): readonly (ApiKey | Refusal)[] | Refusal {
    const tickets = ticketsOf(request);
    if (tickets.length === 0) {
      const key = readKey(request, this.#keyPrefix);
      return 'code' in key ? key : runIds.map(() => key);
    }
    if (tickets.length !== runIds.length || hasKey(request, this.#keyPrefix)) {
      const error = 'There is one ticket for each run, in their order, and no key beside it';
      return refuse('TICKET_INVALID', { error });
    }
    return runIds.map((runId, i) => this.#tickets.open(tickets[i] ?? '', runId));
  }

  #passing<T extends object>(exchange: Exchange, keys: T | Refusal): T | undefined {
    const refused = (refusal: Refusal): undefined => void exchange.refuse(refusal);
    if ('code' in keys) return refused(keys);
    if (this.#isDraining) return refused(shuttingDown());
    if (exchange.place === 'spare') return void exchange.refuseFull();
    return keys;
  }

  /** Asks for one run of several. Never rejects, and decides nothing about the request. */
  ask(runId: string, key: ApiKey, trace: Trace): Promise<Admission> {
    return this.#ask(runId, key, 'follow', trace)
      .catch((): Admission => ({ kind: 'refused', refusal: refuse('INTERNAL_ERROR') }));
  }

  /** What `answers` come to, unless there is nobody to answer any more: undefined. */
  async gather<T>(exchange: Exchange, answers: Promise<T>): Promise<T | undefined> {
    this.#joining.add(exchange);
    const gathered = await answers.finally(() => this.#joining.delete(exchange));
    return exchange.isOpen ? gathered : undefined;
  }

  /** Undefined: it was refused, or there is nobody to answer any more. */
  async admit(
    exchange: Exchange, runId: string, key: ApiKey, purpose: Purpose,
  ): Promise<Admitted | undefined> {
    this.#joining.add(exchange);
    const admission = await this.#ask(runId, key, purpose, exchange.trace)
      .finally(() => this.#joining.delete(exchange));
    const isAdmitted = admission.kind === 'admitted';
    if (exchange.isOpen && isAdmitted) return admission;
    if (isAdmitted) admission.leave?.();
    else if (exchange.isOpen) exchange.refuse(admission.refusal);
    return undefined;
  }

  /** Async: an embedder's own source may throw as well as reject. */
  async #ask(...asked: Parameters<RunSource['admit']>): Promise<Admission> {
    return this.#source.admit(...asked);
  }
}

function shuttingDown(): Refusal {
  return refuse('RESOURCE_UNAVAILABLE', { error: 'The gateway is shutting down' });
}
