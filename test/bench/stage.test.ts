/** What a window must show before its figures count, and what is said of who disturbed it. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clientNotes, isBound, merge } from '../../bench/support/account.ts';
import type { Measured } from '../../bench/support/account.ts';
import { measureRows } from '../../bench/support/rows.ts';
import { assertComplete, windowNotes } from '../../bench/support/stage.ts';

/** 10 s in which each of 5 streams saw 40 states. */
function measured(over: Partial<Measured> = {}): Measured {
  return {
    ...merge([], 250, 10), openNow: 5, perStreamStates: { min: 40, max: 40 }, lostBefore: 0,
    bytesBefore: 0, ...over,
  };
}

test('a window counts only where every stream was there and jumped over nothing', () => {
  const check = (over: Partial<Measured>) => () => assertComplete('x', measured(over), 5, 250);
  assert.doesNotThrow(check({}));
  assert.doesNotThrow(check({ perStreamStates: { min: 39, max: 40 } }), 'one may be under way');
  assert.throws(check({ perStreamStates: { min: 38, max: 40 } }), /saw only 38 of 40/);
  assert.throws(check({ perStreamStates: undefined }), /saw only undefined/);
  assert.throws(check({ statesSkipped: 1 }), /jumped over/);
  assert.throws(check({ statesSkipped: undefined }), /jumped over/);
  const faults: Partial<Measured>[] = [
    { openNow: 4 }, { lostBefore: 1 }, { lost: { cut: 1 } }, { backwards: 1 }, { strangeTimes: 1 },
  ];
  for (const fault of faults) assert.throws(check(fault), /lost, or told/, JSON.stringify(fault));
});

test('a client is bound by its CPU, by a loop that is often late, and by one long stall', () => {
  const quiet = {
    seconds: 10, clientCpuShare: [0.2, 0.5], clientLoopDelayP99Us: 3_000,
    clientLoopDelayMaxUs: 40_000,
  };
  assert.equal(isBound(quiet), false);
  assert.equal(isBound({ ...quiet, clientCpuShare: [0.2, 0.9] }), true);
  assert.equal(isBound({ ...quiet, clientLoopDelayP99Us: 21_000 }), true);
  assert.equal(isBound({ ...quiet, clientLoopDelayMaxUs: 2_000_000 }), true);
  assert.equal(isBound({ ...quiet, clientLoopDelayMaxUs: 99_000 }), false);
  assert.equal(isBound({ ...quiet, seconds: 3, clientLoopDelayMaxUs: 99_000 }), true);
});

test('a bound client and other people\'s processes are noted, a quiet machine is not', () => {
  const window = { ...measured(), cpuSeconds: 1, cpuUsPerEvent: 1, rssBytes: 1, othersShare: 0.04 };
  assert.deepEqual(windowNotes({ ...window, isClientBound: false }), []);
  const client = {
    isClientBound: true, clientCpuShare: [0.9], clientLoopDelayP99Us: 3_000,
    clientLoopDelayMaxUs: 2e6,
  };
  const notes = windowNotes({ ...window, ...client, othersShare: 0.31 });
  assert.match(notes[0] ?? '', /0\.90 of a core, its loop late by 3 ms \(p99\), 2000 ms \(most\)/);
  assert.match(notes[1] ?? '', /31 % of all cores/);
  assert.deepEqual(clientNotes('then', { ...window, ...client }).length, 1);
});

test('what is noted of a repeat stands in its row, behind what holds for all of them', async () => {
  const rows = await measureRows(['a', 'b'], 2, async (name, repeat, note) => {
    if (name === 'a' && repeat === 1) note('odd');
    return [{ name: 'x', unit: '', value: repeat }];
  }, (name) => name === 'a' ? ['always'] : []);
  assert.deepEqual(rows.map(({ contender, notes }) => [contender, notes]),
    [['a', ['always', 'repeat 2: odd']], ['b', []]]);
  assert.deepEqual(rows.map(({ figures }) => figures[0]?.values), [[0, 1], [0, 1]]);
});
