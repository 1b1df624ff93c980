/**
 * The order in which a list that leaves out what is over shows its runs, as it was the last time:
 * who stood between two that are there still, and is not there any more, is known to be gone
 * before the list was read to its end. Pure. Where pages move while they are read a run may be
 * passed over that is there: so it is asked for, and not believed to be over.
 */

/** One reading, held against the one before. */
export class ListOrder {
  readonly #before: readonly string[];
  readonly #places: Map<string, number>;
  readonly #ids: string[] = [];
  readonly #seen = new Set<string>();
  /** Up to here it was passed over or seen. */
  #at = 0;
  #isSame = true;

  /** `before`: all that were shown the last time. */
  constructor(before: readonly string[]) {
    this.#before = before;
    this.#places = new Map(before.map((id, place) => [id, place]));
  }

  /** All that were shown so far. */
  get ids(): readonly string[] {
    return this.#ids;
  }

  /** The next page. Gives those that it has passed over; none where the order is another one. */
  passed(page: readonly string[]): string[] {
    const placeOf = (id: string): number | never[] => this.#places.get(id) ?? [];
    const fresh = page.filter((id) => !this.#seen.has(id)).flatMap(placeOf);
    const places = page.flatMap(placeOf);
    // Pages that moved may show a run twice; but not one that was passed over before.
    this.#isSame &&= fresh.every((place) => place >= this.#at)
      && places.every((place, i) => place > (places[i - 1] ?? -1));
    for (const id of page) this.#seen.add(id);
    this.#ids.push(...page);
    const last = places.at(-1);
    if (last === undefined || last < this.#at || !this.#isSame) return [];
    const passed = this.#before.slice(this.#at, last).filter((id) => !this.#seen.has(id));
    this.#at = last + 1;
    return passed;
  }
}
