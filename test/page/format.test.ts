/** What the page makes of a state, whatever upstream put there. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import type { RunState } from '../../src/client/events.ts';
import { changeOf, clipped, listed, nameOf, shownUrl, timeOfDay } from '../../src/page/format.ts';

/** As it comes: any JSON may stand anywhere. */
const state = (value: object): RunState => ({ ...value });

describe('what is new in a state', () => {
  it('is its status, and each output that is no longer pending', () => {
    const [open, done] = [{ label: 'a', status: 'pending' }, { label: 'a', status: 'completed' }];
    const before = state({ status: 'queued', outputs: [open] });
    assert.equal(changeOf(undefined, before), 'queued');
    const now = state({ status: 'running', outputs: [done, { id: 'b', status: 'error' }] });
    assert.equal(changeOf(before, now), 'running, a: completed, b: error');
    const unnamed = state({ status: 'running', outputs: [done, done, { status: 'completed' }] });
    assert.equal(changeOf(now, unnamed), 'a: completed, Output 3: completed');
  });

  it('is else how far it is, or that there is something', () => {
    const progress = { percentComplete: 50 };
    assert.equal(changeOf(state({ status: 'a' }), state({ status: 'a', progress })), '50 %');
    assert.equal(changeOf(state({ status: 'a' }), state({ status: 'a' })), 'changed');
    assert.equal(changeOf(state({ status: 'a' }), state({})), 'no status');
  });

  it('can be told of values that have no text', () => {
    const odd = { toString: 0 };
    const now = state({ status: odd, outputs: [{ label: odd, id: odd, status: odd }] });
    assert.equal(changeOf(undefined, now), '{"toString":0}, {"toString":0}: {"toString":0}');
    let deep: unknown = [];
    for (let i = 0; i < 100_000; i++) deep = [deep];
    // Node 26.12 can print it, those before cannot.
    assert.match(changeOf(undefined, state({ status: deep })), /^(?:no status|\[+…?)$/);
  });
});

describe('what is said of a state', () => {
  it('is bounded, however many outputs there are and whatever they are called', () => {
    const outputs = Array.from({ length: 3000 }, (_, i) => ({ id: `n${i}`, status: 'completed' }));
    assert.equal(changeOf(undefined, state({ status: 'running', outputs })),
      'running, n0: completed, n1: completed, n2: completed and 2997 more');
    const long = 'x'.repeat(5000);
    const odd = state({ status: long, outputs: [{ label: long, status: long }] });
    assert.ok(changeOf(undefined, odd).length < 300);
    assert.equal(nameOf({ label: long }, 0).length, 80);
  });
});

describe('a URL', () => {
  it('is shown where it can only be looked at', () => {
    for (const url of ['https://a.test/b.png', 'http://a.test/', 'data:image/png;base64,AA==']) {
      assert.equal(shownUrl(url), url);
    }
    for (const value of ['javascript:evil()', 'data:text/html,evil', 'file:///a', 'blob:a',
      ' javascript:evil()', '/a', 'a', '', null, 7, { toString: 0 }]) {
      assert.equal(shownUrl(value), undefined, JSON.stringify(value));
    }
  });
});

it('a text is clipped between characters', () => {
  assert.equal(clipped('abcd', 4), 'abcd');
  assert.equal(clipped('abcde', 4), 'abc…');
  assert.equal(clipped('ab\u{1f600}de', 4), 'ab…');
});

it('of many names the first few are told', () => {
  assert.equal(listed(['a', 'b', 'c', 'd']), 'a, b, c, d');
  assert.equal(listed(['a', 'b', 'c', 'd', 'e', 'f']), 'a, b, c, d and 2 more');
});

it('the time of day is told to the tenth of a second', () => {
  assert.equal(timeOfDay(new Date(2026, 0, 2, 3, 4, 5, 678)), '03:04:05.6');
});
