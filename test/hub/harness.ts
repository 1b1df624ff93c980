/**
 * What the tests of the fan-out side share: a stream by itself on its wheel, and a whole hub, each
 * over the fakes at clock, source and sink. Chance is 0 unless a test says otherwise.
 */

import assert from 'node:assert/strict';

import { stateFrame } from '../../src/core/frame.ts';
import type { Frame } from '../../src/core/frame.ts';
import type { Snapshot } from '../../src/core/execution.ts';
import { Hub } from '../../src/hub/hub.ts';
import { Subscriber } from '../../src/hub/subscriber.ts';
import type { StreamPolicy } from '../../src/hub/stream.ts';
import { Wheel } from '../../src/hub/wheel.ts';
import { Metrics } from '../../src/core/metrics.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { FakeSink } from '../support/fake-sink.ts';
import { admittedAs, FakeSource, snapshotOf } from '../support/fake-source.ts';
import { assertEventForm, assertStreamForm } from '../support/sse-parser.ts';

export const RUN = 'run_1';
export const PING_MS = 15_000;
export const TIMEOUT_MS = 600_000;
export const SLOW_MS = 30_000;
/** The wheel is late by up to this much. */
export const TICK_MS = 50;

/** Running, as far as `n`. */
export const step = (n: number, over: Readonly<Record<string, unknown>> = {}): Snapshot =>
  snapshotOf(RUN, 'running', { step: n, ...over });

export const over = (status = 'completed'): Snapshot => snapshotOf(RUN, status);
export const frame = (snapshot: Snapshot): Frame => stateFrame(snapshot);

/** Which steps these events show, in order. */
export const stepsOf = (sink: FakeSink): number[] => sink.events
  .filter(({ event }) => event === 'progress')
  .map(({ data }) => (JSON.parse(data) as { step: number }).step);

/** What holds for every stream: its form, and nothing where no sink may be written to. */
export function assertSound(sink: FakeSink): void {
  assert.deepEqual(sink.violations, []);
  assert.equal(sink.parser.unfinished, '');
  assertStreamForm(sink.parser);
  for (const event of sink.events) assertEventForm(event);
}

interface StreamOptions extends Partial<StreamPolicy> {
  readonly lastEventId?: string;
}

/** One subscriber and what it tells its owner. */
export class Stream {
  readonly clock: FakeClock;
  readonly sink = new FakeSink();
  readonly subscriber: Subscriber;
  /** `leave` and `closed`, in order. */
  readonly told: string[] = [];

  constructor(
    { clock = new FakeClock(), random = () => 0, ...times }: Partial<StreamPolicy> = {},
    wheel?: Wheel,
  ) {
    this.clock = clock as FakeClock;
    const policy = {
      pingIntervalMs: PING_MS, streamTimeoutMs: TIMEOUT_MS, slowTimeoutMs: SLOW_MS, clock, random,
      tally: { progress: 0, complete: 0, error: 0, timeout: 0, ping: 0, skipped: 0 },
      ...times,
    };
    const client = { sink: this.sink, requestId: 'req_1', lastEventId: undefined };
    this.subscriber = new Subscriber('lma_a', client, policy, wheel ?? new Wheel(clock), {
      onLeave: () => this.told.push('leave'),
      onClosed: () => this.told.push('closed'),
    });
  }

  /** With its first event written. */
  static open(policy: StreamOptions = {}, first = step(0)): Stream {
    const { lastEventId, ...times } = policy;
    const stream = new Stream(times);
    stream.subscriber.start(frame(first), lastEventId);
    return stream;
  }

  /** Open, and behind with step 1, which filled its buffer. */
  static blocked(policy: StreamOptions = {}): Stream {
    const stream = Stream.open(policy);
    stream.sink.block();
    stream.subscriber.offer(frame(step(1)));
    return stream;
  }
}

/** A hub and those who join it. */
export class House {
  readonly clock = new FakeClock();
  readonly source = new FakeSource();
  readonly metrics = new Metrics();
  readonly hub: Hub;

  constructor(policy: Partial<StreamPolicy> = {}) {
    this.hub = new Hub(this.source, {
      pingIntervalMs: PING_MS, streamTimeoutMs: TIMEOUT_MS, slowTimeoutMs: SLOW_MS,
      clock: this.clock, random: () => 0, ...policy,
    }, this.metrics);
  }

  /** As `key` is shown `snapshot`. */
  join(key: string, snapshot: Snapshot, lastEventId?: string): FakeSink {
    const sink = new FakeSink();
    const client = { sink, requestId: `req_${key}`, lastEventId };
    this.hub.subscribe(admittedAs(key, snapshot), client);
    return sink;
  }

  /** The only live watch. */
  get watch() {
    const [watch, ...others] = this.source.live();
    assert.ok(watch, 'nothing is watched');
    assert.equal(others.length, 0, 'more than one watch');
    return watch;
  }
}
