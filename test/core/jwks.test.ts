/** Key sets, in the forms in which they are about, and what is no key in them. */

import assert from 'node:assert/strict';
import { verify } from 'node:crypto';
import { it } from 'node:test';

import { parseJwks } from '../../src/core/jwks.ts';
import { Signer, jwksOf } from '../support/signing.ts';

const [one, two] = [new Signer('one'), new Signer('two')];

it('gives every Ed25519 key of a set, bare, enveloped or by itself', () => {
  const set = jwksOf(one, two);
  for (const [text, count] of [
    [set, 2], [`{"data":${set}}`, 2], [JSON.stringify(one.jwk), 1], [jwksOf(two), 1],
  ] as const) assert.equal(parseJwks(text)?.length, count, text);
  const [first, second] = parseJwks(set) ?? [];
  const signature = two.sign('a');
  const fits = [first, second].map((key) => key && verify(null, Buffer.from('a'), key, signature));
  assert.deepEqual(fits, [false, true]);
});

it('passes over what is no such key, and knows when there is none', () => {
  const { jwk } = one;
  const others = [
    { ...jwk, crv: 'X25519' }, { ...jwk, kty: 'EC' }, { ...jwk, x: 'AA' }, { ...jwk, x: 1 },
    { kty: 'oct', k: 'c2VjcmV0' }, null, 'a', 1, [],
  ];
  assert.equal(parseJwks(JSON.stringify({ keys: [...others, jwk] }))?.length, 1);
  for (const text of [
    '', '{', 'null', '1', '[]', '{}', '{"keys":{}}', '{"keys":[]}', '{"data":null}',
    JSON.stringify({ keys: others }),
  ]) assert.equal(parseJwks(text), undefined, text);
});

it('takes no more than sixteen', () => {
  assert.equal(parseJwks(JSON.stringify({ keys: Array(20).fill(one.jwk) }))?.length, 16);
});
