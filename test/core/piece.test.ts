/**
 * A piece in its forms. Compressed, any pieces one behind the other are one gzip stream, whatever
 * came before each: what zlib makes of them is the judge.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { crc32, gunzipSync } from 'node:zlib';

import { GZIP_HEAD, combineCrc, gzipTail, shiftOf } from '../../src/core/gzip.ts';
import { Piece, chunkOf } from '../../src/core/piece.ts';
import { randomFrom, seeds } from '../support/random.ts';

/** The plain bytes behind a chunk's line, checked. */
function unchunked(chunk: Buffer): Buffer {
  const lineEnd = chunk.indexOf('\r\n');
  const size = parseInt(chunk.toString('latin1', 0, lineEnd), 16);
  const body = chunk.subarray(lineEnd + 2, lineEnd + 2 + size);
  assert.equal(chunk.toString('latin1', lineEnd + 2 + size), '\r\n');
  assert.equal(body.length, size);
  return body;
}

/** One stream of these pieces, as a sink would write it. */
function gzipOf(pieces: readonly Piece[]): Buffer {
  let crc = 0;
  let length = 0;
  const parts = pieces.map(({ packed }) => {
    crc = combineCrc(crc, packed.shift, packed.crc);
    length += packed.length;
    return unchunked(packed.chunk);
  });
  return Buffer.concat([GZIP_HEAD, ...parts, gzipTail(crc, length)]);
}

const SIZES = [1, 2, 999, 1000, 1001, 4096, 65_535, 65_536, 70_000, 300_000];

describe('a piece', () => {
  it('as a chunk has its size in front, in bytes and in hex, and a line end behind', () => {
    assert.equal(new Piece('abc').chunk.toString(), '3\r\nabc\r\n');
    assert.equal(new Piece('ü€😀').chunk.toString(), '9\r\nü€😀\r\n');
    for (const size of SIZES) {
      const { bytes, chunk } = new Piece('x'.repeat(size));
      assert.ok(unchunked(chunk).equals(bytes), `${size} bytes`);
    }
    assert.ok(unchunked(chunkOf(GZIP_HEAD)).equals(GZIP_HEAD));
  });

  it('is made once in each form', () => {
    const piece = new Piece('x'.repeat(2000));
    assert.equal(piece.chunk, piece.chunk);
    assert.equal(piece.packed, piece.packed);
  });

  it('of some size is smaller when packed, and no piece grows by more than two block heads', () => {
    assert.ok(new Piece('state '.repeat(1000)).packed.chunk.length < 200);
    for (const size of SIZES) {
      const { chunk, packed } = new Piece('x'.repeat(size));
      assert.ok(packed.chunk.length <= chunk.length + 13, `${size} bytes`);
    }
  });
});

describe('a gzip stream of pieces', () => {
  it('ends each of them with a sync flush, or readers in Go would hold it back', () => {
    for (const size of SIZES) {
      const { chunk } = new Piece('x'.repeat(size)).packed;
      assert.equal(chunk.subarray(-6, -2).toString('hex'), '0000ffff', `${size} bytes`);
    }
  });

  it('of every size unpacks to them, with the right trailer', () => {
    for (const size of SIZES) {
      const piece = new Piece('ab€'.repeat(size).slice(0, size));
      assert.ok(gunzipSync(gzipOf([piece])).equals(piece.bytes), `${size} bytes`);
    }
    assert.equal(gunzipSync(gzipOf([])).length, 0);
  });

  for (const seed of seeds(3)) it(`is any of them in any order: seed ${seed}`, () => {
    const random = randomFrom(seed);
    const letters = (n: number): string =>
      Array.from({ length: n }, () => 'abcdef"{}:, \n€'.charAt(random() * 14)).join('');
    const all = Array.from({ length: 12 }, () => new Piece(`${letters(random() ** 4 * 5000)}.`));
    for (let i = 0; i < 60; i++) {
      const pieces = Array.from({ length: 1 + random() * 20 }, () =>
        all[Math.floor(random() * all.length)] as Piece);
      const plain = Buffer.concat(pieces.map(({ bytes }) => bytes));
      assert.ok(gunzipSync(gzipOf(pieces)).equals(plain), `round ${i}`);
    }
  });
});

describe('CRCs', () => {
  it('of two parts come to that of both, whatever their lengths', () => {
    const a = Buffer.from('the first part');
    for (const length of [0, 1, 7, 8, 255, 256, 65_536, 1_000_003]) {
      const b = Buffer.alloc(length, 'xyz');
      const both = combineCrc(crc32(a), shiftOf(length), crc32(b));
      assert.equal(both, crc32(Buffer.concat([a, b])), `${length} bytes`);
    }
  });

  it('of nothing change nothing', () => {
    assert.equal(combineCrc(0, shiftOf(5), crc32('hello')), crc32('hello'));
    assert.equal(combineCrc(0xdeadbeef, shiftOf(0), 0), 0xdeadbeef);
  });
});
