/**
 * One run in this process: who shares its watch, what reaches whom, and what is asked of the
 * source as keys come and go. Most of it is seen through a hub, as its streams are.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { TERMINAL_RETRY_MS } from '../../src/core/frame.ts';
import { refuse } from '../../src/core/errors.ts';
import type { Loss } from '../../src/core/run-source.ts';
import { FakeSink } from '../support/fake-sink.ts';
import { admittedAs, snapshotOf } from '../support/fake-source.ts';
import { assertSound, House, over, RUN, step, stepsOf } from './harness.ts';

const FOREIGN = { workflowId: 'wf_foreign' };
const revoked: Loss = {
  kind: 'refused',
  refusal: refuse('AUTH_INVALID_KEY', { error: 'Revoked on Monday', code: 'AUTH_KEY_REVOKED' }),
};

describe('one run', () => {
  it('is watched once, however many streams and keys follow it', () => {
    const house = new House();
    for (const key of ['lma_a', 'lma_b', 'lma_a', 'lma_c', 'lma_b']) house.join(key, step(0));
    assert.equal(house.source.watches.length, 1);
    assert.deepEqual([...house.watch.keys], ['lma_a', 'lma_b', 'lma_c']);
    assert.deepEqual(house.hub.size, { streams: 5, runs: 1 });
  });

  it('is sent to all as it changes, each byte the same', () => {
    const house = new House();
    const sinks = ['lma_a', 'lma_a', 'lma_b'].map((key) => house.join(key, step(0)));
    for (const n of [1, 2, 3]) house.source.emit(step(n));
    for (const sink of sinks) {
      assert.deepEqual(stepsOf(sink), [0, 1, 2, 3]);
      assert.deepEqual(sink.events.map(({ data }) => data),
        [0, 1, 2, 3].map((n) => step(n).data));
      assertSound(sink);
    }
  });

  it('is shown as it is now to one who joins late, even with an older proof', () => {
    const house = new House();
    house.join('lma_a', step(0));
    house.source.emit(step(5));
    const [again, other] = [house.join('lma_a', step(0)), house.join('lma_b', step(4))];
    assert.deepEqual([stepsOf(again), stepsOf(other)], [[5], [5]]);
  });

  it('is not shown again to a client that comes back with its newest id', () => {
    const house = new House();
    house.join('lma_a', step(0));
    house.source.emit(step(5));
    assert.deepEqual(house.join('lma_a', step(5), step(5).id).names, ['ping']);
    assert.deepEqual(house.join('lma_a', step(0), step(0).id).names, ['progress']);
  });

  it('is one with what the same key was shown before, and another with what it was not', () => {
    const house = new House();
    house.join('lma_a', step(0, { workflowId: undefined }));
    house.join('lma_a', step(1, { workflowId: undefined }));
    house.join('lma_b', step(0, { workflowId: undefined }));
    assert.equal(house.source.live().length, 2);
    assert.deepEqual(house.source.live().map(({ keys }) => [...keys]), [['lma_a'], ['lma_b']]);
  });
});

describe('the keys of a run', () => {
  it('are held from their first stream to their last, and the last one stops the watch', () => {
    const house = new House();
    const [a1, a2, b1] = ['lma_a', 'lma_a', 'lma_b'].map((key) => house.join(key, step(0)));
    const { watch } = house;
    assert.deepEqual(watch.calls.filter((call) => call === 'hold lma_b'), ['hold lma_b']);
    watch.calls.length = 0;
    a1?.close();
    assert.deepEqual(watch.calls, []);
    a2?.close();
    assert.deepEqual(watch.calls, ['release lma_a']);
    b1?.close();
    assert.deepEqual(watch.calls, ['release lma_a', 'stop']);
    assert.deepEqual(house.hub.size, { streams: 0, runs: 0 });
    assert.equal(house.clock.pending, 0);
  });

  it('are let go of when their streams have had their last event, open or not', () => {
    const house = new House({ streamTimeoutMs: 10_000 });
    const sink = house.join('lma_a', step(0));
    const { watch } = house;
    house.clock.advance(5_000);
    house.join('lma_b', step(0));
    house.clock.advance(5_100);
    assert.deepEqual([sink.names.at(-1), sink.isClosed], ['timeout', false]);
    assert.deepEqual([...watch.keys], ['lma_b']);
    assert.deepEqual(house.hub.size, { streams: 2, runs: 1 });
    house.clock.advance(5_000);
    assert.equal(watch.isStopped, true);
    assert.deepEqual(house.hub.size, { streams: 2, runs: 0 });
  });

  it('may come back: the run is watched anew', () => {
    const house = new House();
    house.join('lma_a', step(0)).close();
    const sink = house.join('lma_a', step(1));
    assert.equal(house.source.watches.length, 2);
    house.source.emit(step(2));
    assert.deepEqual(stepsOf(sink), [1, 2]);
  });
});

describe('the end of a run', () => {
  it('reaches every stream once, as its last event', () => {
    for (const [status, event] of [
      ['completed', 'complete'], ['failed', 'error'], ['cancelled', 'error'],
    ] as const) {
      const house = new House();
      const sinks = ['lma_a', 'lma_a', 'lma_b'].map((key) => house.join(key, step(0)));
      const { watch } = house;
      house.source.emit(over(status));
      for (const sink of sinks) {
        assert.deepEqual([sink.names, sink.isEnded], [['progress', event], true]);
        assert.deepEqual([sink.last?.data, sink.last?.id, sink.last?.retry],
          [over(status).data, over(status).id, TERMINAL_RETRY_MS]);
        assertSound(sink);
      }
      assert.equal(watch.isStopped, true);
      assert.deepEqual(house.hub.size, { streams: 3, runs: 0 });
    }
  });

  it('reaches also one who joins in the same turn, just before or just after', () => {
    const house = new House();
    house.join('lma_a', step(0));
    const before = house.join('lma_b', step(0));
    house.source.emit(over());
    const after = house.join('lma_c', over());
    assert.deepEqual([before.names, after.names], [['progress', 'complete'], ['complete']]);
    assert.deepEqual([before.isEnded, after.isEnded], [true, true]);
    // Admitted before the end, subscribed after it: the source tells whoever watches anew.
    const late = house.join('lma_d', step(0));
    house.watch.observer.onSnapshot(over());
    assert.deepEqual([late.names, late.isEnded], [['progress', 'complete'], true]);
    assert.equal(house.source.live().length, 0);
  });

  it('is not skipped by a reader that is behind, nor by its timeout or a drain', () => {
    const house = new House({ streamTimeoutMs: 10_000 });
    const sink = house.join('lma_a', step(0));
    sink.block();
    for (const n of [1, 2, 3]) house.source.emit(step(n));
    house.source.emit(over('failed'));
    void house.hub.drain(1_000);
    house.clock.advance(15_000);
    sink.drain();
    assert.deepEqual(sink.names, ['progress', 'progress', 'error']);
    assert.equal(sink.last?.data, over('failed').data);
    assertSound(sink);
  });
});

describe('why a stream is gone', () => {
  const reasons = (house: House): unknown[] => house.metrics.samples()
    .filter(([name]) => /_(?:closed|unfinished)_total$/.test(name))
    .map(([name, label, value]) => `${name.replace(/^runcast_streams_/, '')} ${label} ${value}`);

  it('is its last event, once that is written', () => {
    const house = new House();
    const sink = house.join('lma_a', step(0));
    house.source.emit(over());
    sink.close();
    assert.deepEqual(reasons(house), ['closed_total complete 1']);
  });

  it('is its client, where that leaves before, or while the last event waits for it', () => {
    const house = new House();
    const [early, behind] = [house.join('lma_a', step(0)), house.join('lma_a', step(0))];
    early.close();
    behind.block();
    house.source.emit(step(1));
    house.source.emit(over());
    behind.close();
    assert.deepEqual(reasons(house), ['closed_total client 2', 'unfinished_total  2']);
  });
});

describe('a key that lost access', () => {
  it('loses its own streams, with the reason, and nobody else\'s', () => {
    const house = new House();
    const [a1, a2, b] = ['lma_a', 'lma_a', 'lma_b'].map((key) => house.join(key, step(0)));
    house.source.emit(step(1));
    house.source.lose(RUN, 'lma_a', revoked);
    for (const sink of [a1, a2]) {
      assert.deepEqual([sink?.names.at(-1), sink?.isEnded], ['error', true]);
      assert.deepEqual([sink?.last?.id, sink?.last?.retry], [step(1).id, TERMINAL_RETRY_MS]);
      assert.deepEqual(JSON.parse(sink?.last?.data ?? ''), {
        runId: RUN, errorMessage: 'Revoked on Monday', error: 'Revoked on Monday',
        code: 'AUTH_KEY_REVOKED', retryable: false, requestId: 'req_lma_a',
      });
    }
    assert.deepEqual([b?.isEnded, [...house.watch.keys]], [false, ['lma_b']]);
    house.source.emit(step(2));
    assert.deepEqual([stepsOf(b ?? new FakeSink()), a1?.names.length], [[0, 1, 2], 3]);
    for (const sink of [a1, a2, b]) assertSound(sink ?? new FakeSink());
  });

  it('leaves nothing behind if it was the only one', () => {
    const house = new House();
    const sink = house.join('lma_a', step(0));
    house.source.lose(RUN, 'lma_a', revoked);
    assert.deepEqual([sink.names, house.source.live().length], [['progress', 'error'], 0]);
    sink.close();
    assert.deepEqual([house.hub.size, house.clock.pending], [{ streams: 0, runs: 0 }, 0]);
  });

  it('is told so behind what its reader has still to take', () => {
    const house = new House();
    const sink = house.join('lma_a', step(0));
    sink.block();
    house.source.emit(step(1));
    house.source.emit(step(2));
    house.source.lose(RUN, 'lma_a', revoked);
    sink.drain();
    assert.deepEqual([sink.names, sink.last?.id], [['progress', 'progress', 'error'], step(1).id]);
    assertSound(sink);
  });

  it('because it now sees another run is sent away to come back, without an error', () => {
    const house = new House();
    const [a, b] = [house.join('lma_a', step(0)), house.join('lma_b', step(0))];
    house.source.lose(RUN, 'lma_a', { kind: 'moved' });
    assert.deepEqual([a.names, a.isEnded], [['progress', 'ping'], true]);
    assert.deepEqual([a.last?.id, a.last?.retry], [step(0).id, 2_000]);
    assert.equal(b.isEnded, false);
    const again = house.join('lma_a', step(1, FOREIGN));
    house.source.live()[0]?.observer.onSnapshot(step(7));
    assert.deepEqual([stepsOf(again), stepsOf(b)], [[1], [0, 7]]);
    assertSound(a);
  });
});

describe('a run that turned into another one', () => {
  it('under several keys sends all of them away to come back, and shows it to none', () => {
    const house = new House();
    const sinks = ['lma_a', 'lma_b', 'lma_b'].map((key) => house.join(key, step(0)));
    const { watch } = house;
    for (const turned of [step(1, FOREIGN)]) house.source.emit(turned);
    for (const sink of sinks) {
      assert.deepEqual([sink.names, sink.isEnded], [['progress', 'ping'], true]);
      assert.deepEqual([sink.last?.id, sink.last?.retry], [step(0).id, 2_000]);
      assertSound(sink);
    }
    assert.deepEqual([watch.isStopped, house.hub.size.runs], [true, 0]);
  });

  it('under several keys does so also with its end, and where it no longer says what it is', () => {
    for (const turned of [
      snapshotOf(RUN, 'completed', FOREIGN), step(1, { createdAt: undefined }),
    ]) {
      const house = new House();
      const sinks = ['lma_a', 'lma_b'].map((key) => house.join(key, step(0)));
      house.source.emit(turned);
      for (const sink of sinks) assert.deepEqual(sink.names, ['progress', 'ping']);
    }
  });

  it('under one key, however many streams, is simply its new state', () => {
    const house = new House();
    const sinks = ['lma_a', 'lma_a'].map((key) => house.join(key, step(0)));
    house.source.emit(step(1, FOREIGN));
    for (const sink of sinks) assert.deepEqual([stepsOf(sink), sink.isEnded], [[0, 1], false]);
    house.join('lma_b', step(2));
    assert.equal(house.source.live().length, 2, 'not shared with those who see the old one');
  });

  it('is not the run of a key that was shown the first', () => {
    const house = new House();
    const a = house.join('lma_a', step(0));
    const b = house.join('lma_b', step(0, FOREIGN));
    const [ofA, ofB] = house.source.live();
    ofB?.observer.onSnapshot(step(3, FOREIGN));
    ofA?.observer.onSnapshot(step(8));
    assert.deepEqual([stepsOf(a), stepsOf(b)], [[0, 8], [0, 3]]);
    assert.deepEqual(house.hub.size, { streams: 2, runs: 1 });
    a.close();
    assert.deepEqual(house.hub.size, { streams: 1, runs: 1 });
    b.close();
    assert.deepEqual(house.hub.size, { streams: 0, runs: 0 });
    assert.equal(admittedAs('lma_a', step(0)).runId, RUN);
  });
});
