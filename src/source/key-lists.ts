/** The lists of all keys of live runs, in the order in which they are read: each first in turn. */

import type { ApiKey } from '../core/run-source.ts';
import type { DriverOptions } from './driver.ts';
import { KeyList } from './key-list.ts';

/** What is known of each key's list goes when nobody watches with it any more. */
export class KeyLists {
  readonly #options: DriverOptions;
  readonly #random: () => number;
  readonly #lists = new Map<string, KeyList>();
  #turn = 0;

  constructor(options: DriverOptions, random: () => number) {
    this.#options = options;
    this.#random = random;
  }

  /** Of these keys, each once; the one that was first goes last the next time. */
  next(keys: Iterable<ApiKey>): KeyList[] {
    const all = new Map<string, KeyList>();
    for (const key of keys) {
      if (all.has(key.value)) continue;
      const known = this.#lists.get(key.value);
      all.set(key.value, known ?? new KeyList(key, this.#options, this.#random));
    }
    this.#lists.clear();
    for (const [value, list] of all) this.#lists.set(value, list);
    const lists = [...all.values()];
    const first = ++this.#turn % Math.max(1, lists.length);
    return [...lists.slice(first), ...lists.slice(0, first)];
  }

  /** Whoever has these keys is to be followed without a list. */
  areMissing(keys: readonly ApiKey[]): boolean {
    return keys.every(({ value }) => this.#lists.get(value)?.isMissing === true);
  }
}
