/**
 * All streams of a process: how they are counted, how a run that is over is answered, and how
 * they all end when the process does.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';

import { TERMINAL_RETRY_MS } from '../../src/core/frame.ts';
import { FakeSink } from '../support/fake-sink.ts';
import { admittedAs, snapshotOf } from '../support/fake-source.ts';
import { randomFrom, seeds } from '../support/random.ts';
import { within } from '../support/wait.ts';
import { assertSound, House, over, PING_MS, SLOW_MS, step, stepsOf } from './harness.ts';

/** As a kernel would: what has its end, or was cut, is gone. */
function closeFinished(sinks: readonly FakeSink[]): void {
  for (const sink of sinks) if (sink.isEnded || sink.isDestroyed) sink.close();
}

async function isOpen(promise: Promise<void>): Promise<boolean> {
  let isDone = false;
  void promise.then(() => (isDone = true));
  await turn();
  return !isDone;
}

describe('a run that is over', () => {
  for (const [status, event] of [
    ['completed', 'complete'], ['failed', 'error'], ['cancelled', 'error'],
  ] as const) {
    it(`as ${status} is exactly one ${event} and the end, and is not watched`, () => {
      const house = new House();
      for (const lastEventId of [undefined, 'garbage', step(0).id]) {
        const sink = house.join('lma_a', over(status), lastEventId);
        assert.deepEqual([sink.names, sink.isEnded], [[event], true]);
        assert.deepEqual([sink.last?.data, sink.last?.id, sink.last?.retry],
          [over(status).data, over(status).id, TERMINAL_RETRY_MS]);
        assert.deepEqual(house.hub.size, { streams: 1, runs: 0 });
        sink.close();
        assertSound(sink);
      }
      assert.deepEqual([house.source.watches.length, house.clock.pending], [0, 0]);
    });
  }

  it('cuts off a reader that does not take it', () => {
    const house = new House();
    const sink = house.join('lma_a', over());
    house.clock.advance(SLOW_MS + 100);
    assert.equal(sink.isDestroyed, true);
    sink.close();
    assert.deepEqual(house.hub.size, { streams: 0, runs: 0 });
  });
});

describe('a hub', () => {
  it('throws what its source throws, and gives the place back', () => {
    const { hub, source } = new House();
    source.watch = () => {
      throw new Error('no more');
    };
    let left = 0;
    const admitted = { ...admittedAs('lma_a', step(0)), leave: () => void left++ };
    const client = { sink: new FakeSink(), requestId: 'q', lastEventId: undefined };
    assert.throws(() => hub.subscribe(admitted, client), /no more/);
    assert.throws(() => hub.wait(admitted, { until: 1, answer: () => assert.fail() }), /no more/);
    assert.deepEqual([left, hub.size], [2, { streams: 0, runs: 0 }]);
  });

  it('keeps runs apart', () => {
    const house = new House();
    const state = (runId: string, n: number) => snapshotOf(runId, 'running', { step: n });
    const sinks = ['r1', 'r2', 'r3'].map((runId) => house.join('lma_a', state(runId, 0)));
    house.source.emit(state('r2', 1));
    house.source.emit(snapshotOf('r3', 'completed'));
    assert.deepEqual(sinks.map(({ names }) => names.join(' ')),
      ['progress', 'progress progress', 'progress complete']);
    assert.deepEqual(house.hub.size, { streams: 3, runs: 2 });
  });

  it('counts a stream until its connection is gone, and then holds nothing', () => {
    const house = new House();
    const sinks = Array.from({ length: 50 }, (_, i) => house.join(`lma_${i % 5}`, step(0)));
    assert.deepEqual(house.hub.size, { streams: 50, runs: 1 });
    house.source.emit(over());
    assert.deepEqual(house.hub.size, { streams: 50, runs: 0 });
    for (const sink of sinks) sink.close();
    assert.deepEqual(house.hub.size, { streams: 0, runs: 0 });
    assert.equal(house.clock.pending, 0);
    assert.equal(house.source.live().length, 0);
  });

  it('uses one timer for all streams', () => {
    const house = new House();
    for (let i = 0; i < 100; i++) house.join('lma_a', step(0));
    assert.equal(house.clock.pending, 1);
    house.clock.advance(PING_MS * 3);
    assert.equal(house.clock.pending, 1);
  });

  it('that is destroyed cuts every connection and lets go of every run', () => {
    const house = new House();
    const sinks = ['lma_a', 'lma_b', 'lma_c'].map((key) => house.join(key, step(0)));
    sinks[1]?.block();
    house.source.emit(step(1));
    const ended = house.join('lma_a', over());
    house.hub.destroy();
    for (const sink of [...sinks, ended]) {
      assert.equal(sink.isDestroyed, true);
      sink.close();
      assertSound(sink);
    }
    assert.deepEqual(house.hub.size, { streams: 0, runs: 0 });
    assert.deepEqual([house.source.live().length, house.clock.pending], [0, 0]);
  });
});

