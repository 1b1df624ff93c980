/**
 * One stream: what is written when, what a slow reader skips, and how a stream ends. The sink is
 * held by the test, which says when the reader is behind, has caught up or is gone.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { NO_ID } from '../../src/core/event-id.ts';
import { TERMINAL_RETRY_MS } from '../../src/core/frame.ts';
import { Wheel } from '../../src/hub/wheel.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { randomFrom, seeds } from '../support/random.ts';
import {
  assertSound, frame, over, PING_MS, SLOW_MS, step, stepsOf, Stream, TICK_MS, TIMEOUT_MS,
} from './harness.ts';

const UNIX_S = Date.UTC(2026, 0, 1) / 1000;
const ids = (...steps: number[]): string[] => steps.map((n) => step(n).id);

describe('the first event of a stream', () => {
  it('is the state, with a retry of 2 to 5 s', () => {
    for (const [random, retry] of [[0, 2_000], [0.5, 3_500], [0.99999, 4_999]] as const) {
      const { sink } = Stream.open({ random: () => random });
      assert.deepEqual(sink.names, ['progress']);
      assert.equal(sink.last?.retry, retry);
      assert.equal(sink.last?.data, step(0).data);
      assert.deepEqual(sink.last?.id, step(0).id);
      assertSound(sink);
    }
  });

  it('is a ping at once for a client that has that state already', () => {
    const { sink, subscriber } = Stream.open({ lastEventId: step(0).id });
    assert.deepEqual(sink.names, ['ping']);
    assert.deepEqual([sink.last?.id, sink.last?.data, sink.last?.retry],
      [step(0).id, `${UNIX_S}`, 2_000]);
    assert.equal(subscriber.lastId, step(0).id);
    assertSound(sink);
  });

  it('is the state for a client with any other id', () => {
    for (const lastEventId of ['', NO_ID, 'garbage', `${step(0).id} `, step(1).id]) {
      assert.deepEqual(Stream.open({ lastEventId }).sink.names, ['progress'], lastEventId);
    }
  });

  it('is the end for a run that is over, with a day of retry, and then nothing', () => {
    for (const [status, event] of [
      ['completed', 'complete'], ['failed', 'error'], ['cancelled', 'error'],
    ] as const) {
      const stream = new Stream();
      stream.subscriber.finish(frame(over(status)));
      assert.deepEqual(stream.sink.names, [event]);
      assert.deepEqual([stream.sink.last?.retry, stream.sink.isEnded], [TERMINAL_RETRY_MS, true]);
      stream.clock.advance(SLOW_MS - TICK_MS);
      assertSound(stream.sink);
      assert.equal(stream.sink.events.length, 1);
    }
  });
});

describe('a ping', () => {
  it('comes once an interval, whatever else was sent, with the Unix time', () => {
    const { sink, clock, subscriber } = Stream.open({ streamTimeoutMs: 3_600_000 });
    for (let n = 1; n <= 600; n++) {
      clock.advance(1_000);
      subscriber.offer(frame(step(n)));
    }
    clock.advance(TICK_MS);
    const pings = sink.events.filter(({ event }) => event === 'ping');
    assert.equal(pings.length, 40);
    const times = pings.map(({ data }) => Number(data) - UNIX_S);
    assert.deepEqual(times, times.map((_, i) => (i + 1) * PING_MS / 1_000));
    assertSound(sink);
  });

  it('carries the id of the state last sent', () => {
    const { sink, clock, subscriber } = Stream.open();
    subscriber.offer(frame(step(7)));
    clock.advance(PING_MS + TICK_MS);
    assert.deepEqual([sink.last?.event, sink.last?.id], ['ping', step(7).id]);
    assert.equal(sink.last?.retry, undefined);
  });

  for (const seed of seeds(1)) {
    it(`comes at its own moment of a second for each stream (RUNCAST_SEED=${seed})`, (t) => {
      t.diagnostic(`RUNCAST_SEED=${seed}`);
      const random = randomFrom(seed);
      const clock = new FakeClock();
      const wheel = new Wheel(clock);
      const streams = Array.from({ length: 1_000 }, () => new Stream({ clock, random }, wheel));
      for (const { subscriber } of streams) subscriber.start(frame(step(0)), undefined);
      for (const round of [1, 2, 3]) {
        const at = new Map<number, number>();
        for (let ms = 0; ms < PING_MS; ms += TICK_MS) {
          const before = streams.reduce((sum, { sink }) => sum + sink.events.length, 0);
          clock.advance(TICK_MS);
          const now = streams.reduce((sum, { sink }) => sum + sink.events.length, 0);
          if (now > before) at.set(clock.now(), now - before);
        }
        const moments = [...at.keys()];
        assert.ok(Math.min(...moments) >= round * PING_MS - 1_000, `${moments.join(' ')}`);
        assert.ok(moments.length >= 18, `only ${moments.length} moments in round ${round}`);
        assert.ok(Math.max(...at.values()) < 150, 'crowded');
      }
      for (const { sink } of streams) assert.equal(sink.events.length, 4);
    });
  }

  it('is not sent to a reader that is behind, and not made up for', () => {
    const stream = Stream.blocked({ slowTimeoutMs: 10 * PING_MS });
    stream.clock.advance(3 * PING_MS + 1_000);
    assert.deepEqual(stepsOf(stream.sink), [0, 1]);
    stream.sink.drain();
    assert.deepEqual(stream.sink.names, ['progress', 'progress']);
    stream.clock.advance(PING_MS - 1_000 + TICK_MS);
    assert.deepEqual(stream.sink.names, ['progress', 'progress', 'ping']);
    assertSound(stream.sink);
  });

  it('is not doubled by a stall of the process, and keeps its moment of the second', () => {
    const clock = new class extends FakeClock {
      lostMs = 0;
      override now(): number {
        return super.now() + this.lostMs;
      }
    }();
    const { sink } = Stream.open({ clock, random: () => 0.4 });
    clock.lostMs = 4 * PING_MS;
    clock.advance(PING_MS - 400); // when the first one was due
    assert.deepEqual(sink.names, ['progress', 'ping'], 'one, late');
    clock.advance(3 * PING_MS);
    const times = sink.events.slice(2).map(({ data }) => Number(data) - UNIX_S);
    assert.equal(times.length, 3);
    for (const s of times) assert.equal((s + 1) % (PING_MS / 1_000), 0, `${times.join(' ')} s`);
  });
});

describe('a reader that is behind', () => {
  it('is written nothing, and then only the newest state', () => {
    const stream = Stream.blocked();
    for (let n = 2; n <= 100; n++) stream.subscriber.offer(frame(step(n)));
    assert.deepEqual(stepsOf(stream.sink), [0, 1]);
    assert.equal(stream.subscriber.lastId, step(1).id, 'the state last sent');
    stream.sink.drain();
    assert.deepEqual(stepsOf(stream.sink), [0, 1, 100]);
    stream.subscriber.offer(frame(step(101)));
    assert.deepEqual(stepsOf(stream.sink), [0, 1, 100, 101]);
    assertSound(stream.sink);
  });

  it('may be behind at once again', () => {
    const stream = Stream.blocked();
    stream.subscriber.offer(frame(step(2)));
    stream.sink.drain();
    stream.sink.block();
    for (const n of [3, 4, 5]) stream.subscriber.offer(frame(step(n)));
    stream.sink.drain();
    assert.deepEqual(stepsOf(stream.sink), [0, 1, 2, 3, 5]);
    assertSound(stream.sink);
  });

  it('may be so from its first event on', () => {
    const stream = new Stream();
    stream.sink.block();
    stream.subscriber.start(frame(step(0)), undefined);
    stream.subscriber.offer(frame(step(1)));
    assert.deepEqual([stepsOf(stream.sink), stream.sink.last?.retry], [[0], 2_000]);
    stream.sink.drain();
    assert.deepEqual(stepsOf(stream.sink), [0, 1]);
    assertSound(stream.sink);
  });

  it('that has nothing to catch up with is simply no longer behind', () => {
    const stream = Stream.blocked();
    stream.sink.drain();
    stream.sink.drainUnasked();
    assert.deepEqual(stepsOf(stream.sink), [0, 1]);
    stream.clock.advance(SLOW_MS + TICK_MS);
    assert.equal(stream.sink.isDestroyed, false);
  });

  it('gets the end as its last event, and then the end', () => {
    const stream = Stream.blocked();
    stream.subscriber.offer(frame(step(2)));
    stream.subscriber.finish(frame(over('failed')));
    assert.deepEqual([stream.told, stream.sink.isEnded], [['leave'], false]);
    for (const n of [3, 4]) stream.subscriber.offer(frame(step(n)));
    stream.subscriber.finish(frame(over('completed')));
    stream.sink.drain();
    assert.deepEqual(stream.sink.names, ['progress', 'progress', 'error']);
    assert.deepEqual([stream.sink.last?.data, stream.sink.isEnded], [over('failed').data, true]);
    stream.sink.drainUnasked();
    assertSound(stream.sink);
  });

  it('is cut off after it has taken nothing for a while, not before, end or no end', () => {
    for (const isOver of [false, true]) {
      const stream = Stream.blocked();
      stream.clock.advance(SLOW_MS / 2);
      stream.subscriber.offer(frame(step(2)));
      if (isOver) stream.subscriber.finish(frame(over()));
      stream.clock.advance(SLOW_MS / 2 - 1);
      assert.equal(stream.sink.isDestroyed, false);
      stream.clock.advance(1 + TICK_MS);
      assert.equal(stream.sink.isDestroyed, true);
      stream.sink.close();
      assert.deepEqual([stream.told, stream.clock.pending], [['leave', 'closed'], 0]);
      assert.deepEqual(stepsOf(stream.sink), [0, 1]);
    }
  });

  it('is not cut off if it takes something now and then', () => {
    const stream = Stream.blocked({ pingIntervalMs: 100 * SLOW_MS });
    for (let n = 2; n < 12; n++) {
      stream.subscriber.offer(frame(step(n)));
      stream.clock.advance(SLOW_MS - 1);
      stream.sink.drain();
      stream.sink.block();
      stream.subscriber.offer(frame(step(n + 0.5)));
    }
    assert.equal(stream.sink.isDestroyed, false);
    stream.clock.advance(SLOW_MS + 1_000);
    assert.equal(stream.sink.isDestroyed, true);
  });
});

describe('the age of a stream', () => {
  it('ends it with a timeout that says how old it is and what was sent last', () => {
    for (const [streamTimeoutMs, text] of [
      [TIMEOUT_MS, '10 minutes'], [60_000, '1 minute'], [3_600_000, '1 hour'], [1_500, '1500 ms'],
      [90_000, '90 seconds'],
    ] as const) {
      const stream = Stream.open({ streamTimeoutMs, pingIntervalMs: 7_200_000 });
      stream.subscriber.offer(frame(step(3)));
      stream.clock.advance(streamTimeoutMs - 1);
      assert.equal(stream.sink.events.length, 2);
      stream.clock.advance(1 + TICK_MS);
      const { last } = stream.sink;
      assert.deepEqual([last?.event, last?.data, last?.id],
        ['timeout', `{"message":"Stream timeout after ${text}"}`, step(3).id]);
      assert.equal(last?.retry, undefined, 'the retry of its first event holds');
      assert.equal(stream.sink.isEnded, true);
      assert.deepEqual(stream.told, ['leave']);
      stream.subscriber.offer(frame(step(4)));
      stream.subscriber.finish(frame(over()));
      stream.clock.advance(SLOW_MS - 2 * TICK_MS);
      assertSound(stream.sink);
      assert.equal(stream.sink.last, last);
    }
  });

  it('of a reader that is behind is told with what it was really sent', () => {
    const stream = Stream.blocked({ streamTimeoutMs: 10_000 });
    stream.subscriber.offer(frame(step(2)));
    stream.clock.advance(10_000 + TICK_MS);
    assert.deepEqual([stream.told, stream.sink.names], [['leave'], ['progress', 'progress']]);
    stream.sink.drain();
    assert.deepEqual([stream.sink.last?.event, stream.sink.last?.id], ['timeout', step(1).id]);
    assert.deepEqual(ids(0, 1), stream.sink.events.slice(0, 2).map(({ id }) => id));
    assert.equal(stream.sink.isEnded, true);
    assertSound(stream.sink);
  });

  it('is not stretched by a drain that takes longer', () => {
    const stream = Stream.open({ random: () => 0.9 });
    stream.clock.advance(TIMEOUT_MS - 1_000);
    stream.subscriber.drain(60_000);
    stream.clock.advance(1_000 + TICK_MS);
    assert.equal(stream.sink.isEnded, true);
    assertSound(stream.sink);
  });

  it('does not matter any more when its end waits to be written', () => {
    const stream = Stream.blocked({ streamTimeoutMs: 10_000 });
    stream.subscriber.finish(frame(over()));
    stream.clock.advance(10_000 + TICK_MS);
    stream.sink.drain();
    assert.deepEqual(stream.sink.names, ['progress', 'progress', 'complete']);
    assertSound(stream.sink);
  });
});

describe('the end of a stream', () => {
  it('is behind its last event, even if that one fills the buffer', () => {
    const stream = Stream.open();
    stream.sink.block();
    stream.subscriber.finish(frame(over()));
    assert.deepEqual([stream.sink.names, stream.sink.isEnded], [['progress', 'complete'], true]);
    stream.sink.drain();
    stream.sink.close();
    assertSound(stream.sink);
    assert.deepEqual([stream.told, stream.clock.pending], [['leave', 'closed'], 0]);
  });

  it('asks also while newer states come, however often', () => {
    const stream = Stream.blocked();
    for (let at = 0; at < SLOW_MS; at += 500) {
      stream.subscriber.offer(frame(step(at + 2)));
      stream.clock.advance(500);
    }
    assert.ok(stream.sink.probes >= 5, `asked ${stream.sink.probes} times`);
  });

  it('waits for a reader that takes a little all the time, and asks whether it does', () => {
    const stream = Stream.open();
    stream.subscriber.finish(frame(over()));
    for (let i = 0; i < 10; i++) {
      const { probes } = stream.sink;
      stream.clock.advance(SLOW_MS / 2);
      assert.ok(stream.sink.probes > probes, `asked in part ${i}`);
      stream.sink.progress();
    }
    assert.equal(stream.sink.isDestroyed, false);
    stream.clock.advance(SLOW_MS + TICK_MS);
    assert.equal(stream.sink.isDestroyed, true);
  });

  it('cuts off a reader that does not take it', () => {
    const stream = Stream.open();
    stream.clock.advance(5_000);
    stream.subscriber.finish(frame(over()));
    stream.clock.advance(SLOW_MS - 1);
    assert.deepEqual([stream.sink.isDestroyed, stream.told], [false, ['leave']]);
    stream.clock.advance(1 + TICK_MS);
    assert.equal(stream.sink.isDestroyed, true);
    stream.sink.close();
    assert.deepEqual([stream.told, stream.clock.pending], [['leave', 'closed'], 0]);
    assertSound(stream.sink);
  });

  it('without a verdict is a ping with a retry and the id of what was sent last', () => {
    const stream = Stream.open({ random: () => 0.5 });
    stream.subscriber.offer(frame(step(4)));
    stream.subscriber.sendAway();
    const { last } = stream.sink;
    assert.deepEqual([last?.event, last?.id, last?.retry], ['ping', step(4).id, 3_500]);
    assert.equal(stream.sink.isEnded, true);
    assertSound(stream.sink);
  });
});

describe('a connection that goes away', () => {
  const states: Readonly<Record<string, () => Stream>> = {
    'before its first event': () => new Stream(),
    'while it is open': () => Stream.open(),
    'while it is behind': () => Stream.blocked(),
    'while its end waits to be written': () => {
      const stream = Stream.blocked();
      stream.subscriber.finish(frame(over()));
      return stream;
    },
    'after its end': () => {
      const stream = Stream.open();
      stream.subscriber.finish(frame(over()));
      return stream;
    },
    'while it is to be drained': () => {
      const stream = Stream.open();
      stream.subscriber.drain(5_000);
      return stream;
    },
    'after it was cut': () => {
      const stream = Stream.open();
      stream.subscriber.destroy();
      return stream;
    },
  };
  for (const [when, make] of Object.entries(states)) {
    it(`${when} is left and closed once each, and nothing is written to it any more`, () => {
      const stream = make();
      const before = stream.sink.events.length;
      stream.sink.close();
      stream.subscriber.onClose();
      stream.subscriber.offer(frame(step(9)));
      stream.subscriber.finish(frame(over()));
      stream.subscriber.sendAway();
      stream.subscriber.drain(1_000);
      stream.sink.drainUnasked();
      assert.equal(stream.clock.pending, 0);
      stream.clock.advance(2 * TIMEOUT_MS);
      assert.deepEqual(stream.told, ['leave', 'closed']);
      assert.equal(stream.sink.events.length, before);
      assertSound(stream.sink);
    });
  }
});
