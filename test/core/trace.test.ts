/** What of a request's trace is taken, and how it goes on (W3C Trace Context). */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { onwardTrace, traceFacts, traceOf } from '../../src/core/trace.ts';

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const CAME = `00-${TRACE}-b7ad6b7169203331-01`;
const OURS = '1122334455667788';

/** The headers of the next hop, for what came. */
const next = (traceparent?: string, tracestate?: string): unknown =>
  onwardTrace(traceOf({ traceparent, tracestate }, 'q'), OURS);

describe('a trace', () => {
  it('goes on with its id and flags, its state as it came, and a parent id of ours', () => {
    assert.deepEqual(next(CAME, 'vendor=a,other=b'), {
      'x-request-id': 'q', 'traceparent': `00-${TRACE}-${OURS}-01`,
      'tracestate': 'vendor=a,other=b',
    });
  });

  for (const [what, traceparent] of [
    ['none', undefined], ['an empty one', ''], ['capitals', CAME.toUpperCase()],
    ['version ff', CAME.replace('00', 'ff')], ['no trace', `00-${'0'.repeat(32)}-${OURS}-01`],
    ['no parent', `00-${TRACE}-${'0'.repeat(16)}-01`], ['one that is short', CAME.slice(0, -1)],
    ['one with more behind it', `${CAME}-00`], ['two', `${CAME}, ${CAME}`],
    ['blanks before it', ` ${CAME}`], ['no hexadecimal digits', CAME.replace('f', 'g')],
  ] as const) {
    it(`is none with ${what}, and then its state says nothing either`, () => {
      assert.deepEqual(next(traceparent, 'vendor=a'), { 'x-request-id': 'q' });
    });
  }

  it('is read from later versions as far as we know them, and is ours from here on', () => {
    for (const later of [CAME.replace('00', '01'), `${CAME.replace('00', 'cc')}-more`]) {
      assert.deepEqual(next(later),
        { 'x-request-id': 'q', 'traceparent': `00-${TRACE}-${OURS}-01` });
    }
    assert.deepEqual(next(`${CAME.replace('00', '01')}more`), { 'x-request-id': 'q' });
  });

  it('loses a state that is longer than it has to be passed on', () => {
    const longest = `v=${'x'.repeat(510)}`;
    assert.deepEqual(next(CAME, longest), { ...next(CAME) as object, tracestate: longest });
    assert.deepEqual(next(CAME, `${longest}x`), next(CAME));
  });

  it('stands in the log by its ids', () => {
    assert.deepEqual(traceFacts(traceOf({ traceparent: CAME }, 'q')),
      { requestId: 'q', traceId: TRACE });
    assert.deepEqual(traceFacts(traceOf({}, 'q')), { requestId: 'q' });
  });
});
