/**
 * Event streams as the HTML standard reads them (9.2.6), however their bytes are cut; held against
 * the parser of the test support too, which was written apart from this one.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SseParser } from '../../src/core/sse-parser.ts';
import type { SseEvent } from '../../src/core/sse-parser.ts';
import { randomFrom, seeds } from '../support/random.ts';
import { SseParser as SecondOpinion } from '../support/sse-parser.ts';

interface Read {
  readonly events: readonly SseEvent[];
  readonly broken: string | undefined;
  readonly retryMs: number | undefined;
}

function read(pieces: readonly (string | Uint8Array)[], maxEventBytes = 1_000): Read {
  const parser = new SseParser(maxEventBytes);
  const events = pieces.flatMap((piece) =>
    parser.push(typeof piece === 'string' ? Buffer.from(piece) : piece));
  return { events, broken: parser.broken, retryMs: parser.retryMs };
}

const event = (type: string, data: string, id = ''): SseEvent => ({ type, data, id });

/** Name, bytes, and the events that are in them. */
const CASES: readonly (readonly [string, string, readonly SseEvent[]])[] = [
  ['one event of runcast', 'retry: 2500\nevent: progress\nid: aB-_9\ndata: {"a":1}\n\n',
    [event('progress', '{"a":1}', 'aB-_9')]],
  ['LF, CR and CRLF, one after the other', 'data: a\n\ndata: b\r\rdata: c\r\n\r\ndata: d\r\n\n',
    ['a', 'b', 'c', 'd'].map((data) => event('message', data))],
  ['CRLF is one end of a line, LF CR are two', 'data: a\n\rdata: b\r\n\r\n',
    [event('message', 'a'), event('message', 'b')]],
  ['a BOM in front, and another one as a character', '\uFEFFdata: \uFEFFx\n\n',
    [event('message', '\uFEFFx')]],
  ['no BOM but in front', 'data: a\n\n\uFEFFdata: b\n\n', [event('message', 'a')]],
  ['several lines of data, empty ones too', 'data: a\ndata\ndata:\ndata:b\n\n',
    [event('message', 'a\n\n\nb')]],
  ['one blank behind the colon is not of the value', 'data:  a \n\n', [event('message', ' a ')]],
  ['colons in a value', 'data:a:b: c\n\n', [event('message', 'a:b: c')]],
  ['one empty line of data is an event', 'data\n\n', [event('message', '')]],
  ['no data is no event, and its type is forgotten', 'event: x\n\ndata: a\n\n',
    [event('message', 'a')]],
  ['an id stays until there is another', 'id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\n',
    [event('message', 'a', '1'), event('message', 'b', '1'), event('message', 'c')]],
  ['an id without data counts', 'id: 7\n\ndata: a\n\n', [event('message', 'a', '7')]],
  ['an id with NUL does not', 'id: 1\nid: 2\0\ndata: a\n\n', [event('message', 'a', '1')]],
  ['comments and unknown fields are nothing', ': x\n:\nfoo: bar\nData: no\ndata: a\n: y\n\n',
    [event('message', 'a')]],
  ['the last type of an event counts', 'event: a\nevent: b\ndata: 1\n\n', [event('b', '1')]],
  ['what is unfinished is no event', 'data: a\n\ndata: b\n', [event('message', 'a')]],
  ['characters of two to four bytes', 'data: é世🌍\u2028\n\n', [event('message', 'é世🌍\u2028')]],
];

describe('an event stream', () => {
  for (const [name, text, expected] of CASES) {
    it(`gives the same events wherever it is cut: ${name}`, () => {
      const bytes = Buffer.from(text);
      assert.deepEqual(read([bytes]).events, expected);
      for (let cut = 0; cut <= bytes.length; cut++) {
        const { events, broken } = read([bytes.subarray(0, cut), bytes.subarray(cut)]);
        assert.deepEqual(events, expected, `cut at ${cut}`);
        assert.equal(broken, undefined);
      }
      assert.deepEqual(read([...bytes].map((byte) => Uint8Array.of(byte))).events, expected);
    });
  }

  it('says when to come back, in digits only', () => {
    const retry = (...values: string[]): number | undefined =>
      read(values.map((value) => `retry${value}\n`)).retryMs;
    assert.equal(retry(': 2500'), 2500);
    assert.equal(retry(':1', ': 07', ':', ': 5s', ': -1', ': 1.5', ': +3', ''), 7);
    assert.equal(retry(': ٣'), undefined);
  });

  it('is broken by bytes that are no UTF-8, after the events before them', () => {
    for (const bad of [[0xff], [0xc3], [0xe4, 0xb8], [0xed, 0xa0, 0x80], [0xc0, 0x80]]) {
      const bytes = Buffer.concat([
        Buffer.from('data: a\n\ndata: '), Buffer.from(bad), Buffer.from('\n\ndata: b\n\n'),
      ]);
      for (let cut = 0; cut <= bytes.length; cut++) {
        const { events, broken } = read([bytes.subarray(0, cut), bytes.subarray(cut)]);
        assert.deepEqual(events, [event('message', 'a')]);
        assert.equal(broken, 'not UTF-8');
      }
    }
  });

  it('is broken by an event over the limit, in one line or in many, finished or not', () => {
    const fits = `data: ${'x'.repeat(94)}\n\n`;
    assert.equal(read([fits.repeat(50)], 100).broken, undefined);
    for (const text of [
      `data: ${'x'.repeat(95)}\n\n`, `data: ${'x'.repeat(95)}`, 'data: xxxx\n'.repeat(11),
      `event: ${'x'.repeat(50)}\ndata: ${'x'.repeat(50)}`, `:${'x'.repeat(100)}`,
    ]) {
      for (const pieces of [[text], [...text], [fits, text, fits]]) {
        const { events, broken } = read(pieces, 100);
        assert.equal(broken, 'event too large', text);
        assert.equal(events.length, pieces.length === 3 ? 1 : 0);
      }
    }
  });

  it('may be kept alive by comments for as long as it likes', () => {
    assert.equal(read([': keep-alive\n'.repeat(1000), 'data: a\n\n'], 100).events.length, 1);
  });

  for (const seed of seeds(20)) {
    it(`is read as by a second opinion, whatever is in it (RUNCAST_SEED=${seed})`, () => {
      const random = randomFrom(seed);
      const parts = [
        'data', 'event', 'id', 'retry', ':', ': ', ' ', '\n', '\r', '\r\n', '\n\n', '\0', '1', '23',
        'x', 'é', '🌍', '\uFEFF', '\u2028', 'data: y\n\n', 'id: 5\n', 'event: z\r',
      ];
      const pick = (): string => parts[Math.floor(random() * parts.length)] ?? '';
      const bytes = Buffer.from(Array.from({ length: 2_000 }, pick).join(''));
      const ours = new SseParser(1e6);
      const theirs = new SecondOpinion();
      const told: SseEvent[] = [];
      const expected: SseEvent[] = [];
      for (let at = 0; at < bytes.length;) {
        const piece = bytes.subarray(at, at += 1 + Math.floor(random() * 9));
        told.push(...ours.push(piece));
        expected.push(...theirs.push(piece).map(({ event: type, data, id }) =>
          ({ type, data, id })));
      }
      assert.ok(told.length > 10, `${told.length} events`);
      assert.deepEqual(told, expected);
      assert.equal(ours.retryMs, theirs.retryMs);
      assert.equal(ours.broken, undefined);
    });
  }
});
