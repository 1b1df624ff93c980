import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { Quota } from '../../src/source/quota.ts';
import { randomFrom } from '../support/random.ts';

const RATE = { requests: 100, perMs: 60_000 };

/** Sends as soon as it may, `count` times or until `until`; the times. */
function sendAll(
  quota: Quota, isRoutine: boolean, count: number, from = 0, until = Infinity,
): number[] {
  const times: number[] = [];
  let now = from;
  while (times.length < count) {
    now += quota.delayMs(now, isRoutine);
    if (now > until) break;
    quota.spend(now, isRoutine);
    quota.settle(now, false);
    times.push(now);
  }
  return times;
}

/** The most that fall into any time of `perMs`. */
function mostWithin(times: readonly number[], perMs: number): number {
  let first = 0;
  let most = 0;
  times.forEach((time, i) => {
    while ((times[first] ?? time) <= time - perMs) first++;
    most = Math.max(most, i - first + 1);
  });
  return most;
}

describe('a rate', () => {
  it('is never exceeded in any time of its length, whatever is sent', () => {
    for (const isRoutine of [true, false]) {
      const times = sendAll(new Quota(RATE, () => 0), isRoutine, 1_000);
      assert.ok(mostWithin(times, RATE.perMs) <= (isRoutine ? 90 : 100));
    }
    const seed = Math.floor(Math.random() * 2 ** 32);
    const random = randomFrom(seed);
    const quota = new Quota(RATE, random);
    const times: number[] = [];
    for (let now = 0; now < 600_000; now += random() * 400) {
      const isRoutine = random() < 0.5;
      if (quota.delayMs(now, isRoutine) > 0) continue;
      quota.spend(now, isRoutine);
      quota.settle(now, false);
      times.push(now);
    }
    assert.ok(mostWithin(times, RATE.perMs) <= 100, `seed ${seed}`);
    assert.ok(times.length > 900, `seed ${seed}: only ${times.length}`);
  });

  it('leaves a tenth to what is urgent, and lets routine ones keep a distance', () => {
    const quota = new Quota(RATE, () => 0);
    const times = sendAll(quota, true, 90);
    assert.deepEqual(times.slice(0, 3).map(Math.round), [0, 667, 1_333]);
    const last = times.at(-1) ?? NaN;
    assert.ok(quota.delayMs(last + 700, true) > 0);
    assert.equal(quota.delayMs(last + 700, false), 0);
  });

  it('says how long the last of several would wait', () => {
    const quota = new Quota(RATE, () => 0);
    sendAll(quota, false, 100);
    assert.equal(quota.left(0), 0);
    assert.equal(quota.delayMs(0, false), 60_600);
    assert.equal(quota.delayMs(0, false, 99), 60_600);
    assert.equal(quota.delayMs(0, false, 100), 121_200);
    assert.equal(quota.left(60_600), 100);
  });
});

describe('a request on its way', () => {
  it('counts from its answer, for nobody knows when upstream saw it', () => {
    const quota = new Quota({ requests: 1, perMs: 60_000 }, () => 0);
    quota.spend(0, false);
    quota.onArrived(0, 900);
    quota.settle(900, false);
    assert.equal(quota.delayMs(900, false), 60_600);
  });

  it('counts from when it was sent where upstream held it back', () => {
    const quota = new Quota({ requests: 1, perMs: 60_000 }, () => 0);
    quota.spend(0, false);
    quota.onArrived(0, 30_000);
    quota.settle(30_000, false);
    assert.equal(quota.delayMs(30_000, false), 30_600);
  });
});

describe('upstream\'s word', () => {
  it('that nothing remains stops all until it is reset', () => {
    const quota = new Quota(undefined, () => 0);
    quota.spend(0, false);
    quota.settle(0, false, undefined, { remaining: 0, resetMs: 5_000, limit: 100 });
    assert.deepEqual([quota.delayMs(0, false), quota.delayMs(0, true)], [5_000, 5_000]);
    assert.equal(quota.delayMs(5_000, true), 0);
  });

  it('stretches routine requests over the time that what remains must last', () => {
    const quota = new Quota(undefined, () => 0);
    quota.spend(0, true);
    quota.settle(0, false, undefined, { remaining: 40, resetMs: 60_000, limit: 100 });
    assert.equal(quota.delayMs(0, true), 2_000, '30 of the 40: a tenth of the limit is left');
    assert.equal(quota.delayMs(0, false), 0);
  });

  it('may not know yet of those that are under way', () => {
    const quota = new Quota(undefined, () => 0);
    for (let i = 0; i < 3; i++) quota.spend(0, false);
    quota.settle(0, false, undefined, { remaining: 2, resetMs: 1_000, limit: 10 });
    assert.equal(quota.left(0), 0);
    assert.equal(quota.delayMs(0, false), 1_000);
  });
});

describe('what an answer said of a time that is over', () => {
  it('is forgotten, also where nobody asks for anything', () => {
    const quota = new Quota(undefined, () => 0);
    quota.spend(0, false);
    quota.settle(0, false, undefined, { remaining: 0, resetMs: 1_000, limit: 10 });
    assert.deepEqual([quota.left(999), quota.left(3_600_000)], [0, 10]);
  });
});

describe('a 429', () => {
  it('stops everything for as long as it says', () => {
    const quota = new Quota(undefined, () => 0);
    quota.spend(0, false);
    quota.settle(0, true, 10_000);
    assert.deepEqual([quota.delayMs(0, false), quota.left(0)], [10_000, 0]);
    assert.equal(quota.delayMs(10_000, false), 0);
  });

  it('without a time stops for longer each time, and begins gently again', () => {
    const quota = new Quota(undefined, () => 1);
    let now = 0;
    for (const pauseMs of [2_000, 4_000, 8_000, 16_000, 30_000, 30_000]) {
      quota.spend(now, false);
      quota.settle(now, true);
      assert.equal(quota.delayMs(now, false), pauseMs);
      now += pauseMs;
    }
    for (const atOnce of [2, 4, 8, 16]) {
      let sent = 0;
      while (quota.delayMs(now, false) === 0) {
        quota.spend(now, false);
        sent++;
      }
      assert.equal(sent, atOnce);
      assert.equal(quota.delayMs(now, false), Infinity, 'until an answer is in');
      quota.settle(now, false);
      // The others came to nothing: a failure is no 429.
      for (let i = 1; i < sent; i++) quota.settle(now, false);
      if (atOnce === 2) break;
    }
    quota.spend(now, false);
    quota.settle(now, true);
    assert.equal(quota.delayMs(now, false), 2_000, 'the first one in a row again');
  });
});
