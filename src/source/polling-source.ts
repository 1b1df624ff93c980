/**
 * The RunSource that polls. "One poller per run" is true or false here: the map of pollers, who
 * may share one, and what polls and proofs tell each other.
 */

import type { Clock } from '../core/clock.ts';
import type { StatusMapping } from '../core/execution.ts';
import type { Logger } from '../core/log.ts';
import { MultiMap } from '../core/multimap.ts';
import type { MetricName, Metrics } from '../core/metrics.ts';
import type {
  Admission, Admitted, ApiKey, RunObserver, RunSource, Watch,
} from '../core/run-source.ts';
import { Admissions } from './admission.ts';
import { readAnswer } from './answer.ts';
import type { Answer, Reading, Shown } from './answer.ts';
import { Memory } from './memory.ts';
import { Poller } from './poller.ts';
import type { PollerOwner, PollerPolicy } from './poller.ts';
import type { Upstream } from './upstream.ts';

/** What polling needs. */
export interface PollingOptions {
  readonly upstream: Upstream;
  readonly mapping: StatusMapping;
  readonly pollIntervalMs: number;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** How long an end is remembered, and of how many runs. */
const END_MS = 600_000;
const END_LIMITS = { entries: 20_000, chars: 64 * 1024 * 1024 };
const WARN_MS = 60_000;

type Asked = [runId: string, key: ApiKey, known: Reading | undefined];

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
  #troubles = 0;
  #warnedAt = -Infinity;

  constructor(options: PollingOptions) {
    const { clock, random, pollIntervalMs, metrics } = options;
    this.#options = options;
    this.#ends = new Memory(clock, END_LIMITS);
    const fetchFor = (metric: MetricName) => (...asked: Asked): Promise<Answer> => {
      metrics.count(metric);
      return this.#fetch(...asked);
    };
    this.#admissions = new Admissions({
      clock, metrics, fetch: fetchFor('runcast_proofs_total'), freshMs: pollIntervalMs,
      live: (shown) => this.#find(shown)?.snapshot,
      onShown: (shown) => this.#find(shown)?.take(shown),
    });
    this.#policy = { clock, random, pollIntervalMs, fetch: fetchFor('runcast_polls_total') };
    this.#owner = {
      onProved: (shown, poller) => {
        this.#admissions.renew(shown);
        poller.take(shown);
      },
      onRefused: (...refused) => this.#admissions.deny(...refused),
      onLeft: (shown) => this.#admissions.settle(shown),
      onThrown: (error) => options.log.error('an observer threw', { error: String(error) }),
      onEnded: (poller) => this.#pollers.delete(poller.runId, poller),
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
    this.#options.upstream.close();
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
    return poller;
  }

  async #fetch(...[runId, key, known]: Asked): Promise<Answer> {
    const { upstream, mapping, clock } = this.#options;
    const exchange = await upstream.get(runId, key);
    const wallNow = clock.wallNow();
    const answer = readAnswer(exchange, { runId, key, known, mapping, wallNow });
    this.#options.metrics.count('runcast_upstream_answers_total', answer.kind);
    if (answer.kind === 'trouble') this.#report(answer.why);
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

  /** A line a minute while there is trouble, not one a poll. */
  #report(why: string): void {
    const { log, clock } = this.#options;
    if (this.#isClosed) return;
    log.debug('upstream trouble', { why });
    this.#troubles++;
    if (clock.now() - this.#warnedAt < WARN_MS) return;
    log.warn('upstream is in trouble; streams wait', { why, requests: this.#troubles });
    this.#troubles = 0;
    this.#warnedAt = clock.now();
  }
}
