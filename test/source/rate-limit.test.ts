import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { readAllowance } from '../../src/source/rate-limit.ts';

const NOW = 1_900_000_000_000;
const read = (headers: Record<string, string>): unknown => readAllowance(headers, NOW);

describe('what upstream says of its limit', () => {
  it('is read from headers of their own, in seconds to go', () => {
    assert.deepEqual(read({
      'ratelimit-limit': '100', 'ratelimit-remaining': '7', 'ratelimit-reset': '30',
    }), { limit: 100, remaining: 7, resetMs: 30_000 });
  });

  it('is read with a policy behind it, and with an epoch where X- stands before it', () => {
    assert.deepEqual(read({
      'ratelimit-limit': '100, 100;w=60', 'ratelimit-remaining': '0', 'ratelimit-reset': '1',
    }), { limit: 100, remaining: 0, resetMs: 1_000 });
    assert.deepEqual(read({
      'x-ratelimit-limit': '60', 'x-ratelimit-remaining': '59',
      'x-ratelimit-reset': String(NOW / 1000 + 12),
    }), { limit: 60, remaining: 59, resetMs: 12_000 });
  });

  it('is read from one field, in both its forms', () => {
    assert.deepEqual(read({ ratelimit: 'limit=100, remaining=50, reset=30' }),
      { limit: 100, remaining: 50, resetMs: 30_000 });
    assert.deepEqual(read({ ratelimit: '"default";r=50;t=30' }),
      { limit: undefined, remaining: 50, resetMs: 30_000 });
  });

  it('is nothing where it does not say both how many and until when', () => {
    for (const headers of [
      {}, { 'ratelimit-remaining': '5' }, { 'ratelimit-reset': '5' },
      { 'ratelimit-remaining': 'many', 'ratelimit-reset': '5' },
      { 'ratelimit-remaining': '-1', 'ratelimit-reset': '5' },
      { 'ratelimit-remaining': '1e9', 'ratelimit-reset': '5' }, { ratelimit: 'remaining=5' },
    ]) assert.equal(read(headers as Record<string, string>), undefined, JSON.stringify(headers));
  });

  it('never holds for more than an hour, or less than no time', () => {
    const resetOf = (reset: string): unknown =>
      readAllowance({ 'ratelimit-remaining': '1', 'ratelimit-reset': reset }, NOW)?.resetMs;
    assert.equal(resetOf('86400'), 3_600_000);
    assert.equal(resetOf(String(NOW / 1000 - 100)), 0);
  });
});
