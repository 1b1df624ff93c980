/** Medians, ratios and the order of repeats: what every figure of the bench goes through. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { commandLine } from '../../bench/support/machine.ts';
import {
  cpuUsPerCall, interleave, kept, median, ratios, summarise,
} from '../../bench/support/statistics.ts';

describe('repeats', () => {
  test('have a middle and a spread, however they are ordered', () => {
    assert.equal(median([10, 9, 100]), 10);
    assert.equal(median([4, 1, 3, 2]), 2.5);
    assert.equal(median([7]), 7);
    assert.deepEqual(summarise([3, 1, 20]), { median: 3, min: 1, max: 20 });
  });

  test('that are none, or no numbers, are a mistake and never a median', () => {
    for (const bad of [[], [NaN], [1, Infinity, 2]]) assert.throws(() => median(bad), /no median/);
  });

  test('do not change when they are summed up', () => {
    const values = [3, 1, 2];
    summarise(values);
    assert.deepEqual(values, [3, 1, 2]);
  });

  test('are divided one by one, so that a slow minute leaves the ratio alone', () => {
    assert.deepEqual(ratios([2, 20, 4], [1, 10, 2]), [2, 2, 2]);
    assert.throws(() => ratios([1], [1, 2]), /same repeats/);
    assert.throws(() => ratios([1], [0]), /above 0/);
  });
});

describe('rows', () => {
  const reading = (name: string, value: number) => [{ name, unit: 'µs', value }];

  test('take turns, and turn round every other repeat', async () => {
    const order: string[] = [];
    const figures = await interleave(['a', 'b'], 3, async (row, repeat) => {
      order.push(row);
      return reading('x', repeat);
    });
    assert.deepEqual(order, ['a', 'b', 'b', 'a', 'a', 'b']);
    assert.deepEqual([...figures.keys()], ['a', 'b']);
    assert.deepEqual(figures.get('b'), [{ name: 'x', unit: 'µs', values: [0, 1, 2] }]);
  });

  test('that read something else the second time are refused', async () => {
    const shifty = interleave(['a'], 2, async (_, repeat) => reading(`x${repeat}`, 1));
    await assert.rejects(shifty, /same figures/);
  });
});

test('a timed call runs with every turn, and its result is kept', () => {
  const turns: number[] = [];
  const us = cpuUsPerCall((turn) => turns.push(turn), 2);
  assert.ok(us > 0 && us < 1_000, `${us} µs`);
  assert.deepEqual(turns.slice(0, 4), [0, 1, 2, 3]);
  assert.equal(kept, turns.length);
});

test('a command line can be typed again, and shows no secret', () => {
  const line = (...args: string[]): string =>
    commandLine(['--import', 'tsx'], ['node', 'bench/run.ts', ...args]);
  assert.equal(line('fan-out', '--quick'), 'node --import tsx bench/run.ts fan-out --quick');
  for (const secret of ['x-api-key: lma_secret', '--header=x-api-key:lma_secret',
    'http://lma_secret:lma_secret@host/', 'http://host/?a=1&ticket=lma_secret']) {
    assert.doesNotMatch(line('--header', secret), /lma_secret/, secret);
  }
  assert.match(line('--url', 'http://127.0.0.1:8080/a'), / http:\/\/127\.0\.0\.1:8080\/a$/);
  assert.match(line('it\'s'), / 'it'\\''s'$/);
});
