/**
 * The keys that webhooks are signed with: from a file, from a URL, or from the run API itself.
 * Kept once they are read. A signature that fits none of them may be by a key that is new, so the
 * set is read anew then, but seldom: anybody can send such a signature.
 */

import { verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { readFile } from 'node:fs/promises';

import type { Clock } from '../core/clock.ts';
import { parseJwks } from '../core/jwks.ts';
import type { Logger } from '../core/log.ts';
import type { ApiKey } from '../core/run-source.ts';
import type { RunApi } from './run-api.ts';
import type { Upstream } from './upstream.ts';

/** Where the keys are. */
export type KeyPlace =
  | { readonly kind: 'file'; readonly path: string }
  /** `key` goes along; `isBudgeted`: it is a request to the run API like any other. */
  | { readonly kind: 'http'; readonly upstream: Upstream; readonly key: ApiKey | undefined;
      readonly isBudgeted: boolean };

/** What reading them takes. */
export interface SigningKeysOptions {
  readonly place: KeyPlace;
  readonly api: RunApi;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Between two readings of the set, when the first was good and when it was not. */
const AGAIN_MS = 30_000;
const RETRY_MS = 5_000;
/** An old set is read anew before it is used: a key that was withdrawn must not hold for ever. */
const MAX_AGE_MS = 3_600_000;

/** All keys that may have signed. */
export class SigningKeys {
  readonly #options: SigningKeysOptions;
  #keys: readonly KeyObject[] | undefined;
  #loading: Promise<void> | undefined;
  /** Not before. */
  #nextAt = -Infinity;
  #staleAt = -Infinity;

  constructor(options: SigningKeysOptions) {
    this.#options = options;
  }

  /** Has one of them signed it? Undefined: no key is known, so nobody can tell. */
  async verify(message: Buffer, signature: Buffer): Promise<boolean | undefined> {
    if (this.#options.clock.now() >= this.#staleAt) await this.#renew();
    if (this.#fits(message, signature)) return true;
    await this.#renew();
    return this.#keys && this.#fits(message, signature);
  }

  /** Requests under way fail. */
  close(): void {
    const { place } = this.#options;
    this.#nextAt = Infinity;
    if (place.kind === 'http') place.upstream.close();
  }

  #fits(message: Buffer, signature: Buffer): boolean {
    return this.#keys?.some((key) => verify(null, message, key, signature)) === true;
  }

  /** At once for all who ask meanwhile. Where it fails, the keys that are known stay. */
  #renew(): Promise<void> {
    if (this.#loading === undefined && this.#options.clock.now() < this.#nextAt) {
      return Promise.resolve();
    }
    this.#loading ??= this.#load().finally(() => (this.#loading = undefined));
    return this.#loading;
  }

  async #load(): Promise<void> {
    const { clock, log } = this.#options;
    const text = await this.#read();
    const keys = text === undefined ? undefined : parseJwks(text);
    const now = clock.now();
    // After the end it stays at never.
    this.#nextAt = Math.max(this.#nextAt, now + (keys === undefined ? RETRY_MS : AGAIN_MS));
    if (keys === undefined) {
      log.warn('the keys of webhooks cannot be read', { known: this.#keys?.length ?? 0 });
      return;
    }
    this.#keys = keys;
    this.#staleAt = now + MAX_AGE_MS;
  }

  async #read(): Promise<string | undefined> {
    const { place, api } = this.#options;
    if (place.kind === 'file') return readFile(place.path, 'utf8').catch(() => undefined);
    if (place.isBudgeted) {
      const turn = api.turn('urgent', () => true);
      if (turn !== undefined && !await turn) return undefined;
    }
    const exchange = await place.upstream.get('', place.key);
    if (place.isBudgeted) api.settle(exchange);
    const isGood = exchange.kind === 'answer' && exchange.status === 200;
    return isGood ? exchange.body.toString('utf8') : undefined;
  }
}
