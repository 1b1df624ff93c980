/** Why a request failed. */

import assert from 'node:assert/strict';
import { it } from 'node:test';
import { reasonOf } from '../../src/core/reason.ts';

it('a reason is in the system’s words, or its code, or in those of fetch', () => {
  const failed = (cause?: unknown): Error => new TypeError('fetch failed', { cause });
  assert.equal(reasonOf(failed(new Error('read ECONNRESET'))), 'read ECONNRESET');
  // A name with two addresses: what failed has no message of its own.
  const both = Object.assign(new AggregateError([]), { code: 'ECONNREFUSED' });
  assert.equal(reasonOf(failed(both)), 'ECONNREFUSED');
  assert.equal(reasonOf(failed()), 'fetch failed');
  assert.deepEqual(['gone', undefined].map(reasonOf), ['gone', 'undefined']);
});
