/**
 * Who is let in to a run: the key of a request, its own or out of a ticket, and what the source
 * says to it. The same for streams, waits and single looks, refused in the same words.
 */

import type { IncomingMessage } from 'node:http';

import { refuse } from '../core/errors.ts';
import type { Refusal } from '../core/errors.ts';
import type { Admitted, ApiKey, Purpose, RunSource } from '../core/run-source.ts';
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
    const { request } = exchange;
    // A body that never comes would end the answer at the server's request timeout.
    if (hasBody(request)) {
      const error = 'A GET here has no body';
      return void exchange.refuse(refuse('VALIDATION_ERROR', { error }));
    }
    const [ticket, another] = ticketsOf(request);
    return this.#passing(exchange, ticket === undefined
      ? readKey(request, this.#keyPrefix) : this.#keyIn(request, runId, ticket, another));
  }

  /** The same for a request whose key must be its own: no ticket is good for another one. */
  ownKeyOf(exchange: Exchange): ApiKey | undefined {
    return this.#passing(exchange, readKey(exchange.request, this.#keyPrefix));
  }

  /** A proxy in front might have judged by another one than we do, so there is one of anything. */
  #keyIn(
    request: IncomingMessage, runId: string, ticket: string, another: string | undefined,
  ): ApiKey | Refusal {
    if (another !== undefined || hasKey(request, this.#keyPrefix)) {
      return refuse('TICKET_INVALID', { error: 'A ticket comes without a key or another ticket' });
    }
    return this.#tickets.open(ticket, runId);
  }

  #passing(exchange: Exchange, key: ApiKey | Refusal): ApiKey | undefined {
    const refused = (refusal: Refusal): undefined => void exchange.refuse(refusal);
    if ('code' in key) return refused(key);
    if (this.#isDraining) return refused(shuttingDown());
    if (exchange.place === 'spare') return refused(full());
    return key;
  }

  /** Undefined: it was refused, or there is nobody to answer any more. */
  async admit(
    exchange: Exchange, runId: string, key: ApiKey, purpose: Purpose,
  ): Promise<Admitted | undefined> {
    this.#joining.add(exchange);
    const admission = await this.#source.admit(runId, key, purpose)
      .finally(() => this.#joining.delete(exchange));
    const isAdmitted = admission.kind === 'admitted';
    if (exchange.isOpen && isAdmitted) return admission;
    if (isAdmitted) admission.leave?.();
    else if (exchange.isOpen) exchange.refuse(admission.refusal);
    return undefined;
  }
}

function full(): Refusal {
  return refuse('RESOURCE_UNAVAILABLE', { error: 'Too many connections are open' });
}

function shuttingDown(): Refusal {
  return refuse('RESOURCE_UNAVAILABLE', { error: 'The gateway is shutting down' });
}
