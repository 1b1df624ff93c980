/**
 * gzip (RFC 1952) put together from parts that know nothing of each other. A part is deflated by
 * itself and ends on a byte, so the same bytes fit behind any other part; what differs from
 * stream to stream is the CRC-32 in the trailer, and that follows from the CRCs of the parts. No
 * stream has a zlib state.
 */

import { constants, crc32, deflateRawSync } from 'node:zlib';

/** No name, no time, made anywhere. */
export const GZIP_HEAD = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);

/** An empty block: what was before it is to be handed on. */
const SYNC = Buffer.from([0, 0, 0, 0xff, 0xff]);
/** Below this, deflating costs more than it saves. */
const MIN_DEFLATE_BYTES = 1000;
/** From here on the best compression takes too long for its few percent. */
const FAST_FROM_BYTES = 64 * 1024;
/** CRC-32's polynomial, lowest power in the highest bit. */
const POLYNOMIAL = 0xedb88320;
const X0 = 0x80000000;
const X8 = 0x00800000;

/** `bytes` as whole blocks of deflate (RFC 1951) that end on a byte, and their CRC-32. */
export function deflated(bytes: Buffer): { readonly bytes: Buffer; readonly crc: number } {
  const crc = crc32(bytes);
  if (bytes.length < MIN_DEFLATE_BYTES) return { bytes: stored(bytes), crc };
  const level = bytes.length < FAST_FROM_BYTES ? 6 : 1;
  const finishFlush = constants.Z_SYNC_FLUSH;
  return { bytes: deflateRawSync(bytes, { level, finishFlush }), crc };
}

/** Ends a stream whose parts come to `crc` and `length` plain bytes. */
export function gzipTail(crc: number, length: number): Buffer {
  const tail = Buffer.from([3, 0, 0, 0, 0, 0, 0, 0, 0, 0]); // an empty last block
  tail.writeUInt32LE(crc >>> 0, 2);
  tail.writeUInt32LE(length % 2 ** 32, 6);
  return tail;
}

/** x^(8·length) modulo the polynomial: what moves a CRC past so many bytes. */
export function shiftOf(length: number): number {
  let shift = X0;
  let power = X8;
  for (let rest = length; rest > 0; rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) shift = multiply(shift, power);
    power = multiply(power, power);
  }
  return shift;
}

/** The CRC-32 of what has `crc` and then a part with `shift` and `nextCrc`. */
export function combineCrc(crc: number, shift: number, nextCrc: number): number {
  return (multiply(shift, crc) ^ nextCrc) >>> 0;
}

/**
 * Not compressed: a block's header and the bytes themselves, at most 65,535; and behind it the
 * empty block of a sync flush, without which Go's readers (Caddy, Traefik) hold the bytes back.
 */
function stored(bytes: Buffer): Buffer {
  const block = Buffer.alloc(5 + bytes.length + SYNC.length);
  block.writeUInt8(0);
  block.writeUInt16LE(bytes.length, 1);
  block.writeUInt16LE(bytes.length ^ 0xffff, 3);
  bytes.copy(block, 5);
  SYNC.copy(block, 5 + bytes.length);
  return block;
}

/** Of two polynomials over one bit, modulo CRC-32's. */
function multiply(a: number, b: number): number {
  let product = 0;
  let power = b;
  for (let rest = a | 0; rest !== 0; rest <<= 1) {
    if (rest < 0) product ^= power;
    power = (power & 1) === 1 ? (power >>> 1) ^ POLYNOMIAL : power >>> 1;
  }
  return product;
}
