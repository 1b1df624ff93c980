/**
 * The key of a request. Heads go through Node's own parser, on a wire without a port, since what
 * it joins, drops and trims is half of the matter; only what it refuses is put in by hand.
 */

import assert from 'node:assert/strict';
import { createServer, type IncomingMessage } from 'node:http';
import { Duplex } from 'node:stream';
import { describe, it } from 'node:test';

import { refuse, type Refusal } from '../../src/core/errors.ts';
import type { ApiKey } from '../../src/core/run-source.ts';
import { readKey } from '../../src/http/credentials.ts';
import { within } from '../support/wait.ts';

const PREFIX = 'lma_';
const MISSING = refuse('AUTH_MISSING_KEY');
const INVALID = refuse('AUTH_INVALID_KEY');
const inHeader = (value: string): ApiKey => ({ value, header: 'x-api-key' });
const asBearer = (value: string): ApiKey => ({ value, header: 'authorization' });

/** A request with these header lines, as Node reads it. */
function received(...lines: string[]): Promise<IncomingMessage> {
  const head = ['GET / HTTP/1.1', 'host: gateway.test', ...lines, '', ''].join('\r\n');
  const wire = new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done() });
  const request = new Promise<IncomingMessage>((resolve, reject) => {
    createServer(resolve).on('clientError', reject).emit('connection', wire);
    wire.push(Buffer.from(head, 'latin1'));
  });
  return within(2_000, head, request);
}

async function keyOf(...lines: string[]): Promise<ApiKey | Refusal> {
  return readKey(await received(...lines), PREFIX);
}

/** What the parser would not pass on, straight into the headers. */
async function keyOfRaw(...rawHeaders: string[]): Promise<ApiKey | Refusal> {
  return readKey(Object.assign(await received(), { rawHeaders }), PREFIX);
}

describe('a key', () => {
  it('comes in x-api-key, the name in any case and the value as it is', async () => {
    for (const line of [
      'x-api-key: lma_a', 'X-API-Key: lma_a', 'X-Api-KEY:lma_a', 'x-api-key:  \t lma_a \t ',
    ]) assert.deepEqual(await keyOf(line), inHeader('lma_a'), line);
    const odd = 'lma_!"#$%&\'()*+-./:;<=>?@[\\]^_`{|}~';
    assert.deepEqual(await keyOf(`x-api-key: ${odd}`), inHeader(odd));
  });

  it('comes as a bearer token, the scheme in any case and behind any spaces', async () => {
    for (const line of [
      'authorization: Bearer lma_a', 'Authorization: bearer lma_a', 'AUTHORIZATION: BEARER lma_a',
      'authorization: bEaReR lma_a', 'authorization:Bearer     lma_a  ',
    ]) assert.deepEqual(await keyOf(line), asBearer('lma_a'), line);
  });

  it('is missing where no header holds one', async () => {
    for (const lines of [
      [], ['x-api-key:'], ['x-api-key: \t '], ['authorization:'], ['authorization: Bearer'],
      ['authorization: Bearer   '], ['authorization: Basic bG1hX2E6'], ['authorization: lma_a'],
      ['authorization: Bearerlma_a'], ['authorization: Digest Bearer lma_a'], ['api-key: lma_a'],
      ['authorization: Basic bG1hX2E6', 'x-api-key:'], ['proxy-authorization: Bearer lma_a'],
      ['authorization: Token lma_a'], ['x-api-keys: lma_a'], ['cookie: x-api-key=lma_a'],
    ]) assert.deepEqual(await keyOf(...lines), MISSING, lines.join());
  });

  it('is no key without the prefix, or with nothing behind it', async () => {
    for (const value of ['a', 'lma', 'lma_', 'LMA_a', 'Lma_a', ' lma', 'xlma_a', 'sk-lma_a']) {
      assert.deepEqual(await keyOf(`x-api-key: ${value}`), INVALID, value);
      assert.deepEqual(await keyOf(`authorization: Bearer ${value}`), INVALID, value);
    }
  });

  it('may be anything plain where the prefix is empty', async () => {
    assert.deepEqual(readKey(await received('x-api-key: a'), ''), inHeader('a'));
    assert.deepEqual(readKey(await received('authorization: Bearer a'), ''), asBearer('a'));
    assert.deepEqual(readKey(await received('x-api-key:'), ''), MISSING);
    assert.deepEqual(readKey(await received('x-api-key: a b'), ''), INVALID);
  });

  it('has at most 512 characters, its prefix included', async () => {
    const longest = PREFIX + 'a'.repeat(508);
    for (const [line, key] of [
      ['x-api-key: ', inHeader], ['authorization: Bearer ', asBearer],
    ] as const) {
      assert.deepEqual(await keyOf(line + longest), key(longest));
      assert.deepEqual(await keyOf(`${line}${longest}a`), INVALID);
      assert.deepEqual(await keyOf(line + PREFIX + 'a'.repeat(8_000)), INVALID);
    }
  });

  it('has no comma, no blank and nothing beyond ASCII', async () => {
    for (const value of [
      'lma_a,lma_a', 'lma_a, lma_b', 'lma_a,', 'lma_,', 'lma_a b', 'lma_a\tb', 'lma_a lma_a',
      'lma_é', 'lma_\x80', 'lma_a\xffb', 'lma_a\xa0b',
    ]) {
      assert.deepEqual(await keyOf(`x-api-key: ${value}`), INVALID, JSON.stringify(value));
      assert.deepEqual(await keyOf(`authorization: Bearer ${value}`), INVALID, value);
    }
    assert.deepEqual(await keyOf('authorization: Bearer Bearer lma_a'), INVALID);
    assert.deepEqual(await keyOf('authorization: Bearer "lma_a"'), INVALID);
  });

  it('has no control characters, should a parser let them through', async () => {
    for (let code = 0; code < 0x20; code++) {
      const value = `lma_a${String.fromCharCode(code)}b`;
      assert.deepEqual(await keyOfRaw('x-api-key', value), INVALID, JSON.stringify(value));
      const bearer = await keyOfRaw('authorization', `Bearer ${value}`);
      assert.ok('code' in bearer, JSON.stringify(value));
    }
    assert.deepEqual(await keyOfRaw('x-api-key', 'lma_a\x7f'), INVALID);
    assert.deepEqual(await keyOfRaw('x-api-key', 'lma_\uD800'), INVALID);
  });

  it('is not made whole by trimming what HTTP does not call a blank', async () => {
    assert.deepEqual(await keyOf('x-api-key: lma_a\xa0'), INVALID);
    assert.deepEqual(await keyOf('x-api-key: \xa0lma_a'), INVALID);
    assert.deepEqual(await keyOf('authorization: Bearer lma_a\xa0'), INVALID);
    for (const blank of ['\v', '\f', '\r', '\n', '\u2028', '\uFEFF']) {
      assert.deepEqual(await keyOfRaw('x-api-key', `lma_a${blank}`), INVALID);
    }
  });
});

