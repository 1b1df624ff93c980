/**
 * Everything at once: runs change, end and turn into others while clients join, stall, catch up,
 * leave and lose their keys, in an order that chance decides. What must hold in any order is
 * checked at every event and after every step. `RUNCAST_SEED=7` repeats the run of that seed.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { refuse } from '../../src/core/errors.ts';
import type { Loss } from '../../src/core/run-source.ts';
import { Hub } from '../../src/hub/hub.ts';
import { Metrics } from '../../src/core/metrics.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { FakeSink } from '../support/fake-sink.ts';
import { FakeSource, snapshotOf } from '../support/fake-source.ts';
import type { SseEvent } from '../support/sse-parser.ts';
import { randomFrom, seeds } from '../support/random.ts';
import { within } from '../support/wait.ts';
import { assertSound } from './harness.ts';

const STEPS = 3_000;
const KEYS = ['lma_a', 'lma_b', 'lma_c'];
const RUNS = 4;
const MAX_VIEWERS = 40;
const TIMEOUT_MS = 15_000;
const SLOW_MS = 5_000;
/** How late the coarse timer may be here; wheel.test.ts is about that. */
const SLACK_MS = 500;

type Last = 'end' | 'loss' | 'release' | 'timeout';

interface Viewer {
  readonly sink: FakeSink;
  readonly runId: string;
  readonly key: string;
  readonly joinedAt: number;
  readonly lastEventId: string | undefined;
  /** Of the state it has; -1: none. */
  seq: number;
  id: string;
  /** When it was last written to. */
  writtenAt: number;
  /** What may be its last event, whatever else happens. */
  readonly mayEndWith: Set<Last>;
  /** What must be, since it had no other last event before. */
  mustEndWith: Last | undefined;
  endedWith: Last | undefined;
}

class Chaos {
  readonly clock = new FakeClock();
  readonly source = new FakeSource();
  readonly hub: Hub;
  /** With a connection. */
  viewers: Viewer[] = [];
  readonly #random: () => number;
  readonly #runs: string[] = [];
  /** How often each has turned into another one. */
  readonly #turns = new Map<string, number>();
  #seq = 0;
  isDraining = false;
  /** What was seen, so that a run in which nothing happened does not pass for a good one. */
  readonly seen = new Map<string, number>();

  constructor(seed: number) {
    this.#random = randomFrom(seed);
    this.hub = new Hub(this.source, {
      pingIntervalMs: 1_000, streamTimeoutMs: TIMEOUT_MS, slowTimeoutMs: SLOW_MS,
      clock: this.clock, random: this.#random,
    }, new Metrics());
    for (let i = 0; i < RUNS; i++) this.#begin(i);
  }

