/** When a watcher comes back: as it is told, within limits, and later and later where all fails. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { delayMsAfter } from '../../src/client/delay.ts';

const ENDED = { kind: 'ended', detail: '' } as const;
const REFUSED = { kind: 'refused', detail: '', status: 503, retryAfterMs: undefined } as const;
const half = (): number => 0.5;

describe('the delay before the next connection', () => {
  it('is what the stream said, but neither nothing nor a day', () => {
    for (const end of [ENDED, REFUSED]) {
      assert.equal(delayMsAfter(end, 3_000, 0, half), 3_000);
      for (const saidMs of [0, 1, 249]) assert.equal(delayMsAfter(end, saidMs, 0, half), 250);
      assert.equal(delayMsAfter(end, 86_400_000, 0, half), 3_500);
    }
  });

  it('is short after a timeout, and what a header says after a refusal', () => {
    assert.equal(delayMsAfter({ kind: 'timeout', detail: '' }, 60_000, 0, half), 500);
    assert.equal(delayMsAfter({ ...REFUSED, retryAfterMs: 1_000 }, undefined, 1, half), 1_050);
  });

  it('doubles up to half a minute while tries come to nothing', () => {
    const ended = [1, 2, 3, 9].map((failures) => delayMsAfter(ENDED, undefined, failures, half));
    assert.deepEqual(ended, [1_000, 2_000, 4_000, 15_000]);
    assert.equal(delayMsAfter(ENDED, 1, 1, () => 0), 250);
  });
});
