/**
 * Who is let in to a run: the key of a request, and what the source says to it. The same for
 * streams, waits and single looks; each of them is refused in the same words.
 */

import { refuse } from '../core/errors.ts';
import type { Refusal } from '../core/errors.ts';
import type { Admission, Admitted, ApiKey, Purpose, RunSource } from '../core/run-source.ts';
import { readKey } from './credentials.ts';
import type { Exchange } from './exchange.ts';
import { hasBody } from './headers.ts';

/** In front of all that needs a key. */
export class Entrance {
  readonly #source: RunSource;
  readonly #keyPrefix: string;
  /** Requests whose proof is under way. */
  readonly #joining = new Set<Exchange>();
  #isDraining = false;

  constructor(source: RunSource, keyPrefix: string) {
    this.#source = source;
    this.#keyPrefix = keyPrefix;
  }

  get isDraining(): boolean {
    return this.#isDraining;
  }

  /** From now on nobody is let in, in a way that brings clients back. */
  drain(): void {
    this.#isDraining = true;
    for (const exchange of this.#joining) exchange.refuse(shuttingDown());
  }

  /** The key of a request that may be asked for; undefined: it was refused. */
  keyOf(exchange: Exchange): ApiKey | undefined {
    const { request, place } = exchange;
    const refused = (refusal: Refusal): undefined => void exchange.refuse(refusal);
    // A body that never comes would end the answer at the server's request timeout.
    if (hasBody(request)) {
      return refused(refuse('VALIDATION_ERROR', { error: 'A GET here has no body' }));
    }
    const key = readKey(request, this.#keyPrefix);
    if ('code' in key) return refused(key);
    if (this.#isDraining) return refused(shuttingDown());
    if (place === 'spare') return refused(full());
    return key;
  }

  /** The key that each of the runs is asked for with; undefined: the request was refused. */
  keysOf(exchange: Exchange, runIds: readonly string[]): ApiKey[] | undefined {
    const key = this.keyOf(exchange);
    return key && runIds.map(() => key);
  }

  /** Asks for one run of several. Never rejects, and decides nothing about the request. */
  ask(runId: string, key: ApiKey): Promise<Admission> {
    return this.#source.admit(runId, key, 'follow')
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
