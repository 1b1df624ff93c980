/**
 * The run API's list as one key sees it: on which pages the runs are that are sought, and whether
 * there is a list at all. What its pages say of a run is `list-driver.ts`'s business.
 *
 * A list of all runs is read while its first pages show them: it says how each run ended. Where
 * others stand in between, over long ago, only those in the statuses of live runs are asked for:
 * who is not among them any more has ended. Where the API does not know of `status`, all is read.
 */

import { backoffMs } from '../core/backoff.ts';
import type { ApiKey } from '../core/run-source.ts';
import type { DriverOptions } from './driver.ts';
import { ListOrder } from './list-order.ts';
import { PAGE_RUNS, firstQuery, nextQuery } from './list-page.ts';
import type { Page, PageAnswer } from './list-page.ts';

/** So many readings in a row that fail, and there is no list. */
export const MAX_FAILURES = 3;
/** Where there is none, or none by status, it is not tried again for this long. */
const WITHOUT_MS = 600_000;
/** Whether all runs are too many is not tried again for this long: it takes a cycle's time. */
const BY_STATUS_MS = 3_600_000;
/** Beside those that must hold what is sought, for runs of others and such as are over. */
const SPARE_PAGES = 1;
/** A list that goes on for longer is not read to its end. */
const MAX_PAGES = 200;

/** What is sought in a list, and who hears what is found. */
export interface Search {
  /** How many runs. */
  readonly count: number;
  /** That they may be in. */
  readonly statuses: readonly string[];
  /** Nothing is left to be found. */
  isDone(): boolean;
  ask(query: string): Promise<PageAnswer>;
  /** Gives how many it shows of those that are sought. */
  onPage(page: Page): number;
  /** They were shown the last time, and no more where they were. */
  onPassed(runIds: readonly string[]): void;
}

/** What came of a reading. `read`: what it did not show is not in the list. */
export type Outcome = 'read' | Exclude<PageAnswer, Page>;

type Way = 'all runs' | 'by status' | 'to the end';

/** Of one key. */
export class KeyList {
  readonly key: ApiKey;
  readonly #options: DriverOptions;
  readonly #random: () => number;
  #way: Way = 'all runs';
  #wayUntil = Infinity;
  #failures = 0;
  #notBefore = -Infinity;
  /** By status: what stood in the list, in its order. */
  readonly #orders = new Map<string, readonly string[]>();
  /** By status: it has ever shown a run that was sought. */
  #hasFound = false;

  constructor(key: ApiKey, options: DriverOptions, random: () => number) {
    this.key = key;
    this.#options = options;
    this.#random = random;
  }

  /** There is none, as far as one can tell: its runs are to be followed without. */
  get isMissing(): boolean {
    return this.#failures >= MAX_FAILURES;
  }

  /** Not while it is left alone, because it could not be had. */
  get isReadable(): boolean {
    return this.#options.clock.now() >= this.#notBefore;
  }

  async read(search: Search): Promise<Outcome> {
    const { clock, pollIntervalMs } = this.#options;
    if (clock.now() >= this.#wayUntil) this.#way = 'all runs';
    const outcome = await this.#read(search);
    const isTrouble = outcome === 'trouble';
    this.#failures = outcome === 'read' ? 0 : isTrouble ? this.#failures + 1 : MAX_FAILURES;
    if (outcome === 'read') return outcome;
    const restMs = isTrouble
      ? backoffMs(this.#failures, pollIntervalMs, undefined, this.#random) : WITHOUT_MS;
    this.#notBefore = clock.now() + restMs;
    return outcome;
  }

  async #read(search: Search): Promise<Outcome> {
    if (this.#way === 'all runs') {
      const pages = Math.ceil(search.count / PAGE_RUNS) + SPARE_PAGES;
      const outcome = await this.#walk(search, firstQuery(), pages);
      if (outcome !== 'unfinished') return outcome;
      this.#go('by status');
    }
    if (this.#way === 'by status') {
      const outcome = await this.#readByStatus(search);
      if (outcome !== 'useless') return outcome;
      this.#go('to the end');
    }
    const outcome = await this.#walk(search, firstQuery(), MAX_PAGES);
    return outcome === 'unfinished' ? 'read' : outcome;
  }

  async #readByStatus(search: Search): Promise<Outcome | 'useless'> {
    for (const [i, status] of search.statuses.entries()) {
      if (i > 0 && search.isDone()) break;
      const order = new ListOrder(this.#orders.get(status) ?? []);
      let isUnderstood = true;
      const outcome = await this.#walk({
        ...search,
        onPage: (page) => {
          isUnderstood &&= page.summaries.every((summary) => summary.status === status);
          const found = search.onPage(page);
          this.#hasFound ||= found > 0;
          const passed = order.passed(page.summaries.map(({ runId }) => runId));
          if (isUnderstood) search.onPassed(passed);
          return found;
        },
        isDone: () => !isUnderstood || search.isDone(),
      }, firstQuery(status), MAX_PAGES);
      if (outcome === 'no list' || !isUnderstood) return 'useless';
      if (outcome !== 'read' && outcome !== 'unfinished') return outcome;
      this.#orders.set(status, order.ids);
    }
    return this.#hasFound ? 'read' : 'useless';
  }

  /** From page to page, the first in any case, until nothing more is sought. */
  async #walk(search: Search, first: string, pages: number): Promise<Outcome | 'unfinished'> {
    const asked = new Set<string>();
    for (let query = first; asked.size < pages;) {
      asked.add(query);
      const page = await search.ask(query);
      if (typeof page === 'string') return page;
      search.onPage(page);
      if (page.next === undefined || search.isDone()) return 'read';
      query = nextQuery(query, page.next);
      if (asked.has(query)) return 'read';
    }
    return 'unfinished';
  }

  /** The first way is tried again after a while. */
  #go(way: Way): void {
    this.#way = way;
    this.#wayUntil = this.#options.clock.now()
      + (way === 'by status' ? BY_STATUS_MS : WITHOUT_MS);
  }
}
