/** A map from a key to a set of values, which drops a key with its last value. */

const EMPTY: readonly never[] = [];

/**
 * Several values to a key, in the order in which they were added. Most keys have but one: it
 * stands for itself, since a set takes ten times the memory.
 */
export class MultiMap<K, V extends object> {
  readonly #values = new Map<K, V | Set<V>>();

  /** Number of keys. */
  get size(): number {
    return this.#values.size;
  }

  has(key: K): boolean {
    return this.#values.has(key);
  }

  get(key: K): Iterable<V> {
    const values = this.#values.get(key);
    return values === undefined ? EMPTY : together(values);
  }

  /** Of each key; those that vanish while one looks may be left out, those that come are not. */
  groups(): Iterable<V>[] {
    return Array.from(this.#values.values(), together);
  }

  add(key: K, value: V): void {
    const values = this.#values.get(key);
    if (values instanceof Set) values.add(value);
    else if (values === undefined) this.#values.set(key, value);
    else if (values !== value) this.#values.set(key, new Set([values, value]));
  }

  /** False if it was not there. */
  delete(key: K, value: V): boolean {
    const values = this.#values.get(key);
    if (values instanceof Set) {
      if (!values.delete(value)) return false;
      if (values.size > 0) return true;
    } else if (values !== value) return false;
    return this.#values.delete(key);
  }
}

function together<V extends object>(values: V | Set<V>): Iterable<V> {
  return values instanceof Set ? values : [values];
}