describe('several keys in one request', () => {
  it('are one where they are the same', async () => {
    assert.deepEqual(await keyOf('x-api-key: lma_a', 'X-Api-Key: lma_a'), inHeader('lma_a'));
    assert.deepEqual(await keyOf('x-api-key: lma_a', 'x-api-key:'), inHeader('lma_a'));
    assert.deepEqual(
      await keyOf('authorization: Bearer lma_a', 'authorization: bearer  lma_a'), asBearer('lma_a'),
    );
    assert.deepEqual(
      await keyOf('authorization: Bearer lma_a', 'x-api-key: lma_a'), inHeader('lma_a'),
    );
  });

  it('are none where one header comes twice with different ones', async () => {
    for (const [one, other] of [
      ['lma_a', 'lma_b'], ['lma_a', 'x'], ['x', 'lma_a'], ['lma_', 'lma_a'],
    ]) {
      assert.deepEqual(await keyOf(`x-api-key: ${one}`, `x-api-key: ${other}`), INVALID);
      assert.deepEqual(
        await keyOf(`authorization: Bearer ${one}`, `Authorization: Bearer ${other}`), INVALID,
      );
    }
    assert.deepEqual(await keyOf('x-api-key: lma_a', 'x-api-key: lma_A'), INVALID);
  });

  it('are none where the two headers hold different ones', async () => {
    for (const lines of [
      ['x-api-key: lma_a', 'authorization: Bearer lma_b'],
      ['authorization: Bearer lma_b', 'x-api-key: lma_a'],
    ]) assert.deepEqual(await keyOf(...lines), INVALID, lines.join());
  });

  it('are not made by what is meant for somebody else, or is empty', async () => {
    assert.deepEqual(
      await keyOf('authorization: Basic bG1hX2E6', 'x-api-key: lma_a'), inHeader('lma_a'),
    );
    assert.deepEqual(await keyOf('x-api-key:', 'authorization: Bearer lma_a'), asBearer('lma_a'));
    assert.deepEqual(await keyOf('x-api-key: lma_a', 'authorization: Bearer'), inHeader('lma_a'));
    assert.deepEqual(
      await keyOf('authorization: Basic bG1hX2E6', 'authorization: Bearer lma_a'),
      asBearer('lma_a'),
    );
  });
});

it('a refused key is not said back', async () => {
  for (const line of [
    'x-api-key: s3cret', 'x-api-key: lma_s3cret,', 'authorization: Bearer s3cret',
  ]) assert.doesNotMatch(JSON.stringify(await keyOf(line)), /s3cret/);
});
