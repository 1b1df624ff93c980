/**
 * Limits on who may join, around any RunSource: streams, streams of one key, and runs. A place is
 * taken when a client is admitted and given back when it is gone. Reaching a limit refuses
 * newcomers, in a way that brings them back, and never touches a stream that is open.
 */

import type { Clock } from '../core/clock.ts';
import { refuse } from '../core/errors.ts';
import type { Metrics } from '../core/metrics.ts';
import type {
  Admission, Admitted, ApiKey, Purpose, Refused, RunObserver, RunSource, Watch,
} from '../core/run-source.ts';
import type { Trace } from '../core/trace.ts';

/** Machine-wide: over all workers. */
export interface Limits {
  readonly maxStreams: number;
  readonly maxStreamsPerKey: number;
  /** Different runs followed at once. */
  readonly maxRuns: number;
}

/** What is counted besides: polls that are saved are reckoned by the interval. */
export interface LimitedOptions extends Limits {
  readonly pollIntervalMs: number;
}

/** A RunSource that admits no more than the limits allow. */
export class LimitedSource implements RunSource {
  readonly #inner: RunSource;
  readonly #limits: LimitedOptions;
  readonly #clock: Clock;
  readonly #ofKey = new Map<string, number>();
  readonly #ofRun = new Map<string, number>();
  readonly #metrics: Metrics;
  #streams = 0;
  /** Polls that as many clients would have made by themselves, up to then. */
  #separatePolls = 0;
  #reckonedAt: number;

  constructor(inner: RunSource, limits: LimitedOptions, metrics: Metrics, clock: Clock) {
    this.#inner = inner;
    this.#limits = limits;
    this.#metrics = metrics;
    this.#clock = clock;
    this.#reckonedAt = clock.now();
    metrics.read('runcast_separate_polls_total', () => {
      this.#reckon();
      return Math.floor(this.#separatePolls);
    });
  }

  /** Places taken, and runs that they are for. */
  get size(): { streams: number; runs: number } {
    return { streams: this.#streams, runs: this.#ofRun.size };
  }

  /** A look takes no place: nothing stays behind. */
  async admit(
    runId: string, key: ApiKey, purpose: Purpose = 'follow', trace?: Trace,
  ): Promise<Admission> {
    if (purpose === 'look') return this.#inner.admit(runId, key, purpose, trace);
    const before = this.#check(runId, key);
    if (before !== undefined) return before;
    const admission = await this.#inner.admit(runId, key, purpose, trace);
    if (admission.kind === 'refused') return admission;
    // Others may have come in meanwhile; from here to the end it is one turn.
    const leaveInner = admission.leave;
    const late = this.#check(runId, key);
    if (late === undefined) {
      return { ...admission, leave: this.#enter(runId, key, leaveInner) };
    }
    leaveInner?.();
    return late;
  }

  watch(admitted: Admitted, observer: RunObserver): Watch {
    return this.#inner.watch(admitted, observer);
  }

  close(): void {
    this.#inner.close();
  }

  #check(runId: string, key: ApiKey): Refused | undefined {
    const { maxStreams, maxStreamsPerKey, maxRuns } = this.#limits;
    if (this.#streams >= maxStreams) {
      return this.#refuse('maxStreams', 'Too many streams are open');
    }
    if ((this.#ofKey.get(key.value) ?? 0) >= maxStreamsPerKey) {
      return this.#refuse('maxStreamsPerKey', 'Too many streams are open with this key');
    }
    if (!this.#ofRun.has(runId) && this.#ofRun.size >= maxRuns) {
      return this.#refuse('maxRuns', 'Too many runs are followed');
    }
    return undefined;
  }

  #refuse(limit: keyof Limits, error: string): Refused {
    this.#metrics.count('runcast_limit_total', limit);
    return { kind: 'refused', refusal: refuse('RESOURCE_UNAVAILABLE', { error }) };
  }

  #enter(runId: string, key: ApiKey, leaveInner?: () => void): () => void {
    this.#count(runId, key, 1);
    let isGone = false;
    return () => {
      if (isGone) return;
      isGone = true;
      this.#count(runId, key, -1);
      leaveInner?.();
    };
  }

  #reckon(): void {
    const now = this.#clock.now();
    this.#separatePolls += this.#streams * (now - this.#reckonedAt) / this.#limits.pollIntervalMs;
    this.#reckonedAt = now;
  }

  #count(runId: string, key: ApiKey, by: 1 | -1): void {
    this.#reckon();
    this.#streams += by;
    add(this.#ofKey, key.value, by);
    add(this.#ofRun, runId, by);
  }
}

function add(counts: Map<string, number>, name: string, by: number): void {
  const count = (counts.get(name) ?? 0) + by;
  if (count > 0) counts.set(name, count);
  else counts.delete(name);
}