describe('draining', () => {
  const WINDOW_MS = 8_000;

  it('is done at once where there is nothing', async () => {
    await within(1_000, 'the drain of an empty hub', new House().hub.drain(WINDOW_MS));
  });

  for (const seed of seeds(1)) {
    it(`ends all streams without a verdict and spread out (RUNCAST_SEED=${seed})`, async (t) => {
      t.diagnostic(`RUNCAST_SEED=${seed}`);
      const house = new House({ random: randomFrom(seed) });
      const sinks = Array.from({ length: 400 }, (_, i) => house.join(`lma_${i % 7}`, step(0)));
      house.source.emit(step(1));
      house.clock.advance(60_000);
      const drained = house.hub.drain(WINDOW_MS);
      const endsPerTenth: number[] = [];
      for (let tenth = 0; tenth < 10; tenth++) {
        const before = sinks.filter(({ isEnded }) => isEnded).length;
        house.clock.advance(WINDOW_MS / 10);
        endsPerTenth.push(sinks.filter(({ isEnded }) => isEnded).length - before);
      }
      house.clock.advance(100);
      for (const count of endsPerTenth) {
        assert.ok(count > 10 && count < 80, endsPerTenth.join(' '));
      }
      const retries = new Set<number>();
      for (const sink of sinks) {
        assert.deepEqual([sink.last?.event, sink.last?.id, sink.isEnded],
          ['ping', step(1).id, true]);
        const { retry = 0 } = sink.last ?? {};
        assert.ok(retry >= 2_000 && retry < 5_000, `${retry}`);
        retries.add(retry);
        assertSound(sink);
      }
      assert.ok(retries.size > 100, 'the ways back are spread as well');
      assert.equal(await isOpen(drained), true, 'the connections are not gone yet');
      closeFinished(sinks);
      await within(1_000, 'the drain', drained);
      assert.deepEqual(house.hub.size, { streams: 0, runs: 0 });
      assert.equal(house.clock.pending, 0);
    });
  }

  it('waits for the last connection', async () => {
    const house = new House();
    const sinks = [house.join('lma_a', step(0)), house.join('lma_b', step(0))];
    const drained = house.hub.drain(0);
    house.clock.advance(100);
    sinks[0]?.close();
    assert.equal(await isOpen(drained), true);
    sinks[1]?.close();
    await within(1_000, 'the drain', drained);
  });

  it('lets what happens meanwhile happen: a change, an end, a loss, a leave', async () => {
    const house = new House({ random: () => 0.9 });
    const names = ['lma_a', 'lma_b', 'lma_c', 'lma_d'];
    const sinks = names.map((key) => house.join(key, step(0)));
    const drained = house.hub.drain(WINDOW_MS);
    house.clock.advance(1_000);
    house.source.emit(step(1));
    sinks[3]?.close();
    house.source.lose('run_1', 'lma_c', { kind: 'moved' });
    house.source.emit(over());
    house.clock.advance(WINDOW_MS);
    assert.deepEqual(sinks.map(({ names: each }) => each.join(' ')), [
      'progress progress complete', 'progress progress complete', 'progress progress ping',
      'progress progress',
    ]);
    closeFinished(sinks);
    await within(1_000, 'the drain', drained);
    for (const sink of sinks) assertSound(sink);
  });

  it('ends also a reader that is behind, and cuts one that stays so', async () => {
    const house = new House();
    const sinks = [house.join('lma_a', step(0)), house.join('lma_b', step(0))];
    for (const sink of sinks) sink.block();
    house.source.emit(step(1));
    house.source.emit(step(2));
    const drained = house.hub.drain(0);
    house.clock.advance(100);
    sinks[0]?.drain();
    assert.deepEqual([sinks[0]?.last?.event, sinks[0]?.last?.id, sinks[0]?.isEnded],
      ['ping', step(1).id, true]);
    house.clock.advance(SLOW_MS + 1_000);
    assert.equal(sinks[1]?.isDestroyed, true);
    closeFinished(sinks);
    await within(1_000, 'the drain', drained);
    for (const sink of sinks) {
      assert.deepEqual(stepsOf(sink), [0, 1]);
      assertSound(sink);
    }
  });

  it('may be asked for twice, and both are told when it is done', async () => {
    const house = new House();
    const sink = house.join('lma_a', step(0));
    const drains = [house.hub.drain(0), house.hub.drain(0)];
    house.clock.advance(100);
    sink.close();
    await within(1_000, 'the second drain', drains[1] ?? Promise.reject(new Error('none')));
    await within(1_000, 'the first drain', drains[0] ?? Promise.reject(new Error('none')));
    assertSound(sink);
  });
});
