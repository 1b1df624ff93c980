/**
 * `--source list`: one page of the run API's list shows a hundred runs. A run that has ended by it
 * is asked for at once, one whose summary has changed as soon as joins and ends leave a place, one
 * that is shown and unchanged in turn, for outputs that summaries do not have; one that is not
 * shown is polled. Which pages that takes is `key-list.ts`'s business, and when `page-pace.ts`'s.
 */

import type { Timer } from '../core/clock.ts';
import { MultiMap } from '../core/multimap.ts';
import type { ApiKey } from '../core/run-source.ts';
import type { Answer } from './answer.ts';
import { PollDriver } from './driver.ts';
import type { DriverOptions } from './driver.ts';
import { MAX_FAILURES } from './key-list.ts';
import type { Search } from './key-list.ts';
import { KeyLists } from './key-lists.ts';
import type { Summary } from './list-page.ts';
import { ListTrack } from './list-track.ts';
import { PagePace } from './page-pace.ts';
import type { Poller } from './poller.ts';

/** Of a budget, what looks at outputs leave to joins and ends. */
const NEWS_SHARE = 0.3;

/** Follows all runs by lists. */
export class ListDriver extends PollDriver {
  readonly #pace: PagePace;
  readonly #tracks = new Map<Poller, ListTrack>();
  /** Mostly one a run; two where two keys were shown two runs under one id. */
  readonly #byId = new MultiMap<string, Poller>();
  readonly #lists: KeyLists;
  #timer: Timer | undefined;
  #isReading = false;
  #isClosed = false;
  #cycle = 0;
  /** Of the last cycle. */
  #pages = 1;
  /** Shown in this one. */
  readonly #found = new Set<Poller>();
  /** Cycles in a row that met trouble before the first page. */
  #failures = 0;
  /** Looks that may be had, and whose turn it is. */
  #samples = 0;
  #nextSample = 0;

  constructor(options: DriverOptions, random: () => number) {
    super(options);
    this.#lists = new KeyLists(options, random);
    this.#pace = new PagePace(options.clock, options.api.quota);
  }

  /** While the list shows it nothing is due; but what was not settled by the answer is soon. */
  override restMs(poller: Poller, askedAt: number, answer: Answer): number {
    const usualMs = super.restMs(poller, askedAt, answer);
    const track = this.#tracks.get(poller);
    if (track === undefined) return usualMs;
    if (answer.kind !== 'trouble') track.isDoubted = answer.kind === 'refused';
    if (track.digest === undefined || track.isOver || track.isDoubted) return usualMs;
    return askedAt < track.newsAt ? 0 : Infinity;
  }

