/** All connections of the page in one line. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { lineOf } from '../../src/page/connection-line.ts';
import type { FeedState } from '../../src/page/feed.ts';

const LIVE = { kind: 'live' } as const;
const REFUSED = { kind: 'refused' } as const;
const WAITING = { kind: 'waiting', untilMs: 3_340 } as const;
const JOINING = { kind: 'joining', sinceMs: 1_000 } as const;

const textOf = (states: readonly FeedState[], reconnects = 0, nowMs = 1_000): string =>
  lineOf(states, 1, reconnects, nowMs).text;

describe('the line', () => {
  it('has nothing to say without a run, or a connection', () => {
    assert.deepEqual(lineOf([LIVE], 0, 0, 0), { tone: 'idle', text: 'nothing to follow' });
    assert.deepEqual(lineOf([], 1, 0, 0), { tone: 'idle', text: 'nothing to follow' });
  });

  it('says how the only one stands', () => {
    assert.equal(textOf([LIVE]), 'live');
    assert.equal(textOf([LIVE], 1), 'live, 1 reconnect');
    assert.equal(textOf([LIVE], 2), 'live, 2 reconnects');
    assert.deepEqual([1_000, 2_400, 3_339, 3_340].map((ms) => textOf([WAITING], 0, ms)),
      ['again in 3 s', 'again in 1 s', 'again in 1 s', 'connecting']);
    assert.equal(textOf([JOINING], 0, 4_999), 'connecting');
    assert.match(textOf([JOINING], 0, 5_000), /^no connection yet: a browser opens six/);
    assert.equal(textOf([{ kind: 'idle' }]), 'all runs are over');
    assert.match(textOf([{ kind: 'resting' }]), /^resting/);
    assert.deepEqual(lineOf([{ kind: 'failed' }], 1, 0, 0),
      { tone: 'failed', text: 'the page has made a mistake: load it again' });
  });

  it('says of several what most needs to be known', () => {
    const worse: readonly FeedState[] = [
      { kind: 'failed' }, WAITING, JOINING, REFUSED, LIVE, { kind: 'resting' }, { kind: 'idle' },
    ];
    for (const [i, first] of worse.entries()) {
      assert.equal(textOf(worse.slice(i).toReversed()), textOf([first]), first.kind);
    }
  });
});
