/**
 * What the tests of the source side share: readings as upstream would give them, answers as
 * values, and a `fetch` whose promises the test resolves by hand.
 */

import { setImmediate as turn } from 'node:timers/promises';

import { refuse } from '../../src/core/errors.ts';
import type { ErrorCode, Refusal } from '../../src/core/errors.ts';
import { parseExecution } from '../../src/core/execution.ts';
import type { Snapshot } from '../../src/core/execution.ts';
import type { ApiKey, Loss, RunObserver } from '../../src/core/run-source.ts';
import { digestOf } from '../../src/source/answer.ts';
import type { Answer, Reading } from '../../src/source/answer.ts';
import type { Clock } from '../../src/core/clock.ts';
import type { Logger } from '../../src/core/log.ts';
import { Metrics } from '../../src/core/metrics.ts';
import { PollDriver } from '../../src/source/driver.ts';
import type { Driver, DriverOptions } from '../../src/source/driver.ts';
import { PollingSource } from '../../src/source/polling-source.ts';
import type { Rate } from '../../src/source/quota.ts';
import { RunApi } from '../../src/source/run-api.ts';
import type { Upstream } from '../../src/source/upstream.ts';
import { execution } from '../support/answers.ts';
import { apiKey, MAPPING } from '../support/fake-source.ts';

export const A = apiKey('lma_a');
export const B = apiKey('lma_b');
export const C = apiKey('lma_c');
export const D = apiKey('lma_d');
export const RUN = 'run_1';
/** Another run under the same id, as another tenant has it. */
export const FOREIGN = { workflowId: 'wf_foreign' };

type Fields = Readonly<Record<string, unknown>>;

/** As it comes from upstream: with its bytes. */
type Read = Reading & { readonly body: Buffer };

/** A new object for the same bytes each time, as it is with two answers. */
export function reading(status: string, over: Fields = {}, runId = RUN): Read {
  const body = Buffer.from(JSON.stringify({ data: execution(runId, status, over) }));
  const parsed = parseExecution(runId, body, MAPPING);
  if (parsed.kind === 'invalid') throw new Error(parsed.why);
  return { body, bodyDigest: digestOf(body), snapshot: parsed.snapshot };
}

/** Running, as far as `step`. */
export const step = (n: number, over: Fields = {}, runId = RUN): Read =>
  reading('running', { step: n, ...over }, runId);

export const state = (of: Reading): Answer => ({ kind: 'state', reading: of });

export const refusal = (code: ErrorCode, error = `scripted ${code}`): Refusal =>
  refuse(code, { error });

export const no = (code: ErrorCode, error?: string): Answer =>
  ({ kind: 'refused', refusal: refusal(code, error) });

export const trouble = (retryAfterMs?: number): Answer => ({
  kind: 'trouble',
  why: 'scripted',
  refusal: refuse('UPSTREAM_UNAVAILABLE', retryAfterMs === undefined ? {} : { retryAfterMs }),
});

/** What varies between sources under test. */
export interface SourceOptions {
  readonly clock: Clock;
  readonly log: Logger;
  readonly pollIntervalMs: number;
  readonly rate?: Rate;
  readonly metrics?: Metrics;
  /** Default: always 0. */
  readonly random?: () => number;
  /** Default: polls. */
  readonly driver?: (options: DriverOptions) => Driver;
}

/** A source that leaves nothing to chance. */
export function sourceOver(upstream: Upstream, options: SourceOptions): PollingSource {
  const { clock, log, pollIntervalMs, rate, metrics = new Metrics() } = options;
  const { driver = (of) => new PollDriver(of), random = () => 0 } = options;
  const shared = { clock, log, metrics, random };
  const api = new RunApi({ ...shared, upstream, mapping: MAPPING, rate });
  const driven = driver({ api, clock, pollIntervalMs });
  return new PollingSource({ ...shared, api, driver: driven, pollIntervalMs });
}

/** One request that was made and waits for its answer. */
export interface Asked {
  readonly runId: string;
  readonly key: string;
  readonly known: Reading | undefined;
  /** Answers, and comes back when all that follows at once has happened. */
  answer(answer: Answer): Promise<void>;
}

export class FakeFetch {
  /** In order. */
  readonly asked: Asked[] = [];

  readonly fetch = (
    runId: string, key: ApiKey, known: Reading | undefined,
  ): Promise<Answer> => new Promise((resolve) => {
    const answer = async (value: Answer): Promise<void> => {
      resolve(value);
      await turn();
    };
    this.asked.push({ runId, key: key.value, known, answer });
  });

  get keys(): string[] {
    return this.asked.map(({ key }) => key);
  }

  /** The newest request. */
  get last(): Asked {
    const asked = this.asked.at(-1);
    if (asked === undefined) throw new Error('nothing was asked');
    return asked;
  }
}

/** Writes down what it is told. */
export class Witness implements RunObserver {
  readonly snapshots: Snapshot[] = [];
  readonly losses: { readonly key: string; readonly loss: Loss }[] = [];
  /** Called after each note, for tests of re-entrance. */
  then: (() => void) | undefined;

  onSnapshot(snapshot: Snapshot): void {
    this.snapshots.push(snapshot);
    this.then?.();
  }

  onLost(key: string, loss: Loss): void {
    this.losses.push({ key, loss });
    this.then?.();
  }

  get ids(): string[] {
    return this.snapshots.map(({ id }) => id);
  }

  get lostKeys(): string[] {
    return this.losses.map(({ key }) => key);
  }
}
