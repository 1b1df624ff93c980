/** Text of upstream's for a terminal: no instruction to it gets through, and widths are known. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { columnsOf, cutTo, fitTo, harmless, harmlessJson } from '../../src/core/text.ts';

const EVIL = '\x1b]0;title\x07\x1b[2Ja\u009b31mb\r\nc\u202ed\u2028e\u0000\u007f\ud800';

describe('text for a terminal', () => {
  it('has no control, no line break, nothing that turns it round', () => {
    assert.doesNotMatch(harmless(EVIL), /[\p{C}\p{Zl}\p{Zp}]/u);
    assert.equal(harmless('a\nb\tc'), 'a b c');
    assert.equal(harmless('naïve ☕ 日本 👍'), 'naïve ☕ 日本 👍');
  });

  it('as JSON means the same, and is plain', () => {
    const json = JSON.stringify({ text: EVIL, n: 1 }).replace('{', '{\r\n ');
    assert.match(json, /\u009b/);
    assert.deepEqual(JSON.parse(harmlessJson(json)), JSON.parse(json));
    assert.doesNotMatch(harmlessJson(json), /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
    assert.equal(harmlessJson('{"n":9007199254740993,"t":"☕"}'), '{"n":9007199254740993,"t":"☕"}');
  });

  it('is cut to columns, not to characters', () => {
    assert.equal(columnsOf('日本'), 4);
    assert.equal(columnsOf('e\u0301'), 1);
    assert.equal(cutTo(5, 'abcde'), 'abcde');
    assert.equal(cutTo(4, 'abcde'), 'abc…');
    assert.equal(cutTo(4, '日本語'), '日…');
    assert.equal(cutTo(0, 'a'), '');
    assert.equal(fitTo(4, 'ab'), 'ab  ');
    for (let n = 0; n < 12; n++) assert.equal(columnsOf(fitTo(n, 'a日👍本b')), n);
  });
});
