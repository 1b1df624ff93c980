/**
 * The keys of one run's watchers, taking turns in its polls: so each is proved again and again
 * at no extra cost. Also counts the polls in a row that did not find the run.
 */

import assert from 'node:assert';

import type { ApiKey } from '../core/run-source.ts';

/**
 * A 404 or 410 is believed when it lasts this many polls, trouble in between not counted: a new
 * run may show up late.
 */
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

  /** The key, if it was in it. */
  delete(key: string): ApiKey | undefined {
    const turn = this.#turns.get(key);
    this.#turns.delete(key);
    return turn?.key;
  }

  /** If it is one of them, it is asked with next. */
  prefer(key: string | undefined): void {
    const first = this.#turns.get(key ?? '');
    if (first === undefined) return;
    const others = [...this.#turns.values()].filter((turn) => turn !== first);
    this.#turns.clear();
    for (const turn of [first, ...others]) this.#turns.set(turn.key.value, turn);
  }

  /** The key whose turn it is; it goes to the end. `proved` has none while there are others. */
  next(proved?: string): ApiKey {
    const [first, second] = this.#turns.values();
    const turn = first?.key.value === proved ? second ?? first : first;
    assert(turn, 'somebody watches');
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

  /**
   * The run was not shown to `key`: who is to be refused now? The key, when that was its third
   * time in a row; all who missed the run, when it was missing three times in a row to whomever.
   */
  missed(key: ApiKey): ApiKey[] {
    this.#missing++;
    const turn = this.#turns.get(key.value);
    if (turn === undefined) return [];
    turn.missing++;
    if (this.#missing < MISSING_POLLS) return turn.missing < MISSING_POLLS ? [] : [turn.key];
    return [...this.#turns.values()].filter((each) => each.missing > 0).map((each) => each.key);
  }
}
