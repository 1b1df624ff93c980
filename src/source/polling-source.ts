/**
 * The RunSource that polls. "One poller per run" is true or false here: the map of pollers, who
 * may share one, and what polls and proofs tell each other.
 */

import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
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
    this.#admissions = new Admissions({
      clock, metrics, freshMs: pollIntervalMs,
      fetch: async (...asked) => this.#settled(await api.prove(...asked), asked[1]),
      live: (shown) => this.#find(shown)?.snapshot,
      onShown: (shown) => this.#find(shown)?.take(shown),
    });
    this.#policy = {
      clock, random, pollIntervalMs,
      turn: (...wanted) => api.turn(...wanted),
      restMs: (...of) => driver.restMs(...of),
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

  admit(runId: string, key: ApiKey): Promise<Admission> {
    return this.#admissions.admit(runId, key);
  }

  watch(admitted: Admitted, observer: RunObserver): Watch {
    const { runId, key, snapshot } = admitted;
    // The proof may have been dropped to make room for others: then the next poll is due now.
    const shown = this.#admissions.shownTo(runId, key)
      ?? { runId, key, reading: { bodyDigest: undefined, snapshot }, askedAt: -Infinity };
    const poller = this.#find(shown) ?? this.#start(shown);
    return poller.watch(admitted, observer);
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
    else this.#options.driver.onStarted(poller);
    return poller;
  }

  #settled(answer: Answer, key: ApiKey): Answer {
    if (answer.kind !== 'state') return answer;
    return { kind: 'state', reading: this.#firstEnd(answer.reading, key) };
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
