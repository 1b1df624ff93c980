/** Values of upstream's as text, and what they are shown by: nothing of them may throw. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { textOf } from '../../src/client/plain-value.ts';
import { LineReporter, PictureReporter } from '../../src/client/reporters.ts';
import { FakeClock } from '../support/fake-clock.ts';

const DEEP: unknown = JSON.parse('['.repeat(100_000) + ']'.repeat(100_000));

describe('a value of upstream’s', () => {
  it('is text if it is a string or a number, and never throws', () => {
    assert.equal(textOf('a'), 'a');
    assert.equal(textOf(1.5), '1.5');
    assert.equal(textOf(null), '');
    assert.equal(textOf(undefined), '');
    assert.equal(textOf(true), 'true');
    assert.equal(textOf({ toString: 0 }), '{"toString":0}');
    // Node 26.12 can print it, those before cannot.
    assert.ok(['', '['.repeat(100_000) + ']'.repeat(100_000)].includes(textOf(DEEP)));
  });

  it('crashes neither the lines nor the picture, wherever it stands', () => {
    const clock = new FakeClock();
    for (const odd of [{ toString: 0 }, [{ toString: 0 }], DEEP, null, true, 7]) {
      const output = {
        id: odd, label: odd, type: odd, status: odd, value: odd, error: odd, progress: odd,
      };
      const data = {
        status: odd, errorMessage: odd, progress: odd, startedAt: odd, createdAt: odd,
        completedAt: odd, outputs: [output, odd, { ...output, status: 'completed' }],
      };
      let told = '';
      const out = { write: (text: string): void => void (told += text) };
      const picture = new PictureReporter(out, false, clock);
      for (const reporter of [new LineReporter(out, out), picture]) {
        reporter.event({ type: 'progress', runId: 'r', id: 'i', data: data as never, json: '' });
        reporter.close();
      }
      assert.match(told, /^r /m);
    }
  });
});