  step(): void {
    const actions: readonly [weight: number, act: () => void][] = [
      [30, () => this.clock.advance(this.#below(1_500))],
      [25, () => this.#emit('running')],
      [this.isDraining ? 0 : 18, () => this.#join()],
      [8, () => this.#any()?.sink.block()],
      [9, () => this.#drain()],
      [4, () => this.#any()?.sink.close()],
      [8, () => this.#reap()],
      [2, () => this.#lose()],
      [1, () => this.#turn()],
      [2, () => this.#end()],
    ];
    let at = this.#random() * actions.reduce((sum, [weight]) => sum + weight, 0);
    const [, act] = actions.find(([weight]) => (at -= weight) < 0) ?? assert.fail();
    act();
    this.viewers = this.viewers.filter(({ sink }) => !sink.isClosed);
    this.#check();
  }

  #below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }

  #pick<T>(from: readonly T[]): T | undefined {
    return from[this.#below(from.length)];
  }

  #any(): Viewer | undefined {
    return this.#pick(this.viewers);
  }

  #saw(what: string): void {
    this.seen.set(what, (this.seen.get(what) ?? 0) + 1);
  }

  #begin(place: number): void {
    this.#runs[place] = `run_${++this.#seq}`;
    this.#emit('queued', this.#runs[place]);
  }

  #emit(status: string, runId = this.#pick(this.#runs) ?? ''): void {
    const seq = ++this.#seq;
    const workflowId = `wf_${this.#turns.get(runId) ?? 0}`;
    this.source.emit(snapshotOf(runId, status, { seq, workflowId }));
  }

  #join(): void {
    if (this.viewers.length >= MAX_VIEWERS) return;
    const admitted = this.source.admitted(
      this.#pick(this.#runs) ?? '', this.#pick(KEYS) ?? '') ?? assert.fail();
    const { runId, key, snapshot } = admitted;
    const lastEventId = this.#pick([undefined, undefined, 'garbage', snapshot.id]);
    const viewer: Viewer = {
      sink: new FakeSink(), runId, key: key.value, joinedAt: this.clock.now(), lastEventId,
      seq: -1, id: '', writtenAt: this.clock.now(), mayEndWith: new Set(), mustEndWith: undefined,
      endedWith: undefined,
    };
    viewer.sink.onEvent = (event) => this.#onEvent(viewer, event);
    if (this.#random() < 0.1) viewer.sink.block();
    this.viewers.push(viewer);
    this.hub.subscribe(admitted, { sink: viewer.sink, requestId: 'req', lastEventId });
    assert.equal(viewer.sink.events.length, 1, 'something at once');
  }

  /** A reader catches up: it is given one event at most, the newest or the last. */
  #drain(): void {
    const viewer = this.#pick(this.viewers.filter(({ sink }) => sink.owesDrain));
    if (viewer === undefined) return;
    const { sink } = viewer;
    const before = sink.events.length;
    sink.drain();
    assert.ok(sink.events.length - before <= 1, 'more than one was pending');
    if (!sink.isDestroyed && viewer.mustEndWith) assert.equal(viewer.endedWith, viewer.mustEndWith);
    this.#saw('drain');
  }

  /** As a kernel: what has its end, or was cut, is gone some time later. */
  #reap(): void {
    for (const { sink } of this.viewers) {
      if ((sink.isEnded && !sink.owesDrain) || sink.isDestroyed) sink.close();
    }
  }

  #lose(): void {
    const viewer = this.#any();
    if (viewer === undefined) return;
    const { runId, key } = viewer;
    const isMoved = this.#random() < 0.3;
    const loss: Loss = isMoved ? { kind: 'moved' }
      : { kind: 'refused', refusal: refuse('FORBIDDEN') };
    const isMine = (each: Viewer): boolean => each.runId === runId && each.key === key;
    this.#expect(isMoved ? 'release' : 'loss', isMine);
    this.source.lose(runId, key, loss);
  }

  /** The run under this id is another one from now on. */
  #turn(): void {
    const runId = this.#pick(this.#runs) ?? '';
    const [watch] = this.source.live(runId);
    this.#turns.set(runId, (this.#turns.get(runId) ?? 0) + 1);
    if ((watch?.keys.size ?? 0) > 1) {
      this.#expect('release', (each) => each.runId === runId);
      this.#saw('turn under several keys');
    }
    this.#emit('running', runId);
  }

  #end(): void {
    const place = this.#below(RUNS);
    const runId = this.#runs[place] ?? '';
    this.#expect('end', (each) => each.runId === runId);
    this.#emit(this.#pick(['completed', 'failed', 'cancelled']) ?? '', runId);
    assert.equal(this.source.live(runId).length, 0, 'a run that is over is watched');
    this.#begin(place);
  }

  #expect(last: Last, isMine: (viewer: Viewer) => boolean): void {
    for (const viewer of this.viewers.filter(isMine)) {
      viewer.mayEndWith.add(last);
      // One that is behind may have its timeout, or the drain's release, waiting already.
      const isYoung = this.clock.now() < viewer.joinedAt + TIMEOUT_MS;
      const isFree = viewer.endedWith === undefined && isYoung && !this.isDraining;
      if (isFree) viewer.mustEndWith ??= last;
    }
  }

  #onEvent(viewer: Viewer, event: SseEvent): void {
    assert.equal(viewer.endedWith, undefined, `${event.event} after the last event`);
    const isFirst = viewer.sink.events.length === 1;
    const newest = this.source.newest(viewer.runId) ?? assert.fail();
    this.#saw(event.event);
    switch (event.event) {
      case 'progress': {
        assert.equal(viewer.mustEndWith, undefined, 'a state where the last event was due');
        assert.equal(event.data, newest.data, 'not the newest state');
        const { seq } = JSON.parse(event.data) as { seq: number };
        assert.ok(seq > viewer.seq, 'out of order, or twice');
        viewer.seq = seq;
        viewer.id = event.id;
        break;
      }
      case 'complete': case 'error':
        viewer.endedWith = event.data === newest.data ? 'end' : 'loss';
        if (viewer.endedWith === 'end') assert.ok(newest.terminal, 'the run goes on');
        else assert.match(event.data, /"code":"FORBIDDEN"/);
        break;
      case 'timeout':
        assert.ok(this.clock.now() >= viewer.joinedAt + TIMEOUT_MS, 'too young');
        viewer.mayEndWith.add('timeout');
        viewer.endedWith = 'timeout';
        break;
      case 'ping':
        if (isFirst) {
          assert.equal(viewer.lastEventId, newest.id, 'it does not have the state');
          viewer.id = newest.id;
        } else if (event.retry !== undefined) {
          viewer.endedWith = 'release';
        }
        break;
      default:
        assert.fail(event.event);
    }
    if (event.event === 'ping' || event.event === 'timeout') assert.equal(event.id, viewer.id);
    if (viewer.endedWith) this.#onLast(viewer, viewer.endedWith);
    viewer.writtenAt = this.clock.now();
  }

  #onLast(viewer: Viewer, last: Last): void {
    this.#saw(`last: ${last}`);
    if (this.isDraining) viewer.mayEndWith.add('release');
    assert.ok(viewer.mayEndWith.has(last), `ended with ${last} for no reason`);
    if (viewer.mustEndWith) assert.equal(last, viewer.mustEndWith);
  }

