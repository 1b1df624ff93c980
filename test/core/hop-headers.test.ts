/** What belongs to one hop stays on it, and what tells of the way is added. */

import assert from 'node:assert/strict';
import { it } from 'node:test';

import { homeward, hopsOf, onward } from '../../src/core/hop-headers.ts';
import type { Hop } from '../../src/core/hop-headers.ts';

const HOP: Hop = { httpVersion: '1.1', address: '::1', isEncrypted: true, requestId: 'r1' };

const pairs = (flat: readonly string[]): string[] =>
  flat.flatMap((name, i) => (i % 2 === 0 ? [`${name}: ${flat[i + 1]}`] : []));

it('a request without any header gets what tells of the way', () => {
  assert.deepEqual(pairs(onward([], HOP, undefined)), [
    'x-request-id: r1', 'x-forwarded-for: ::1', 'x-forwarded-proto: https', 'via: 1.1 runcast',
  ]);
});

it('the framing is what was parsed, whatever the headers say', () => {
  const raw = ['Content-Length', '99', 'Transfer-Encoding', 'chunked'];
  const framing = (length: number | 'chunked' | undefined): string[] =>
    pairs(onward(raw, HOP, length)).filter((line) => /^(content|transfer)-/i.test(line));
  assert.deepEqual(framing(undefined), []);
  assert.deepEqual(framing(0), ['content-length: 0']);
  assert.deepEqual(framing(7), ['content-length: 7']);
  assert.deepEqual(framing('chunked'), ['transfer-encoding: chunked']);
});

it('what Connection names is gone in both directions, however it is spelt', () => {
  const raw = ['CONNECTION', 'X-A , keep-alive', 'connection', 'x-B', 'x-a', '1', 'X-b', '2',
    'x-c', '3', 'Keep-Alive', '4'];
  assert.ok(pairs(onward(raw, HOP, undefined)).includes('x-c: 3'));
  assert.doesNotMatch(pairs(onward(raw, HOP, undefined)).join('\n'), /x-a|x-b|keep-alive/i);
  assert.deepEqual(pairs(homeward(raw, 200, 'r1')), [
    'x-c: 3', 'x-request-id: r1', 'via: 1.1 runcast',
  ]);
});

it('our word on the way stands at its end, and an IPv6 address is in quotes where it must', () => {
  const lines = pairs(onward([
    'X-Forwarded-For', '192.0.2.1', 'x-forwarded-for', '192.0.2.2', 'Forwarded', 'for=192.0.2.1',
    'X-Forwarded-Proto', 'http', 'Host', 'a.example', 'X-Forwarded-Host', 'b.example',
    'Via', '1.0 a', 'X-Request-Id', 'too plain? no\x7f',
  ], HOP, undefined));
  assert.deepEqual(lines, [
    'x-request-id: r1', 'x-forwarded-for: 192.0.2.1, 192.0.2.2, ::1', 'x-forwarded-proto: http',
    'x-forwarded-host: b.example', 'forwarded: for=192.0.2.1, for="[::1]"',
    'via: 1.0 a, 1.1 runcast',
  ]);
});

it('an answer without a body has no length, and keeps a request id of its own', () => {
  const raw = ['Content-Length', '5', 'X-Request-Id', 'theirs'];
  assert.deepEqual(pairs(homeward(raw, 204, 'r1')), ['X-Request-Id: theirs', 'via: 1.1 runcast']);
  assert.ok(pairs(homeward(raw, 304, 'r1')).includes('Content-Length: 5'));
});

it('hops of our own are counted in Via, others are not', () => {
  const via = '1.1  runcast (x), 1.1 runcasting';
  assert.equal(hopsOf(['Via', '1.1 runcast, 1.0 nginx', 'via', via]), 2);
  assert.equal(hopsOf([]), 0);
});
