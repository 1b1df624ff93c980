/** Whose turn it is, and how long a run has been missing: for one key, and for all. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { MISSING_POLLS, Rotation } from '../../src/source/rotation.ts';
import { A, B, C } from './harness.ts';

function rotationOf(...keys: { value: string; header: 'x-api-key' | 'authorization' }[]): Rotation {
  const rotation = new Rotation();
  for (const key of keys) rotation.add(key);
  return rotation;
}

const turns = (rotation: Rotation, count: number): (string | undefined)[] =>
  Array.from({ length: count }, () => rotation.next()?.value);

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

  it('goes on without a key that is gone', () => {
    const rotation = rotationOf(A, B, C);
    rotation.delete('lma_b');
    rotation.delete('lma_unknown');
    assert.deepEqual(turns(rotation, 3), ['lma_a', 'lma_c', 'lma_a']);
    assert.deepEqual(rotation.keys.map(({ value }) => value).sort(), ['lma_a', 'lma_c']);
  });

  it('has no turn for nobody', () => {
    const rotation = rotationOf();
    assert.deepEqual([rotation.size, rotation.next()], [0, undefined]);
    rotation.add(A);
    rotation.delete('lma_a');
    assert.equal(rotation.next(), undefined);
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
    assert.deepEqual(rotation.missed('lma_a'), { key: false, all: false });
    assert.deepEqual(rotation.missed('lma_b'), { key: false, all: false });
    assert.deepEqual(rotation.missed('lma_c'), { key: false, all: true });
  });

  it('for one key alone is believed after three polls of that key', () => {
    const rotation = rotationOf(A, B);
    for (const isBelieved of [false, false, true]) {
      assert.deepEqual(rotation.missed('lma_a'), { key: isBelieved, all: false });
      rotation.found('lma_b');
    }
  });

  it('is found again for a key only by that key', () => {
    const rotation = rotationOf(A, B);
    rotation.missed('lma_a');
    rotation.missed('lma_a');
    rotation.found('lma_a');
    assert.deepEqual(rotation.missed('lma_a'), { key: false, all: false });
  });

  it('counts for all also with a key that has left meanwhile', () => {
    const rotation = rotationOf(A);
    rotation.delete('lma_b');
    rotation.missed('lma_b');
    rotation.missed('lma_b');
    assert.deepEqual(rotation.missed('lma_b'), { key: false, all: true });
  });

  it('is not forgotten because the key is added once more', () => {
    const rotation = rotationOf(A, B);
    for (let i = 0; i < 2; i++) {
      rotation.missed('lma_a');
      rotation.found('lma_b');
    }
    rotation.add(A);
    assert.deepEqual(rotation.missed('lma_a'), { key: true, all: false });
  });

  it('is forgotten with the key: one that comes back starts anew', () => {
    const rotation = rotationOf(A, B);
    rotation.missed('lma_a');
    rotation.missed('lma_a');
    rotation.found('lma_b');
    rotation.delete('lma_a');
    rotation.add(A);
    assert.deepEqual(rotation.missed('lma_a'), { key: false, all: false });
  });
});