  #check(): void {
    const now = this.clock.now();
    const { streams } = this.hub.size;
    assert.equal(streams, this.viewers.length);
    for (const runId of this.#runs) {
      assert.ok(this.source.live(runId).length <= 1, 'a run is watched twice');
    }
    for (const viewer of this.viewers) {
      const { sink, runId, key } = viewer;
      assert.deepEqual(sink.violations, []);
      assert.equal(sink.isEnded, viewer.endedWith !== undefined, 'an end without its last event');
      const stuckMs = now - viewer.writtenAt;
      if (sink.isDestroyed) {
        assert.ok(stuckMs >= SLOW_MS, 'cut off too early');
        continue;
      }
      if (sink.isEnded || sink.owesDrain) {
        assert.ok(stuckMs <= SLOW_MS + SLACK_MS, 'not cut off');
        continue;
      }
      assert.equal(viewer.mustEndWith, undefined, 'a reader that kept up is still there');
      assert.ok(now <= viewer.joinedAt + TIMEOUT_MS + SLACK_MS, 'too old');
      assert.equal(viewer.id, this.source.newest(runId)?.id, 'a change was not told');
      assert.ok(this.source.live(runId)[0]?.keys.has(key), 'its key is not held');
    }
    for (const watch of this.source.live()) {
      const keys = new Set(this.viewers.filter((each) => each.runId === watch.runId)
        .map(({ key }) => key));
      for (const key of watch.keys) assert.ok(keys.has(key), 'a key is held for nobody');
    }
  }
}

describe('a hub in chaos', () => {
  for (const seed of seeds(6)) {
    it(`keeps its promises (RUNCAST_SEED=${seed})`, async (t) => {
      t.diagnostic(`RUNCAST_SEED=${seed}`);
      const chaos = new Chaos(seed);
      const all = new Set<Viewer>();
      for (let i = 0; i < STEPS; i++) {
        chaos.step();
        for (const viewer of chaos.viewers) all.add(viewer);
      }

      chaos.isDraining = true;
      const drained = chaos.hub.drain(3_000);
      for (let i = 0; i < 200; i++) chaos.step();
      chaos.clock.advance(3_000 + SLOW_MS + 2 * SLACK_MS);
      for (const { sink } of chaos.viewers) {
        assert.ok(sink.isEnded || sink.isDestroyed, 'drained of nothing');
        sink.close();
      }
      await within(1_000, 'the drain', drained);

      assert.deepEqual(chaos.hub.size, { streams: 0, runs: 0 });
      assert.deepEqual([chaos.source.live().length, chaos.clock.pending], [0, 0]);
      for (const { sink } of all) assertSound(sink);
      const wanted = [
        'progress', 'complete', 'error', 'timeout', 'ping', 'drain', 'turn under several keys',
        'last: end', 'last: loss', 'last: release', 'last: timeout',
      ];
      assert.deepEqual(wanted.filter((what) => !chaos.seen.has(what)), [], 'never happened');
    });
  }
});
