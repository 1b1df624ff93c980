/** Whose turn it is, and how long a run has been missing: for one key, and for all. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { MISSING_POLLS, Rotation } from '../../src/source/rotation.ts';
import { A, B, C, D } from './harness.ts';

function rotationOf(...keys: { value: string; header: 'x-api-key' | 'authorization' }[]): Rotation {
  const rotation = new Rotation();
  for (const key of keys) rotation.add(key);
  return rotation;
}

const turns = (rotation: Rotation, count: number): string[] =>
  Array.from({ length: count }, () => rotation.next().value);

describe('the rotation of keys', () => {
  it('gives each its turn, in the order in which they came', () => {
    const rotation = rotationOf(A, B, C);
    assert.deepEqual(turns(rotation, 5), ['lma_a', 'lma_b', 'lma_c', 'lma_a', 'lma_b']);
  });

  it('puts a newcomer last, and leaves one that is there where it is', () => {
    const rotation = rotationOf(A, B);
    rotation.next();
    rotation.add(C);
    rotation.add(B);
    assert.equal(rotation.size, 3);
    assert.deepEqual(turns(rotation, 3), ['lma_b', 'lma_a', 'lma_c']);
  });

  it('brings a key to the front, the others behind it in their order', () => {
    const rotation = rotationOf(A, B, C);
    rotation.prefer('lma_c');
    rotation.prefer('lma_unknown');
    rotation.prefer(undefined);
    assert.deepEqual(turns(rotation, 4), ['lma_c', 'lma_a', 'lma_b', 'lma_c']);
  });

  it('goes on without a key that is gone', () => {
    const rotation = rotationOf(A, B, C);
    assert.equal(rotation.delete('lma_b'), B, 'who it was');
    assert.equal(rotation.delete('lma_b'), undefined);
    assert.equal(rotation.delete('lma_unknown'), undefined);
    assert.deepEqual(turns(rotation, 3), ['lma_a', 'lma_c', 'lma_a']);
    assert.deepEqual(rotation.keys.map(({ value }) => value).sort(), ['lma_a', 'lma_c']);
  });

  it('is not asked whose turn it is when nobody is in it', () => {
    const rotation = rotationOf(A);
    rotation.delete('lma_a');
    assert.equal(rotation.size, 0);
    assert.throws(() => rotation.next(), /somebody watches/);
  });

  it('keeps the header form of each key', () => {
    const bearer = { value: 'lma_x', header: 'authorization' } as const;
    assert.deepEqual(rotationOf(bearer).next(), bearer);
  });

  it('knows who is in it, and whether anybody else is', () => {
    const rotation = rotationOf(A);
    assert.deepEqual([rotation.has('lma_a'), rotation.has('lma_b')], [true, false]);
    assert.equal(rotation.hasOthers('lma_a'), false);
    assert.equal(rotation.hasOthers('lma_b'), true);
    rotation.add(B);
    assert.equal(rotation.hasOthers('lma_a'), true);
    assert.equal(rotationOf().hasOthers('lma_a'), false);
  });
});

describe('a run that is missing', () => {
  it('is believed to be so after three polls in a row, whoever asked', () => {
    assert.equal(MISSING_POLLS, 3);
    const rotation = rotationOf(A, B, C);
    assert.deepEqual(rotation.missed(A), []);
    assert.deepEqual(rotation.missed(B), []);
    assert.deepEqual(rotation.missed(C), [A, B, C]);
  });

  it('is gone for those who missed it, not for one that was not asked with', () => {
    const rotation = rotationOf(A, B, C, D);
    rotation.missed(A);
    rotation.missed(B);
    assert.deepEqual(rotation.missed(C), [A, B, C]);
    for (const key of [A, B, C]) rotation.delete(key.value);
    assert.deepEqual(rotation.missed(D), [D], 'with its own miss it is one of them');
  });

  it('is not gone for one that has found it since it missed it', () => {
    const rotation = rotationOf(A, B);
    rotation.missed(A);
    rotation.found('lma_a');
    rotation.missed(B);
    rotation.missed(B);
    assert.deepEqual(rotation.missed(B), [B]);
  });

  it('for one key alone is believed after three polls of that key', () => {
    const rotation = rotationOf(A, B);
    for (const refused of [[], [], [A]]) {
      assert.deepEqual(rotation.missed(A), refused);
      rotation.found('lma_b');
    }
  });

  it('is found again for a key only by that key', () => {
    const rotation = rotationOf(A, B);
    rotation.missed(A);
    rotation.missed(A);
    rotation.found('lma_a');
    assert.deepEqual(rotation.missed(A), []);
  });

  it('counts for all also with a key that has left meanwhile, which is not refused', () => {
    const rotation = rotationOf(A);
    assert.deepEqual(rotation.missed(B), []);
    assert.deepEqual(rotation.missed(B), []);
    assert.deepEqual(rotation.missed(A), [A]);
    assert.deepEqual(rotation.missed(B), []);
  });

  it('is not forgotten because the key is added once more', () => {
    const rotation = rotationOf(A, B);
    for (let i = 0; i < 2; i++) {
      rotation.missed(A);
      rotation.found('lma_b');
    }
    rotation.add(A);
    assert.deepEqual(rotation.missed(A), [A]);
  });

  it('is forgotten with the key: one that comes back starts anew', () => {
    const rotation = rotationOf(A, B);
    rotation.missed(A);
    rotation.missed(A);
    rotation.found('lma_b');
    rotation.delete('lma_a');
    rotation.add(A);
    assert.deepEqual(rotation.missed(A), []);
  });
});
