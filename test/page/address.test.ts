/** Runs in the address of the page. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { hashOf, runsIn } from '../../src/page/address.ts';

describe('the address', () => {
  it('names runs in their order, each once', () => {
    assert.deepEqual(runsIn('#run=b&run=a&run=b&other=c'), ['b', 'a']);
    assert.deepEqual(runsIn(hashOf(['b', 'a'])), ['b', 'a']);
    assert.equal(hashOf(['b', 'a']), '#run=b&run=a');
  });

  it('names nothing that is no run', () => {
    for (const hash of ['', '#', '#run=', '#run=a.b', '#run=%2e%2e', '#run=<b>', '#board']) {
      assert.deepEqual(runsIn(hash), [], hash);
    }
  });
});
