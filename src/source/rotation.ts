/**
 * The keys of one run's watchers, taking turns in its polls: so each is proved again and again
 * at no extra cost. Also counts the polls in a row that did not find the run.
 */

import type { ApiKey } from '../core/run-source.ts';

/** A 404 or 410 is believed when it lasts this many polls: a new run may show up late. */
export const MISSING_POLLS = 3;

interface Turn {
  readonly key: ApiKey;
  missing: number;
}

/** Who is asked with next. */
export class Rotation {
  /** The first is asked next. */
  readonly #turns = new Map<string, Turn>();
  #missing = 0;

  get size(): number {
    return this.#turns.size;
  }

  get keys(): ApiKey[] {
    return [...this.#turns.values()].map(({ key }) => key);
  }

  has(key: string): boolean {
    return this.#turns.has(key);
  }

  /** Is any key but this one in it? */
  hasOthers(key: string): boolean {
    return this.#turns.size > (this.#turns.has(key) ? 1 : 0);
  }

  /** A newcomer goes last: it was proved just now. */
  add(key: ApiKey): void {
    if (!this.#turns.has(key.value)) this.#turns.set(key.value, { key, missing: 0 });
  }

  delete(key: string): void {
    this.#turns.delete(key);
  }

  /** The key whose turn it is; it goes to the end. */
  next(): ApiKey | undefined {
    const [turn] = this.#turns.values();
    if (turn === undefined) return undefined;
    this.#turns.delete(turn.key.value);
    this.#turns.set(turn.key.value, turn);
    return turn.key;
  }

  /** The run was shown to `key`. */
  found(key: string): void {
    this.#missing = 0;
    const turn = this.#turns.get(key);
    if (turn !== undefined) turn.missing = 0;
  }

  /** The run was not shown to `key`: has it been missing long enough, for the key or for all? */
  missed(key: string): { key: boolean; all: boolean } {
    this.#missing++;
    const turn = this.#turns.get(key);
    if (turn !== undefined) turn.missing++;
    return { key: (turn?.missing ?? 0) >= MISSING_POLLS, all: this.#missing >= MISSING_POLLS };
  }
}
