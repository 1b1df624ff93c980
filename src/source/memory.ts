/**
 * What is remembered for a while: by name, until a moment of its own, within bounds of number and
 * of size. The oldest goes first; what is written again counts as new.
 */

import type { Clock } from '../core/clock.ts';

/** At most so many entries, and so many characters in all of them. */
export interface MemoryLimits {
  readonly entries: number;
  readonly chars: number;
}

interface Entry<T> {
  readonly value: T;
  /** Monotonic milliseconds. */
  readonly until: number;
  readonly chars: number;
}

/** A map that forgets. */
export class Memory<T> {
  readonly #clock: Clock;
  readonly #limits: MemoryLimits;
  /** In the order in which they were written. */
  readonly #entries = new Map<string, Entry<T>>();
  #chars = 0;

  constructor(clock: Clock, limits: MemoryLimits) {
    this.#clock = clock;
    this.#limits = limits;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(name: string): T | undefined {
    const entry = this.#entries.get(name);
    if (entry === undefined || entry.until > this.#clock.now()) return entry?.value;
    this.#forget(name, entry);
    return undefined;
  }

  /** `chars`: how much of the size this entry takes. */
  set(name: string, value: T, until: number, chars: number): void {
    const before = this.#entries.get(name);
    if (before !== undefined) this.#forget(name, before);
    this.#entries.set(name, { value, until, chars });
    this.#chars += chars;
    const now = this.#clock.now();
    for (const [oldName, old] of this.#entries) {
      const isOver = this.#entries.size > this.#limits.entries || this.#chars > this.#limits.chars;
      if (!isOver && old.until > now) break;
      this.#forget(oldName, old);
    }
  }

  delete(name: string): void {
    const entry = this.#entries.get(name);
    if (entry !== undefined) this.#forget(name, entry);
  }

  #forget(name: string, entry: Entry<T>): void {
    this.#entries.delete(name);
    this.#chars -= entry.chars;
  }
}