  /** The next cycle shows it, or it is polled from then on. */
  override onStarted(poller: Poller): void {
    this.#tracks.set(poller, new ListTrack());
    this.#byId.add(poller.runId, poller);
    const isLost = this.#failures >= MAX_FAILURES || this.#lists.areMissing(poller.keys);
    if (!isLost) poller.putOff(2 * this.#cycleMs());
    if (this.#timer === undefined && !this.#isReading) void this.#run();
  }

  override onEnded(poller: Poller): void {
    this.#tracks.delete(poller);
    this.#byId.delete(poller.runId, poller);
  }

  override close(): void {
    this.#isClosed = true;
    this.#stop();
    this.#pace.close();
  }

  /** From the beginning of a cycle to that of the next. */
  #cycleMs(): number {
    return Math.max(this.options.pollIntervalMs, this.#pages * this.#pace.gapMs);
  }

  async #run(): Promise<void> {
    if (this.#isClosed || this.#tracks.size === 0) return;
    const { clock, pollIntervalMs } = this.options;
    this.#stop();
    this.#isReading = true;
    this.#cycle++;
    this.#found.clear();
    const beganAt = clock.now();
    const isWhole = await this.#readAll();
    this.#isReading = false;
    if (this.#isClosed) return;
    const isLost = this.#failures >= MAX_FAILURES;
    for (const [poller, track] of this.#tracks) {
      if (isLost || this.#lists.areMissing(poller.keys)) this.#poll(poller, track);
    }
    if (isWhole) this.#sample();
    const restMs = Math.max(0, beganAt + pollIntervalMs - clock.now());
    this.#timer = clock.setTimeout(() => {
      this.#timer = undefined;
      void this.#run();
    }, restMs);
  }

  /** With as few keys as show all runs, each time another one first. False: there was trouble. */
  async #readAll(): Promise<boolean> {
    const missing = new Set<Poller>();
    let pages = 0;
    const keys = [...this.#tracks.keys()].flatMap((poller) => poller.keys);
    for (const list of this.#lists.next(keys)) {
      if (!list.isReadable) continue;
      const ofKey = [...this.#tracks.keys()]
        .filter((poller) => !this.#found.has(poller) && isOf(poller, list.key));
      if (ofKey.length === 0) continue;
      const outcome = await list.read(this.#searchFor(ofKey, list.key, () => pages++));
      if (this.#isClosed) return false;
      if (pages > 0) this.#failures = 0;
      if (outcome === 'trouble') {
        // The next cycle leaves this key alone; where no key gets a page, upstream is down.
        if (pages === 0) this.#failures++;
        return false;
      }
      if (outcome === 'refused') this.#check(list.key);
      if (outcome === 'read') for (const poller of ofKey) missing.add(poller);
    }
    for (const poller of missing) this.#miss(poller);
    if (pages > 0) this.#pages = pages;
    return true;
  }

  #searchFor(ofKey: readonly Poller[], key: ApiKey, onShown: () => void): Search {
    const { api, clock } = this.options;
    const wanted = ofKey.filter((poller) => this.#tracks.get(poller)?.isHidden === false);
    const soughtAs = (runId: string): Poller[] => [...this.#byId.get(runId)]
      .filter((poller) => isOf(poller, key) && !this.#found.has(poller));
    return {
      count: wanted.length,
      statuses: [...new Set(ofKey.map(({ snapshot }) => snapshot.status))],
      isDone: () => wanted.every((each) => this.#found.has(each) || !this.#tracks.has(each)),
      ask: async (query) => {
        await this.#pace.next();
        return api.page(key, query);
      },
      onPage: ({ summaries }) => {
        onShown();
        const before = this.#found.size;
        for (const summary of summaries) {
          for (const poller of soughtAs(summary.runId)) this.#show(poller, summary, clock.now());
        }
        return this.#found.size - before;
      },
      onPassed: (runIds) => {
        for (const poller of runIds.flatMap(soughtAs)) this.#miss(poller);
      },
    };
  }

  #show(poller: Poller, summary: Summary, now: number): void {
    const track = this.#tracks.get(poller);
    if (track === undefined) return;
    this.#found.add(poller);
    const { digest: before } = track;
    const { digest, status, isOver } = summary;
    Object.assign(track, { digest, isOver, isHidden: false, missedIn: undefined });
    const isNews = before === undefined ? status !== poller.snapshot.status : before !== digest;
    if (isOver) {
      poller.poke();
    } else if (isNews) {
      track.newsAt = now;
      poller.hurry(0);
    } else if (before === undefined && !track.isDoubted) {
      poller.putOff(Infinity);
    }
  }

  /** The list does not show it: it may have ended; the next time again: it is polled. */
  #miss(poller: Poller): void {
    const track = this.#tracks.get(poller);
    if (track === undefined || this.#found.has(poller) || track.missedIn === this.#cycle) return;
    const wasMissed = track.digest === undefined || track.missedIn !== undefined;
    track.missedIn ??= this.#cycle;
    if (track.digest !== undefined) poller.poke();
    if (!wasMissed) return;
    track.isHidden = true;
    this.#poll(poller, track);
  }

  /** It is followed without a list. */
  #poll(poller: Poller, track: ListTrack): void {
    track.digest = undefined;
    poller.hurry(this.options.pollIntervalMs);
  }

  /** Whether a key that may see no list is refused for a run is that run's own answer to it. */
  #check(key: ApiKey): void {
    for (const poller of this.#tracks.keys()) {
      if (isOf(poller, key)) poller.hurry(this.options.pollIntervalMs, key.value);
    }
  }

  /** Looks at the outputs of runs that are shown, in turn, as many as a cycle affords. */
  #sample(): void {
    const { api: { quota }, pollIntervalMs } = this.options;
    const { requests, perMs } = quota.rate ?? { requests: Infinity, perMs: 1 };
    const shown = [...this.#tracks].filter(([, { digest }]) => digest !== undefined);
    const cycleMs = this.#cycleMs();
    const polls = (this.#tracks.size - shown.length) / pollIntervalMs;
    const left = requests * (quota.routineShare - NEWS_SHARE) / perMs
      - this.#pages / cycleMs - polls;
    this.#samples = Math.min(this.#samples + Math.max(0, left) * cycleMs, shown.length);
    for (; this.#samples >= 1; this.#samples--) {
      shown[this.#nextSample++ % shown.length]?.[0].hurry(0);
    }
  }

  #stop(): void {
    if (this.#timer !== undefined) this.options.clock.clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

const isOf = (poller: Poller, { value }: ApiKey): boolean =>
  poller.keys.some((key) => key.value === value);
