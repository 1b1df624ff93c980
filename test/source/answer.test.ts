/**
 * What upstream's answers mean: a table from status to kind, code and wait, and what of
 * upstream's own words reaches a client.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { IncomingHttpHeaders } from 'node:http';

import { digestOf, readAnswer } from '../../src/source/answer.ts';
import type { Answer, Question, Reading } from '../../src/source/answer.ts';
import type { Exchange } from '../../src/source/upstream.ts';
import { execution } from '../support/answers.ts';
import { MAPPING } from '../support/fake-source.ts';
import { A, reading, RUN } from './harness.ts';

const WALL = Date.UTC(2026, 0, 1, 12, 0, 0);

const question = (over: Partial<Question> = {}): Question =>
  ({ runId: RUN, key: A, known: undefined, mapping: MAPPING, wallNow: WALL, ...over });

function complete(
  status: number, body: string | Buffer = '', headers: IncomingHttpHeaders = {},
): Exchange {
  return { kind: 'answer', status, headers, body: Buffer.from(body) };
}

const read = (exchange: Exchange, over: Partial<Question> = {}): Answer =>
  readAnswer(exchange, question(over));

function refusalOf(answer: Answer) {
  if (answer.kind === 'state') assert.fail('a state, not a refusal');
  return answer.refusal;
}

function readingOf(answer: Answer): Reading {
  if (answer.kind !== 'state') assert.fail(`${answer.kind}: ${answer.refusal.error}`);
  return answer.reading;
}

describe('a status of upstream', () => {
  const table: readonly [number, 'refused' | 'trouble', string, number, boolean][] = [
    [401, 'refused', 'AUTH_INVALID_KEY', 401, false],
    [403, 'refused', 'FORBIDDEN', 403, false],
    [404, 'refused', 'NOT_FOUND', 404, false],
    [410, 'refused', 'NOT_FOUND', 404, false],
    [206, 'trouble', 'UPSTREAM_INVALID', 502, true],
    [429, 'trouble', 'RATE_LIMITED', 429, true],
    [408, 'trouble', 'UPSTREAM_UNAVAILABLE', 502, true],
    [425, 'trouble', 'UPSTREAM_UNAVAILABLE', 502, true],
    [500, 'trouble', 'UPSTREAM_UNAVAILABLE', 502, true],
    [502, 'trouble', 'UPSTREAM_UNAVAILABLE', 502, true],
    [503, 'trouble', 'UPSTREAM_UNAVAILABLE', 502, true],
    [504, 'trouble', 'UPSTREAM_UNAVAILABLE', 502, true],
    [301, 'trouble', 'UPSTREAM_INVALID', 502, true],
    [302, 'trouble', 'UPSTREAM_INVALID', 502, true],
    [304, 'trouble', 'UPSTREAM_INVALID', 502, true],
    [400, 'trouble', 'UPSTREAM_INVALID', 502, true],
    [405, 'trouble', 'UPSTREAM_INVALID', 502, true],
    [418, 'trouble', 'UPSTREAM_INVALID', 502, true],
  ];
  for (const [status, kind, code, toClient, retryable] of table) {
    it(`${status} means ${kind}, ${toClient} ${code}`, () => {
      const answer = read(complete(status, 'Too many, try later'));
      assert.equal(answer.kind, kind);
      const refusal = refusalOf(answer);
      assert.deepEqual(
        [refusal.code, refusal.status, refusal.retryable], [code, toClient, retryable],
      );
      assert.equal(refusal.retryAfterMs, undefined);
      assert.notEqual(refusal.error, '');
    });
  }

  it('of 200 to 299, but for 206, means a state, if the body is one', () => {
    const body = JSON.stringify({ data: execution(RUN, 'running') });
    for (const status of [200, 201, 205, 207, 299]) {
      assert.equal(readingOf(read(complete(status, body))).snapshot.status, 'running');
    }
    for (const nonsense of ['', '<html>', '{"data":{}}', '[]', Buffer.from([0xff, 0x7b, 0x7d])]) {
      const answer = read(complete(200, nonsense));
      assert.equal(answer.kind, 'trouble');
      assert.deepEqual([answer.refusal.code, answer.refusal.status], ['UPSTREAM_INVALID', 502]);
      assert.notEqual(answer.why, '');
    }
  });
});

describe('a part of an answer', () => {
  it('is trouble, even where the part would do as a state', () => {
    const { body } = reading('running');
    const answer = read(complete(206, body));
    assert.deepEqual([answer.kind, answer.kind === 'trouble' && answer.why],
      ['trouble', 'status 206']);
    assert.equal(read(complete(206, body), { known: reading('running') }).kind, 'trouble');
  });
});

describe('an exchange without an answer', () => {
  it('means trouble: 504 for late, 502 otherwise', () => {
    const late = refusalOf(read({ kind: 'late' }));
    assert.deepEqual([late.status, late.code], [504, 'UPSTREAM_UNAVAILABLE']);
    const large = refusalOf(read({ kind: 'too-large' }));
    assert.deepEqual([large.status, large.code], [502, 'UPSTREAM_INVALID']);
    const answer = read({ kind: 'broken', why: 'ECONNREFUSED' });
    assert.equal(answer.kind, 'trouble');
    assert.equal(answer.why, 'ECONNREFUSED');
    const broken = answer.refusal;
    assert.deepEqual([broken.status, broken.code], [502, 'UPSTREAM_UNAVAILABLE']);
    for (const refusal of [late, large, broken]) assert.equal(refusal.retryable, true);
  });
});

describe('Retry-After', () => {
  const waitOf = (status: number, headers: IncomingHttpHeaders): number | undefined =>
    refusalOf(read(complete(status, '', headers))).retryAfterMs;

  it('is read as seconds or as a date, on every kind of trouble', () => {
    for (const status of [408, 425, 429, 500, 503, 302, 400]) {
      assert.equal(waitOf(status, { 'retry-after': '7' }), 7_000, `${status}`);
    }
    const at = new Date(WALL + 90_000).toUTCString();
    assert.equal(waitOf(503, { 'retry-after': at }), 90_000);
  });

  it('as a date is measured against the Date of the answer where it has one', () => {
    const date = new Date(WALL + 3_600_000).toUTCString();
    const at = new Date(WALL + 3_620_000).toUTCString();
    assert.equal(waitOf(503, { 'retry-after': at, date }), 20_000);
  });

  it('is left out where it says nothing of use', () => {
    for (const value of ['', '0', '-5', 'soon', new Date(WALL - 1_000).toUTCString()]) {
      assert.equal(waitOf(429, { 'retry-after': value }), undefined, value);
    }
  });

  it('does not make a permanent refusal one to come back for', () => {
    const refusal = refusalOf(read(complete(401, '', { 'retry-after': '7' })));
    assert.deepEqual([refusal.retryable, refusal.retryAfterMs], [false, undefined]);
  });
});

describe('upstream\'s own words on a refusal', () => {
  const envelope = (error: unknown, code: unknown): string =>
    JSON.stringify({ error, code, retryable: true, retryAfter: 5, requestId: 'req_theirs' });

  it('are passed on, text and code, and nothing else', () => {
    const body = envelope('The key was revoked on Monday', 'AUTH_KEY_REVOKED');
    assert.deepEqual(read(complete(401, body)), {
      kind: 'refused',
      refusal: {
        code: 'AUTH_KEY_REVOKED', status: 401, error: 'The key was revoked on Monday',
        retryable: false,
      },
    });
  });

  it('are cut to a sentence\'s length', () => {
    const { error } = refusalOf(read(complete(403, envelope('x'.repeat(5_000), 'FORBIDDEN'))));
    assert.equal(error, 'x'.repeat(300));
  });

  it('are not taken from a body without the envelope', () => {
    for (const body of ['', 'no', 'null', '[]', '7', '"x"', '{"error":{"message":"x"},"code":4}']) {
      assert.deepEqual(read(complete(404, body)), read(complete(404)), body);
    }
  });

  it('are not taken where the code is no code', () => {
    for (const code of ['', 'lower_case', 'WITH BLANK', '1ST', 'A'.repeat(65), 'A\nB', 'Ä']) {
      const { code: ours, error } = refusalOf(read(complete(403, envelope('Words', code))));
      assert.deepEqual([ours, error], ['FORBIDDEN', 'Words'], code);
    }
  });

  it('never repeat the key, neither in the text nor in the code', () => {
    const { error, code } = refusalOf(read(complete(401, envelope(`No key ${A.value}`, 'X'))));
    assert.deepEqual([error, code], ['The API key is not valid', 'X']);
    // With --key-prefix '' a key may look like a code.
    const key = { value: 'SECRET_KEY', header: 'x-api-key' } as const;
    const body = envelope('No', `NO_${key.value}`);
    const refusal = refusalOf(read(complete(401, body), { key }));
    assert.ok(!JSON.stringify(refusal).includes(key.value), refusal.code);
  });

  it('on a 410 are passed on without the code: what is gone is told as what is missing', () => {
    const answer = read(complete(410, envelope('Deleted by Ann', 'GONE_FOR_GOOD')));
    assert.deepEqual(answer, {
      kind: 'refused',
      refusal: { code: 'NOT_FOUND', status: 404, error: 'Deleted by Ann', retryable: false },
    });
  });

  it('on trouble stay with us', () => {
    const { error, code } = refusalOf(read(complete(500, envelope('Stack trace', 'BOOM'))));
    assert.equal(code, 'UPSTREAM_UNAVAILABLE');
    assert.doesNotMatch(error, /Stack/);
  });
});

describe('the body of a state', () => {
  it('that is the same as before gives the very same reading', () => {
    const known = reading('running');
    const again = read(complete(200, Buffer.from(known.body)), { known });
    assert.equal(readingOf(again), known);
    const other = readingOf(read(complete(200, reading('completed').body), { known }));
    assert.notEqual(other, known);
    assert.equal(other.snapshot.terminal, 'complete');
  });

  it('is never the same as one whose bytes were not kept, least of all an empty one', () => {
    const { snapshot, body } = reading('running');
    const known = { bodyDigest: undefined, snapshot };
    const empty = read(complete(200, ''), { known });
    assert.deepEqual([empty.kind, refusalOf(empty).code], ['trouble', 'UPSTREAM_INVALID']);
    const again = readingOf(read(complete(200, body), { known }));
    assert.notEqual(again, known);
    assert.deepEqual([again.bodyDigest, again.snapshot], [digestOf(Buffer.from(body)), snapshot]);
  });

  it('is read with the mapping of the options and named after the run that was asked for', () => {
    const mapping = { statusFields: ['state'], completeOn: ['ok'], errorOn: ['bad'] };
    const body = '{"state":"ok","runId":"another"}';
    const { snapshot } = readingOf(read(complete(200, body), { mapping }));
    assert.deepEqual([snapshot.runId, snapshot.status, snapshot.terminal], [RUN, 'ok', 'complete']);
    assert.equal(snapshot.data, body);
  });

  it('is known by its digest, byte for byte as it came, to be compared with the next', () => {
    const body = Buffer.from('\uFEFF{\r\n"status":"running" }\n');
    assert.equal(readingOf(read(complete(200, body))).bodyDigest, digestOf(body));
    assert.notEqual(digestOf(body), digestOf(body.subarray(3)));
  });

  it('must not be encoded: that was not asked for', () => {
    const { body } = reading('running');
    for (const encoding of ['gzip', 'br', 'deflate', 'identity, gzip', 'x']) {
      const answer = read(complete(200, body, { 'content-encoding': encoding }));
      assert.equal(refusalOf(answer).code, 'UPSTREAM_INVALID', encoding);
      assert.equal(answer.kind === 'trouble' && answer.why, `encoded as ${encoding}`);
    }
    const plain = read(complete(200, body, { 'content-encoding': 'identity' }));
    assert.equal(plain.kind, 'state');
  });
});
