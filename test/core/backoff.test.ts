/**
 * How long to wait after a failure. The draws are a grid over [0, 1) with both its ends, not
 * chance: a bound that breaks, breaks every time.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { backoffMs, parseRetryAfter } from '../../src/core/backoff.ts';

const DRAWS = [...Array.from({ length: 1_000 }, (_, n) => n / 1_000), 1 - 2 ** -53];
const HOUR_MS = 3_600_000;

function waits(failures: number, floorMs: number, retryAfterMs?: number): number[] {
  return DRAWS.map((draw) => backoffMs(failures, floorMs, retryAfterMs, () => draw));
}

describe('backing off', () => {
  for (const [failures, ceilingMs] of [
    [1, 2_000], [2, 4_000], [3, 8_000], [4, 16_000], [5, 30_000], [6, 30_000], [50, 30_000],
    [2_000, 30_000], [Number.MAX_SAFE_INTEGER, 30_000],
  ] as const) {
    it(`waits anything up to ${ceilingMs} ms after ${failures} failures in a row`, () => {
      const all = waits(failures, 0);
      assert.deepEqual(all, DRAWS.map((draw) => draw * ceilingMs));
      assert.ok(all.every((ms) => ms >= 0 && ms < ceilingMs));
    });
  }

  it('is never sooner than the floor', () => {
    for (const floorMs of [1, 250, 2_000]) {
      for (const failures of [1, 2, 3, 5, 50]) {
        const all = waits(failures, floorMs);
        assert.equal(Math.min(...all), floorMs);
        assert.ok(all.every((ms) => ms <= Math.max(floorMs, 30_000)));
      }
    }
    assert.ok(Math.max(...waits(2, 2_000)) > 3_990, 'the floor must not take all the jitter');
  });

  it('is never sooner than a floor above the ceiling: trouble does not make polls faster', () => {
    for (const floorMs of [2_001, 60_000, 300_000]) {
      for (const failures of [1, 2, 5, 50]) {
        const soonest = Math.min(...waits(failures, floorMs));
        assert.ok(soonest >= floorMs, `${soonest} ms after ${failures}, floor ${floorMs} ms`);
      }
    }
  });

  it('obeys a Retry-After to the letter, with a tenth and at most 2 s on top', () => {
    for (const [retryAfterMs, extraMs] of [
      [2_000, 200], [5_000, 500], [20_000, 2_000], [60_000, 2_000], [HOUR_MS, 2_000],
    ] as const) {
      for (const failures of [1, 50]) {
        const all = waits(failures, 2_000, retryAfterMs);
        assert.equal(all[0], retryAfterMs);
        assert.ok(all.every((ms) => ms >= retryAfterMs && ms <= retryAfterMs + extraMs));
        assert.ok(Math.max(...all) > retryAfterMs + extraMs * 0.99, 'no jitter to speak of');
      }
    }
  });

  it('is not made faster than the polls themselves by a short Retry-After', () => {
    assert.ok(waits(1, 2_000, 1_000).every((ms) => ms === 2_000), 'sooner than the interval');
  });
});

describe('a Retry-After header', () => {
  const NOW = Date.UTC(2026, 0, 1, 12, 0, 0);
  const date = (ms: number): string => new Date(ms).toUTCString();

  it('in seconds is that many', () => {
    for (const [value, ms] of [
      ['1', 1_000], ['120', 120_000], ['007', 7_000], [' 30 ', 30_000], ['\t5', 5_000],
      ['3600', HOUR_MS], ['2026', 2_026_000],
    ] as const) {
      assert.equal(parseRetryAfter(value, undefined, NOW), ms, value);
      assert.equal(parseRetryAfter(value, date(NOW + HOUR_MS), NOW), ms, 'a date plays no part');
    }
  });

  it('as a date is the time until then, in each of the three forms of HTTP', () => {
    const zone = process.env['TZ'];
    try {
      for (const here of ['UTC', 'Asia/Tokyo', 'America/New_York']) {
        process.env['TZ'] = here;
        for (const value of [
          'Thu, 01 Jan 2026 12:01:30 GMT', 'Thursday, 01-Jan-26 12:01:30 GMT',
          'Thu Jan  1 12:01:30 2026',
        ]) assert.equal(parseRetryAfter(value, undefined, NOW), 90_000, `${value} in ${here}`);
      }
    } finally {
      if (zone === undefined) delete process.env['TZ'];
      else process.env['TZ'] = zone;
    }
  });

  it('as a date is measured against the clock of the machine that sent it', () => {
    for (const skewMs of [-10 * 365 * 24 * HOUR_MS, -HOUR_MS, 0, 5_000, 24 * HOUR_MS]) {
      const theirs = NOW + skewMs;
      const retryAfter = date(theirs + 45_000);
      assert.equal(parseRetryAfter(retryAfter, date(theirs), NOW), 45_000, `skew ${skewMs} ms`);
      assert.equal(parseRetryAfter(date(theirs - 1_000), date(theirs), NOW), undefined);
    }
  });

  it('as a date is measured against a clock that has never been set', () => {
    assert.equal(parseRetryAfter(date(30_000), date(0), NOW), 30_000);
  });

  it('as a date is measured against our clock where theirs is not told or unreadable', () => {
    for (const theirs of [undefined, '', 'garbage', 'Thu, 99 Foo 2026']) {
      assert.equal(parseRetryAfter(date(NOW + 45_000), theirs, NOW), 45_000, theirs);
    }
  });

  it('is nothing where it is absent, past, now or unreadable', () => {
    for (const value of [
      undefined, '', ' ', '0', '00', '-5', '+5', '1.5', '1e3', '0x10', '5s', '5 5', '5, 5', 'soon',
      'NaN', 'Infinity', '٣', '60 minutes', 'null', '[object Object]', date(NOW), date(NOW - 1),
      date(0), 'Thu, 32 Jan 2099 25:61:61 GMT',
    ]) assert.equal(parseRetryAfter(value, undefined, NOW), undefined, value);
  });

  it('is at most an hour', () => {
    for (const value of [
      '3601', '86400', '9'.repeat(20), '9'.repeat(400), date(NOW + HOUR_MS + 1_000),
      date(Date.UTC(2099, 0, 1)), date(8.64e15),
    ]) assert.equal(parseRetryAfter(value, undefined, NOW), HOUR_MS, value.slice(0, 40));
  });
});
