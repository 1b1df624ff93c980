/** A map from a key to a set of values, which drops a key with its last value. */

const EMPTY: ReadonlySet<never> = new Set<never>();

/** Several values to a key, in the order in which they were added. */
export class MultiMap<K, V> {
  readonly #sets = new Map<K, Set<V>>();

  /** Number of keys. */
  get size(): number {
    return this.#sets.size;
  }

  has(key: K): boolean {
    return this.#sets.has(key);
  }

  get(key: K): ReadonlySet<V> {
    return this.#sets.get(key) ?? EMPTY;
  }

  /** All sets; those that vanish while one looks are left out, those that come are not. */
  sets(): ReadonlySet<V>[] {
    return [...this.#sets.values()];
  }

  add(key: K, value: V): void {
    const set = this.#sets.get(key);
    if (set === undefined) this.#sets.set(key, new Set([value]));
    else set.add(value);
  }

  /** False if it was not there. */
  delete(key: K, value: V): boolean {
    const set = this.#sets.get(key);
    if (set === undefined || !set.delete(value)) return false;
    if (set.size === 0) this.#sets.delete(key);
    return true;
  }
}
