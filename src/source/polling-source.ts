/**
 * The RunSource that polls. "One poller per run" is true or false here: the map of pollers, who
 * may share one, and what polls and proofs tell each other.
 */

import type { Clock } from '../core/clock.ts';
import type { StatusMapping } from '../core/execution.ts';
import type { Logger } from '../core/log.ts';
import type { MetricName, Metrics } from '../core/metrics.ts';
import type {
  Admission, Admitted, ApiKey, RunObserver, RunSource, Watch,
} from '../core/run-source.ts';
import { Admissions } from './admission.ts';
import { readAnswer } from './answer.ts';
import type { Answer, Reading, Shown } from './answer.ts';
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

type Asked = [runId: string, key: ApiKey, known: Reading | undefined];

/** All pollers and proofs of this gateway. */
export class PollingSource implements RunSource {
  readonly #options: PollingOptions;
  readonly #admissions: Admissions;
  readonly #policy: PollerPolicy;
  readonly #owner: PollerOwner;
  /** Mostly one a run; more when its id means different runs to different keys. */
  readonly #pollers = new Map<string, Set<Poller>>();
  #isTroubled = false;

  constructor(options: PollingOptions) {
    const { clock, random, pollIntervalMs, metrics } = options;
    this.#options = options;
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
      onRefused: (runId, key, refusal) => this.#admissions.deny(runId, key, refusal),
      onEnded: (poller) => this.#onEnded(poller),
    };
  }

  /** Live pollers, proofs under way and proofs remembered. */
  get size(): { pollers: number; pending: number; proofs: number } {
    let pollers = 0;
    for (const ofRun of this.#pollers.values()) pollers += ofRun.size;
    return { pollers, ...this.#admissions.size };
  }

  admit(runId: string, key: ApiKey): Promise<Admission> {
    return this.#admissions.admit(runId, key);
  }

  watch(admitted: Admitted, observer: RunObserver): Watch {
    const { runId, key, snapshot } = admitted;
    // The proof may have been dropped to make room for others: then the next poll is due now.
    const shown = this.#admissions.shownTo(runId, key)
      ?? { runId, key, reading: { body: Buffer.alloc(0), snapshot }, askedAt: -Infinity };
    const poller = this.#find(shown) ?? this.#start(shown);
    return poller.watch(admitted, observer);
  }

  close(): void {
    for (const ofRun of this.#pollers.values()) for (const poller of ofRun) poller.close();
    this.#options.upstream.close();
  }

  #find({ runId, key, reading }: Shown): Poller | undefined {
    for (const poller of this.#pollers.get(runId) ?? []) {
      if (poller.serves(key, reading.snapshot)) return poller;
    }
    return undefined;
  }

  #start(shown: Shown): Poller {
    const poller = new Poller(shown, this.#policy, this.#owner);
    const ofRun = this.#pollers.get(shown.runId) ?? new Set();
    this.#pollers.set(shown.runId, ofRun.add(poller));
    return poller;
  }

  #onEnded(poller: Poller): void {
    const { runId, reading, keys } = poller;
    const ofRun = this.#pollers.get(runId);
    ofRun?.delete(poller);
    if (ofRun?.size === 0) this.#pollers.delete(runId);
    if (reading.snapshot.terminal === undefined) return;
    for (const key of keys) this.#admissions.settle(runId, key, reading);
  }

  async #fetch(...[runId, key, known]: Asked): Promise<Answer> {
    const { upstream, mapping, clock } = this.#options;
    const exchange = await upstream.get(runId, key);
    const wallNow = clock.wallNow();
    const answer = readAnswer(exchange, { runId, key, known, mapping, wallNow });
    this.#options.metrics.count('runcast_upstream_answers_total', answer.kind);
    this.#report(answer);
    return answer;
  }

  /** One line when trouble begins and one when it is over, not one a poll. */
  #report(answer: Answer): void {
    const { log } = this.#options;
    const isTrouble = answer.kind === 'trouble';
    if (isTrouble) log.debug('upstream trouble', { why: answer.why });
    if (isTrouble === this.#isTroubled) return;
    this.#isTroubled = isTrouble;
    if (isTrouble) log.warn('upstream is in trouble; streams wait', { why: answer.why });
    else log.info('upstream answers again');
  }
}
