/**
 * `--source list`: one page of the run API's list shows a hundred runs. A run whose summary has
 * changed is asked for at once; one that is shown and unchanged is asked for in turn, with what is
 * left of the budget, for outputs that summaries do not have; one that is not shown is polled.
 */

import { backoffMs } from '../core/backoff.ts';
import type { Timer } from '../core/clock.ts';
import type { ApiKey } from '../core/run-source.ts';
import type { Answer } from './answer.ts';
import { PollDriver } from './driver.ts';
import type { DriverOptions } from './driver.ts';
import type { Page, Summary } from './list-page.ts';
import type { Poller } from './poller.ts';

/** Of a budget, the most that pages take, and what is left to joins and ends beside them. */
const PAGES_SHARE = 0.63;
const NEWS_SHARE = 0.3;
/** A list that goes on for longer is not read to its end. */
const MAX_PAGES = 200;
/** So many cycles in a row that fail, and the runs are polled. */
const MAX_FAILURES = 3;
/** Where there is no such list the runs are polled, for this long. */
const WITHOUT_MS = 600_000;

/** What became of a cycle. */
type Outcome = 'read' | 'trouble' | 'no list';

/** Follows all runs by a list. */
export class ListDriver extends PollDriver {
  readonly #random: () => number;
  /** What the list has shown of each, if it has. */
  readonly #live = new Map<Poller, string | undefined>();
  #timer: Timer | undefined;
  #isReading = false;
  #isClosed = false;
  #cycle = 0;
  /** Of the last cycle. */
  #pages = 1;
  #failures = 0;
  /** Looks that may be had, and whose turn it is. */
  #samples = 0;
  #nextSample = 0;

  constructor(options: DriverOptions, random: () => number) {
    super(options);
    this.#random = random;
  }

  override restMs(poller: Poller, askedAt: number, answer: Answer): number {
    return this.#isShown(poller) ? Infinity : super.restMs(poller, askedAt, answer);
  }

  /** The next cycle shows it, or it is polled from then on. */
  override onStarted(poller: Poller): void {
    this.#live.set(poller, undefined);
    if (this.#failures < MAX_FAILURES) poller.putOff(2 * this.#cycleMs());
    if (this.#timer === undefined && !this.#isReading) void this.#read();
  }

  override onEnded(poller: Poller): void {
    this.#live.delete(poller);
  }

  override close(): void {
    this.#isClosed = true;
    this.#stop();
  }

  #isShown(poller: Poller): boolean {
    return this.#live.get(poller) !== undefined;
  }

  /** From the beginning of a cycle to that of the next. */
  #cycleMs(): number {
    const { api: { quota: { rate } }, pollIntervalMs } = this.options;
    if (rate === undefined) return pollIntervalMs;
    return Math.max(pollIntervalMs, this.#pages * rate.perMs / (rate.requests * PAGES_SHARE));
  }

  /** Looks at the outputs of runs that are shown, in turn, as many as a cycle affords. */
  #sample(): void {
    const { api: { quota }, pollIntervalMs } = this.options;
    const { rate } = quota;
    const cycleMs = this.#cycleMs();
    const left = rate === undefined ? this.#live.size / pollIntervalMs
      : rate.requests * (quota.routineShare - NEWS_SHARE) / rate.perMs - this.#pages / cycleMs;
    this.#samples = Math.min(this.#samples + Math.max(0, left) * cycleMs, this.#live.size);
    const all = [...this.#live.keys()];
    for (; this.#samples >= 1; this.#samples--) {
      const poller = all[this.#nextSample++ % all.length];
      if (poller !== undefined && this.#isShown(poller)) poller.poke();
    }
  }

  async #read(): Promise<void> {
    const { clock, pollIntervalMs } = this.options;
    if (this.#isClosed || this.#live.size === 0) return;
    this.#stop();
    this.#isReading = true;
    const beganAt = clock.now();
    this.#cycle++;
    // Who comes meanwhile may be on a page that was read already.
    const missing = new Set(this.#live.keys());
    const outcome = await this.#readAll(missing);
    this.#isReading = false;
    if (this.#isClosed) return;
    this.#failures = outcome === 'read' ? 0 : this.#failures + 1;
    if (outcome === 'no list') this.#failures = MAX_FAILURES;
    const isLost = this.#failures >= MAX_FAILURES;
    for (const poller of isLost ? this.#live.keys() : missing) {
      if (this.#live.has(poller) && (isLost || outcome === 'read')) this.#poll(poller);
    }
    if (outcome === 'read') this.#sample();
    const restMs = {
      'read': Math.max(0, beganAt + this.#cycleMs() - clock.now()),
      'trouble': backoffMs(this.#failures, pollIntervalMs, undefined, this.#random),
      'no list': WITHOUT_MS,
    }[outcome];
    this.#timer = clock.setTimeout(() => {
      this.#timer = undefined;
      void this.#read();
    }, restMs);
  }

  /** The list does not show it, or cannot be had: it is followed without one. */
  #poll(poller: Poller): void {
    this.#live.set(poller, undefined);
    poller.hurry(this.options.pollIntervalMs);
  }

  /** With as few keys as show all runs, each time another one first. `missing` loses them. */
  async #readAll(missing: Set<Poller>): Promise<Outcome> {
    let pages = 0;
    for (const key of this.#keys()) {
      const ofKey = [...missing].filter((poller) => poller.keys.some((k) => k.value === key.value));
      if (ofKey.length === 0) continue;
      const wanted = new Map(ofKey.map((poller) => [poller.runId, poller]));
      let query = '';
      const asked = new Set<string>();
      while (wanted.size > 0 && pages < MAX_PAGES && !asked.has(query)) {
        asked.add(query);
        const page = await this.options.api.page(key, query);
        pages++;
        if (page === 'refused') {
          // Whether the key is refused for a run is that run's own answer.
          for (const poller of wanted.values()) poller.poke();
          break;
        }
        if (typeof page === 'string') return page;
        this.#take(page, wanted, missing);
        if (page.next === undefined) break;
        query = page.next;
      }
    }
    this.#pages = Math.max(1, pages);
    return 'read';
  }

  /** Those that have ended are asked for first. */
  #take({ summaries }: Page, wanted: Map<string, Poller>, missing: Set<Poller>): void {
    const news: [Summary, Poller][] = [];
    for (const summary of summaries) {
      const poller = wanted.get(summary.runId);
      if (poller === undefined) continue;
      wanted.delete(summary.runId);
      missing.delete(poller);
      if (!this.#live.has(poller)) continue;
      const before = this.#live.get(poller);
      this.#live.set(poller, summary.digest);
      const isNews = before === undefined
        ? summary.status !== poller.snapshot.status : before !== summary.digest;
      if (isNews || summary.isOver) news.push([summary, poller]);
      else if (before === undefined) poller.putOff(Infinity);
    }
    news.sort(([a], [b]) => Number(b.isOver) - Number(a.isOver));
    for (const [, poller] of news) poller.poke();
  }

  /** Of all who watch, each once; the one that was first goes last the next time. */
  #keys(): ApiKey[] {
    const keys = new Map([...this.#live.keys()].flatMap((poller) => poller.keys)
      .map((key) => [key.value, key]));
    const all = [...keys.values()];
    const first = this.#cycle % Math.max(1, all.length);
    return [...all.slice(first), ...all.slice(0, first)];
  }

  #stop(): void {
    if (this.#timer !== undefined) this.options.clock.clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
