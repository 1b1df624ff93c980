/**
 * The RunSource that polls. "One poller per run" is true or false here: the map of pollers, who
 * may share one, and what polls and proofs tell each other.
 */

import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import { isSameRun } from '../core/execution.ts';
import type { Snapshot } from '../core/execution.ts';
import { MultiMap } from '../core/multimap.ts';
import type { Metrics } from '../core/metrics.ts';
import type {
  Admission, Admitted, ApiKey, RunObserver, RunSource, Watch,
} from '../core/run-source.ts';
import { Admissions } from './admission.ts';
import type { Answer, Reading, Shown } from './answer.ts';
import type { Driver } from './driver.ts';
import { Memory } from './memory.ts';
import { Poller } from './poller.ts';
import type { PollerOwner, PollerPolicy } from './poller.ts';
import type { RunApi } from './run-api.ts';

/** What polling needs. */
export interface PollingOptions {
  readonly api: RunApi;
  /** What is asked for each run, and when. */
  readonly driver: Driver;
  readonly pollIntervalMs: number;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** How long an end is remembered, and of how many runs. */
const END_MS = 600_000;
const END_LIMITS = { entries: 20_000, chars: 64 * 1024 * 1024 };

/** All pollers and proofs of this gateway. */
export class PollingSource implements RunSource {
  readonly #options: PollingOptions;
  readonly #admissions: Admissions;
  readonly #policy: PollerPolicy;
  readonly #owner: PollerOwner;
  /** Mostly one a run; more when its id means different runs to different keys. */
  readonly #pollers = new MultiMap<string, Poller>();
  /** The first end of each run, by what proves it the same; later states of it are ignored. */
  readonly #ends: Memory<Reading>;
  #isClosed = false;

  constructor(options: PollingOptions) {
    const { clock, random, pollIntervalMs, metrics, api, driver } = options;
    this.#options = options;
    this.#ends = new Memory(clock, END_LIMITS);
    metrics.read('runcast_pollers', () => this.size.pollers);
    this.#admissions = new Admissions({
      clock, metrics, freshMs: pollIntervalMs,
      fetch: async (...asked) => this.#settled(await api.prove(...asked), asked[1]),
      live: (shown) => this.#find(shown),
      onShown: (shown) => this.#find(shown)?.take(shown),
    });
    this.#policy = {
      clock, random, pollIntervalMs,
      turn: (...wanted) => api.turn(...wanted),
      giveBack: () => api.giveBack(),
      restMs: (...of) => driver.restMs(...of),
      provedKey: (poller) => driver.provedKey(poller),
      fetch: async (...asked) => {
        metrics.count('runcast_polls_total');
        return this.#settled(await driver.ask(...asked), asked[1]);
      },
    };
    this.#owner = {
      onProved: (shown, poller) => {
        this.#admissions.renew(shown);
        poller.take(shown);
      },
      onRefused: (...refused) => this.#admissions.deny(...refused),
      onLeft: (shown) => this.#admissions.settle(shown),
      onKeys: (poller) => driver.onKeys(poller),
      onThrown: (error) => options.log.error('an observer threw', { error: String(error) }),
      onEnded: (poller) => {
        this.#pollers.delete(poller.runId, poller);
        driver.onEnded(poller);
      },
    };
  }

  /** Live pollers, proofs under way and proofs remembered. */
  get size(): { pollers: number; pending: number; proofs: number } {
    const pollers = this.#pollers.groups().flatMap((ofRun) => [...ofRun]).length;
    return { pollers, ...this.#admissions.size };
  }

  admit(...asked: Parameters<RunSource['admit']>): Promise<Admission> {
    return this.#admissions.admit(...asked);
  }

  watch(admitted: Admitted, observer: RunObserver): Watch {
    const { runId, key, snapshot } = admitted;
    // The proof may have been dropped to make room for others: then the next poll is due now.
    const shown = this.#admissions.shownTo(runId, key)
      ?? { runId, key, reading: { bodyDigest: undefined, snapshot }, askedAt: -Infinity };
    const poller = this.#find(shown) ?? this.#start(shown);
    return poller.watch(admitted, observer);
  }

  /** There may be news of the run: whoever follows it asks. False: nobody does. */
  poke(runId: string): boolean {
    for (const poller of this.#pollers.get(runId)) poller.poke();
    return this.#pollers.has(runId);
  }

  /**
   * A state that came without being asked for. It reaches only those who follow this very run, by
   * what proves two runs the same. Where that is missing, nothing is known of whose it is: the run
   * is asked for instead; unless it is `isOurs` to say, and there is but one that it can be of.
   */
  push(snapshot: Snapshot, isOurs: boolean): void {
    const pollers = [...this.#pollers.get(snapshot.runId)];
    const isOnly = pollers.length === 1;
    for (const poller of pollers) {
      const { identity } = poller.snapshot;
      const isNameless = snapshot.identity === undefined;
      if (isSameRun(poller.snapshot, snapshot)) this.#push(poller, snapshot);
      else if (isNameless && isOurs && isOnly) this.#push(poller, { ...snapshot, identity });
      else if (isNameless || identity === undefined) poller.poke();
    }
  }

  close(): void {
    this.#isClosed = true;
    for (const ofRun of this.#pollers.groups()) for (const poller of ofRun) poller.close();
    this.#options.driver.close();
    this.#options.api.close();
  }

  #find({ runId, key, reading }: Shown): Poller | undefined {
    for (const poller of this.#pollers.get(runId)) {
      if (poller.serves(key, reading.snapshot)) return poller;
    }
    return undefined;
  }

  #start(shown: Shown): Poller {
    const poller = new Poller(shown, this.#policy, this.#owner);
    this.#pollers.add(shown.runId, poller);
    if (this.#isClosed) poller.close();
    else this.#options.driver.onStarted(poller, (answer, ...of) =>
      poller.hear(this.#settled(answer, of[0]), ...of));
    return poller;
  }

  #push(poller: Poller, snapshot: Snapshot): void {
    const [key] = poller.keys;
    if (key === undefined) return;
    poller.push(this.#firstEnd({ bodyDigest: undefined, snapshot }, key));
  }

  #settled(answer: Answer, key: ApiKey): Answer {
    if (answer.kind !== 'state') return answer;
    return { ...answer, reading: this.#firstEnd(answer.reading, key) };
  }

  /** An upstream of several machines may take back an end that it has told; we do not. */
  #firstEnd(reading: Reading, key: ApiKey): Reading {
    const { identity, runId, terminal, data } = reading.snapshot;
    const name = identity ?? `${runId} ${key.value}`;
    const end = this.#ends.get(name);
    if (end !== undefined || terminal === undefined) return end ?? reading;
    this.#ends.set(name, reading, this.#options.clock.now() + END_MS, 2 * data.length);
    return reading;
  }
}
