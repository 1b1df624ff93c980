/**
 * A stream of several runs: what is told of each, what its id says, what a slow reader skips, and
 * how it ends. A run that cannot be had now is asked for again, and holds up none of the others.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';

import { refuse } from '../../src/core/errors.ts';
import { NO_ID, REFUSED_ID } from '../../src/core/event-id.ts';
import { TERMINAL_RETRY_MS } from '../../src/core/frame.ts';
import { mergeSamples, renderMetrics } from '../../src/core/metrics.ts';
import { SseParser } from '../support/sse-parser.ts';
import { Lab, joined, over, step } from './bundle-lab.ts';
import { PING_MS, SLOW_MS, TICK_MS, TIMEOUT_MS, assertSound } from './harness.ts';

describe('a stream of several runs', () => {
  it('begins with the state of each, its id growing with them', () => {
    const { sink, told } = Lab.running('a', 'b').open();
    assert.deepEqual(told, ['progress a', 'progress b']);
    assert.deepEqual(sink.events.map(({ id }) => id),
      [joined(step('a'), NO_ID), joined(step('a'), step('b'))]);
    assert.deepEqual(sink.events.map(({ retry }) => retry), [2_000, undefined]);
    assert.equal(sink.events[0]?.data, step('a').data);
    assertSound(sink);
  });

  it('ends with the end of the last run, which alone says not to come back', () => {
    const lab = Lab.running('a', 'b').open();
    lab.source.emit(over('a', 'failed'));
    assert.equal(lab.sink.isEnded, false);
    lab.source.emit(step('b', 1));
    lab.source.emit(over('b'));
    assert.deepEqual(lab.told.slice(2), ['error a', 'progress b', 'complete b']);
    assert.deepEqual(lab.sink.events.slice(2).map(({ retry }) => retry),
      [undefined, undefined, TERMINAL_RETRY_MS]);
    assert.equal(lab.lastId, joined(over('a', 'failed'), over('b')));
    assert.equal(lab.sink.isEnded, true);
    assert.deepEqual(lab.hub.size, { streams: 0, runs: 0 });
    assertSound(lab.sink);
  });

  it('keeps nobody away for a day whose connection is cut before the last event is whole', () => {
    const lab = Lab.running('a').open();
    lab.source.emit(over('a'));
    const stream = Buffer.concat(lab.sink.written);
    for (let cut = 0; cut < stream.length; cut++) {
      const parser = new SseParser();
      const ended = parser.push(stream.subarray(0, cut)).some(({ event }) => event === 'complete');
      if (parser.retryMs === TERMINAL_RETRY_MS && !ended) {
        // Only the blank line is missing: nothing comes behind the retry.
        assert.equal(cut, stream.length - 1);
      }
    }
  });

  it('is over at once where all runs are', () => {
    const lab = new Lab().yes(over('a')).yes(over('b')).open();
    assert.deepEqual(lab.told, ['complete a', 'complete b']);
    assert.deepEqual(lab.sink.events.map(({ retry }) => retry), [2_000, TERMINAL_RETRY_MS]);
    assert.deepEqual([lab.sink.isEnded, lab.left], [true, ['a', 'b']]);
    assertSound(lab.sink);
  });

  it('takes a place for each run, and gives it back when that is over', async () => {
    const lab = Lab.running('a', 'b', 'c').open();
    assert.deepEqual(lab.hub.size, { streams: 3, runs: 3 });
    lab.source.emit(over('b'));
    assert.deepEqual([lab.hub.size.streams, lab.left], [2, ['b']]);
    lab.sink.close();
    assert.deepEqual([lab.hub.size, lab.left], [{ streams: 0, runs: 0 }, ['b', 'a', 'c']]);
    await lab.hub.drain(0);
  });

  it('pings for all of them together', () => {
    const lab = Lab.running('a', 'b').open();
    lab.clock.advance(PING_MS + TICK_MS);
    assert.deepEqual(lab.told.slice(2), ['ping']);
    assert.equal(lab.lastId, joined(step('a'), step('b')));
  });

  it('has one time-out', () => {
    const lab = Lab.running('a', 'b').open();
    lab.clock.advance(TIMEOUT_MS + TICK_MS);
    assert.deepEqual([lab.sink.last?.event, lab.sink.isEnded], ['timeout', true]);
    assert.equal(lab.lastId, joined(step('a'), step('b')));
    assert.equal(lab.source.live().length, 0);
  });

  it('is sent away by a shutdown, which waits for its connection', async () => {
    const lab = Lab.running('a', 'b').no('c', 'UPSTREAM_UNAVAILABLE').open();
    const drained = lab.hub.drain(0);
    lab.clock.advance(TICK_MS * 2);
    assert.deepEqual([lab.told.at(-1), lab.sink.last?.retry], ['ping', 2_000]);
    assert.equal(lab.lastId, joined(step('a'), step('b'), NO_ID));
    lab.sink.close();
    await drained;
    lab.clock.advance(60_000);
    assert.deepEqual(lab.asked, [], 'nothing is asked for any more');
  });
});

describe('a client that comes back to several runs', () => {
  it('is sent those that differ, and each id is compared in its place', () => {
    const known = joined(step('a'), step('b'), step('c'));
    const lab = new Lab().yes(step('a')).yes(step('b', 1)).yes(step('c')).open(known);
    assert.deepEqual(lab.told, ['progress b']);
    assert.equal(lab.lastId, joined(step('a'), step('b', 1), step('c')));
    assert.equal(lab.sink.last?.retry, 2_000);
  });

  it('gets a ping at once where it has everything', () => {
    const lab = new Lab().yes(over('a')).yes(step('b')).open(joined(over('a'), step('b')));
    assert.deepEqual([lab.told, lab.sink.last?.retry], [['ping'], 2_000]);
    assert.equal(lab.lastId, joined(over('a'), step('b')));
    lab.source.emit(over('b'));
    assert.deepEqual([lab.told.at(-1), lab.sink.isEnded], ['complete b', true]);
  });

  it('is sent all where its id is of another list', () => {
    for (const id of ['garbage', joined(step('a')), joined(step('a'), step('b'), step('c'))]) {
      const lab = Lab.running('a', 'b').open(id);
      assert.deepEqual(lab.told, ['progress a', 'progress b'], id);
    }
  });

  it('is told not to come back where nothing is left to tell', async () => {
    const lab = new Lab().yes(step('a')).no('b', 'UPSTREAM_UNAVAILABLE')
      .open(joined(step('a'), over('b')));
    lab.source.emit(over('a'));
    assert.equal(lab.sink.isEnded, false);
    lab.yes(over('b')).clock.advance(2_000);
    await turn();
    assert.deepEqual(lab.told, ['ping', 'complete a', 'ping']);
    assert.deepEqual([lab.sink.last?.retry, lab.sink.isEnded], [TERMINAL_RETRY_MS, true]);
    assert.equal(lab.lastId, joined(over('a'), over('b')));
  });
});

describe('one of several runs', () => {
  it('that is refused for good is told as an error of its own', () => {
    const lab = Lab.running('a').no('b', 'FORBIDDEN').open();
    assert.deepEqual(lab.told, ['progress a', 'error b']);
    assert.equal(lab.lastId, joined(step('a'), REFUSED_ID));
    assert.deepEqual(JSON.parse(lab.sink.last?.data ?? ''), {
      runId: 'b', errorMessage: 'This API key may not see this run',
      error: 'This API key may not see this run', code: 'FORBIDDEN', retryable: false,
      requestId: 'req_1',
    });
    assert.equal(lab.sink.last?.retry, undefined);
    lab.source.emit(over('a'));
    assert.deepEqual([lab.told.at(-1), lab.sink.isEnded], ['complete a', true]);
  });

  it('is not refused twice to a client that was told', () => {
    const lab = Lab.running('a').no('b', 'FORBIDDEN').open(joined(NO_ID, REFUSED_ID));
    assert.deepEqual(lab.told, ['progress a']);
    assert.equal(lab.lastId, joined(step('a'), REFUSED_ID));
  });

  it('that its key loses later ends alone', () => {
    const lab = Lab.running('a', 'b').open();
    const loss = { kind: 'refused', refusal: refuse('NOT_FOUND') } as const;
    lab.source.lose('a', 'lma_a', loss);
    assert.deepEqual([lab.told.at(-1), lab.sink.isEnded], ['error a', false]);
    lab.source.emit(step('b', 1));
    assert.equal(lab.lastId, joined(REFUSED_ID, step('b', 1)));
    lab.source.lose('b', 'lma_a', loss);
    assert.deepEqual([lab.sink.last?.retry, lab.sink.isEnded], [TERMINAL_RETRY_MS, true]);
    assertSound(lab.sink);
  });

  it('that cannot be had now is asked for later and later, and joins when it can', async () => {
    const lab = new Lab({ random: () => 0.999 });
    lab.yes(step('a')).no('b', 'UPSTREAM_UNAVAILABLE').open();
    assert.deepEqual(lab.told, ['progress a']);
    for (const [afterMs, asked] of [[1_900, 0], [200, 1], [3_800, 1], [300, 2]] as const) {
      lab.clock.advance(afterMs);
      await turn();
      assert.equal(lab.asked.length, asked, `${afterMs}`);
    }
    lab.yes(step('b')).clock.advance(8_100);
    await turn();
    assert.equal(lab.lastId, joined(step('a'), step('b')));
    assert.deepEqual(lab.told.filter((name) => name !== 'ping'), ['progress a', 'progress b']);
    lab.clock.advance(60_000);
    assert.equal(lab.asked.length, 3, 'and is not asked for any more');
  });

  it('is asked for when its Retry-After is over', async () => {
    const lab = Lab.running('a').no('b', 'RATE_LIMITED', 7_000).open();
    lab.clock.advance(6_900);
    assert.equal(lab.asked.length, 0);
    lab.clock.advance(200);
    await turn();
    assert.equal(lab.asked.length, 1);
  });

  it('that turned into another one is asked for anew, and the others notice nothing', async () => {
    const lab = Lab.running('a', 'b').open();
    lab.source.lose('a', 'lma_a', { kind: 'moved' });
    assert.equal(lab.sink.isEnded, false);
    lab.yes(step('a', 5)).clock.advance(1_000 + TICK_MS);
    await turn();
    assert.deepEqual(lab.told.slice(2), ['progress a']);
    assert.equal(lab.lastId, joined(step('a', 5), step('b')));
  });

  it('that a source throws at is asked for again, and takes no place meanwhile', async () => {
    const lab = Lab.running('b').yes(step('a'));
    const watch = lab.source.watch.bind(lab.source);
    lab.source.watch = (admitted, observer) => {
      if (admitted.runId === 'a') throw new Error('not now');
      return watch(admitted, observer);
    };
    lab.open();
    assert.deepEqual([lab.told, lab.left, lab.hub.size.streams], [['progress b'], ['a'], 1]);
    lab.source.watch = watch;
    lab.clock.advance(1_000 + TICK_MS);
    await turn();
    assert.deepEqual([lab.asked, lab.told], [['a'], ['progress b', 'progress a']]);
  });

  it('gives its place back where its answer comes behind the end', async () => {
    const lab = Lab.running('a').no('b', 'UPSTREAM_UNAVAILABLE').open();
    lab.yes(step('b')).clock.advance(1_000 + TICK_MS);
    assert.deepEqual(lab.asked, ['b']);
    lab.sink.close();
    await turn();
    assert.deepEqual(lab.left, ['a', 'b']);
    assert.deepEqual(lab.hub.size, { streams: 0, runs: 0 });
  });
});

describe('a slow reader of several runs', () => {
  function blocked(): Lab {
    const lab = Lab.running('a', 'b', 'c').open();
    lab.sink.block();
    lab.source.emit(step('a', 1));
    return lab;
  }

  it('gets the newest state of each, one a run', () => {
    const lab = blocked();
    for (const n of [2, 3]) for (const runId of ['b', 'a']) lab.source.emit(step(runId, n));
    assert.equal(lab.told.length, 4);
    lab.sink.drain();
    assert.deepEqual(lab.told.slice(4), ['progress b', 'progress a']);
    assert.equal(lab.lastId, joined(step('a', 3), step('b', 3), step('c')));
    assertSound(lab.sink);
  });

  it('gets every end, one after the other as it takes them', () => {
    const lab = blocked();
    for (const runId of ['c', 'a', 'b']) lab.source.emit(over(runId));
    lab.sink.onEvent = () => lab.sink.block();
    for (const expected of [5, 6, 7]) {
      assert.equal(lab.sink.isEnded, false);
      lab.sink.drain();
      assert.equal(lab.told.length, expected, 'one at a time');
    }
    assert.deepEqual(lab.told.slice(4), ['complete c', 'complete a', 'complete b']);
    assert.deepEqual(lab.sink.events.slice(4).map(({ retry }) => retry),
      [undefined, undefined, TERMINAL_RETRY_MS]);
    assert.equal(lab.sink.isEnded, true);
    assertSound(lab.sink);
  });

  it('has in its id only what was written, so an end that a time-out overtook is not lost', () => {
    const lab = Lab.with({ slowTimeoutMs: TIMEOUT_MS * 2 }, 'a', 'b').open();
    lab.sink.block();
    lab.source.emit(step('a', 1));
    lab.source.emit(over('b'));
    lab.clock.advance(TIMEOUT_MS + TICK_MS);
    lab.sink.drain();
    assert.equal(lab.sink.last?.event, 'timeout');
    assert.equal(lab.lastId, joined(step('a', 1), step('b')));
    const again = new Lab().yes(step('a', 1)).yes(over('b')).open(lab.lastId);
    assert.deepEqual(again.told, ['complete b']);
  });

  it('is cut when it takes nothing for too long, and has not got the end that waited', () => {
    const lab = blocked();
    lab.source.emit(over('b'));
    lab.clock.advance(SLOW_MS + TICK_MS);
    assert.equal(lab.sink.isDestroyed, true);
    lab.sink.close();
    assert.deepEqual([lab.hub.size, lab.left.sort()],
      [{ streams: 0, runs: 0 }, ['a', 'b', 'c']]);
    const text = renderMetrics(mergeSamples(lab.metrics.samples()));
    assert.match(text, /^runcast_streams_closed_total\{reason="slow"\} 3$/m);
    assert.match(text, /^runcast_streams_unfinished_total 3$/m);
  });
});
