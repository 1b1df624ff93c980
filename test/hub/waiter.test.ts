/** Waits beside streams of the same run, with time and source in the test's hands. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { refuse } from '../../src/core/errors.ts';
import type { Outcome, Waiter } from '../../src/hub/waiter.ts';
import { admittedAs } from '../support/fake-source.ts';
import { House, over, RUN, step, stepsOf, TICK_MS } from './harness.ts';

interface Wait {
  readonly waiter: Waiter;
  readonly outcomes: Outcome[];
  /** How often its place was given back. */
  readonly left: () => number;
}

function wait(house: House, key = 'lma_a', ms = 60_000): Wait {
  const outcomes: Outcome[] = [];
  let left = 0;
  const admitted = { ...admittedAs(key, step(0)), leave: () => void left++ };
  const waiter = house.hub.wait(admitted, {
    until: house.clock.now() + ms,
    answer: (outcome) => outcomes.push(outcome),
  });
  return { waiter, outcomes, left: () => left };
}

describe('a wait', () => {
  it('shares the watch of the streams, counts as one, and sleeps through progress', () => {
    const house = new House();
    const sink = house.join('lma_a', step(0));
    const { outcomes } = wait(house, 'lma_b');
    assert.deepEqual(house.hub.size, { streams: 2, runs: 1 });
    house.source.emit(step(1));
    assert.deepEqual([stepsOf(sink), outcomes], [[0, 1], []]);
    assert.deepEqual([...house.watch.keys], ['lma_a', 'lma_b']);
  });

  it('ends with the run, once, and gives back its place', () => {
    const house = new House();
    const { waiter, outcomes, left } = wait(house);
    house.source.emit(over());
    assert.deepEqual(outcomes, [{ kind: 'over', snapshot: over() }]);
    house.clock.advance(120_000);
    waiter.onClose();
    waiter.destroy();
    assert.deepEqual([outcomes.length, left(), house.hub.size.streams], [1, 1, 0]);
    assert.equal(house.source.live().length, 0);
  });

  it('ends with the newest state when its time is up', () => {
    const house = new House();
    const { outcomes } = wait(house, 'lma_a', 1_000);
    house.source.emit(step(3));
    house.clock.advance(999);
    assert.deepEqual(outcomes, []);
    house.clock.advance(1 + TICK_MS);
    assert.deepEqual(outcomes, [{ kind: 'timeout', snapshot: step(3) }]);
    assert.equal(house.source.live().length, 0, 'and with it the watch');
  });

  it('ends with the refusal of its key, or is to come back where the run has moved', () => {
    const house = new House();
    const [a, b, c] = ['lma_a', 'lma_b', 'lma_c'].map((key) => wait(house, key));
    const refusal = refuse('FORBIDDEN');
    house.source.lose(RUN, 'lma_a', { kind: 'refused', refusal });
    house.source.lose(RUN, 'lma_b', { kind: 'moved' });
    assert.deepEqual(a?.outcomes, [{ kind: 'refused', refusal }]);
    const [moved] = b?.outcomes ?? [];
    assert.ok(moved?.kind === 'refused' && moved.refusal.retryable);
    assert.deepEqual(c?.outcomes, []);
  });

  it('ends without a word when its client is gone', () => {
    const house = new House();
    const { waiter, outcomes, left } = wait(house);
    waiter.onClose();
    house.source.emit(over());
    assert.deepEqual([outcomes, left()], [[], 1]);
  });

  it('is sent away by a drain at a moment of its own, or ends with the run before', async () => {
    const house = new House({ random: () => 0.5 });
    const [a, b] = [wait(house), wait(house, 'lma_a', 100)];
    const drained = house.hub.drain(1_000);
    house.clock.advance(100 + TICK_MS);
    assert.equal(b.outcomes[0]?.kind, 'timeout');
    assert.equal(a.outcomes.length, 0);
    house.clock.advance(400);
    const outcome = a.outcomes.at(0);
    assert.ok(outcome?.kind === 'refused' && outcome.refusal.code === 'RESOURCE_UNAVAILABLE');
    await drained;
  });

  it('is cut with the rest', () => {
    const house = new House();
    const { outcomes } = wait(house);
    house.hub.destroy();
    assert.deepEqual([outcomes[0]?.kind, house.hub.size.streams], ['refused', 0]);
  });
});
