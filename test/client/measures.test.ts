/** How far a run is: the same number wherever it is shown. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { elapsed, momentOf, percentOf } from '../../src/client/measures.ts';

describe('how far a run is', () => {
  it('is what upstream says, rounded down: 100 is for what is over', () => {
    for (const [stated, percent] of [[99.6, 99], [50, 50], [-1, 0], [100, 100], [250, 100]]) {
      assert.equal(percentOf({ progress: { percentComplete: stated ?? 0 } }), percent);
    }
    assert.equal(percentOf({ progress: { percentComplete: null } }), undefined);
  });

  it('is told by its outputs where upstream does not say it', () => {
    const outputs = [{ status: 'completed' }, { status: 'error' }, { status: 'pending' }];
    assert.equal(percentOf({ outputs }), 66);
    assert.equal(percentOf({ outputs, progress: { percentComplete: 7 } }), 7);
    assert.equal(percentOf({ outputs: [] }), undefined);
    assert.equal(percentOf({ outputs: [{ id: 'a' }] }), undefined);
    assert.equal(percentOf({ outputs: [null, 7, { status: 'pending' }] as never }), 0);
    assert.equal(percentOf({ outputs: 7 as never, progress: 7 as never }), undefined);
  });
});

it('time is in minutes, and in hours where there are any', () => {
  assert.deepEqual([-1, 75_400, 4_319_999].map(elapsed), ['0:00', '1:15', '1:11:59']);
});

it('a moment is a date, or a number of seconds or of milliseconds', () => {
  const ms = Date.UTC(2026, 0, 2);
  assert.deepEqual(['2026-01-02T00:00:00Z', ms, ms / 1000].map(momentOf), [ms, ms, ms]);
  for (const odd of ['soon', '', null, undefined, {}, true, NaN, Infinity, { toString: 0 }]) {
    assert.equal(momentOf(odd), undefined);
  }
});
