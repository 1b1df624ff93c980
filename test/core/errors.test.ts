/** The error table, row by row as the contract has it, and the envelope byte for byte. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import {
  ERROR_CODES, GatewayError, envelope, refuse, toSeconds, type ErrorCode,
} from '../../src/core/errors.ts';

/** Does a new try make sense? Then its client is told when; else it is told to stop. */
const TABLE: Readonly<Record<ErrorCode, readonly [status: number, retryable: boolean]>> = {
  VALIDATION_ERROR: [400, false],
  AUTH_MISSING_KEY: [401, false],
  AUTH_INVALID_KEY: [401, false],
  TICKET_INVALID: [401, false],
  TICKET_EXPIRED: [401, false],
  SIGNATURE_INVALID: [401, false],
  FORBIDDEN: [403, false],
  NOT_FOUND: [404, false],
  METHOD_NOT_ALLOWED: [405, false],
  REQUEST_TIMEOUT: [408, true],
  BODY_TOO_LARGE: [413, false],
  RATE_LIMITED: [429, true],
  HEADERS_TOO_LARGE: [431, false],
  INTERNAL_ERROR: [500, true],
  UPSTREAM_INVALID: [502, true],
  UPSTREAM_UNAVAILABLE: [502, true],
  RESOURCE_UNAVAILABLE: [503, true],
};

describe('the error table', () => {
  it('has these codes and no others', () => {
    assert.deepEqual([...ERROR_CODES].sort(), Object.keys(TABLE).sort());
  });

  for (const code of ERROR_CODES) {
    it(`makes ${code} a refusal with its status, its text and a word on trying again`, () => {
      const { error, ...rest } = refuse(code);
      const [status, retryable] = TABLE[code];
      assert.deepEqual(rest, { code, status, retryable });
      assert.match(error, /^[A-Z].{5,}[^.]$/);
    });
  }

  it('gives every code a text of its own', () => {
    const texts = ERROR_CODES.map((code) => refuse(code).error);
    assert.equal(new Set(texts).size, texts.length);
  });
});

describe('a refusal', () => {
  it('takes what its case knows better, and keeps the rest of its row', () => {
    assert.deepEqual(
      refuse('UPSTREAM_UNAVAILABLE', { status: 504, error: 'Late', retryAfterMs: 5 }),
      {
        code: 'UPSTREAM_UNAVAILABLE', status: 504, error: 'Late', retryable: true, retryAfterMs: 5,
      },
    );
    assert.deepEqual(refuse('FORBIDDEN', { code: 'PLAN_EXPIRED' }), {
      code: 'PLAN_EXPIRED', status: 403, error: refuse('FORBIDDEN').error, retryable: false,
    });
  });

  it('leaves the table as it was', () => {
    refuse('NOT_FOUND', { status: 410, error: 'Gone' });
    assert.equal(refuse('NOT_FOUND').status, 404);
    assert.equal(refuse('NOT_FOUND').error, 'Not found');
  });
});

describe('the envelope of an error', () => {
  it('has the fields of the run API, in its order', () => {
    assert.equal(envelope(refuse('NOT_FOUND'), 'req-1'),
      '{"error":"Not found","code":"NOT_FOUND","retryable":false,"requestId":"req-1"}');
  });

  it('says when to come back in whole seconds, where that is known', () => {
    const limited = (retryAfterMs: number): string =>
      envelope(refuse('RATE_LIMITED', { error: 'Slow', retryAfterMs }), 'r');
    assert.equal(limited(2_001),
      '{"error":"Slow","code":"RATE_LIMITED","retryable":true,"retryAfter":3,"requestId":"r"}');
    assert.equal(limited(0),
      '{"error":"Slow","code":"RATE_LIMITED","retryable":true,"retryAfter":1,"requestId":"r"}');
  });

  it('is JSON and one line, whatever the text', () => {
    const error = '"\\\n\r\u2028\uD800 é';
    const text = envelope(refuse('INTERNAL_ERROR', { error }), '"');
    assert.doesNotMatch(text, /[\r\n]/);
    assert.deepEqual(JSON.parse(text),
      { error, code: 'INTERNAL_ERROR', retryable: true, requestId: '"' });
  });
});

it('seconds for a header are whole, rounded up and at least one', () => {
  for (const [ms, seconds] of [
    [0, 1], [1, 1], [999, 1], [1_000, 1], [1_000.1, 2], [1_001, 2], [59_999, 60], [3.6e6, 3_600],
  ] as const) assert.equal(toSeconds(ms), seconds, `${ms} ms`);
});

it('an error for the caller of the library names its code and every mistake', () => {
  const error = new GatewayError('INVALID_OPTIONS', ['port: no', 'host: no']);
  assert.ok(error instanceof Error);
  assert.deepEqual([error.name, error.code, error.message, error.problems],
    ['GatewayError', 'INVALID_OPTIONS', 'port: no\nhost: no', ['port: no', 'host: no']]);
  assert.match(String(error.stack), /^GatewayError: port: no/);
});
