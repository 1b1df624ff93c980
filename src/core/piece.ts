/**
 * Bytes that go to many sockets, in each of the forms that sockets take: as they are, as a chunk
 * of HTTP/1.1, and as a chunk of a gzip stream. A form is made once, when it is first asked for,
 * and the same buffer goes to every socket.
 */

import { deflated, shiftOf } from './gzip.ts';

/** A piece as a part of any gzip stream, and what the stream's trailer needs of it. */
export interface Packed {
  readonly chunk: Buffer;
  /** Of the plain bytes. */
  readonly crc: number;
  /** Of the plain bytes. */
  readonly length: number;
  /** Moves a CRC-32 past as many bytes: see {@link shiftOf}. */
  readonly shift: number;
}

/** Whole events, or a line that belongs to the next one. */
export class Piece {
  readonly bytes: Buffer;
  #chunk: Buffer | undefined;
  #packed: Packed | undefined;

  constructor(text: string) {
    this.bytes = Buffer.from(text, 'utf8');
  }

  /** As one chunk (RFC 9112, 7.1). */
  get chunk(): Buffer {
    return this.#chunk ??= chunkOf(this.bytes);
  }

  /** Deflated by itself, looking back at nothing: so it fits into every stream. */
  get packed(): Packed {
    if (this.#packed !== undefined) return this.#packed;
    const { bytes, crc } = deflated(this.bytes);
    const { length } = this.bytes;
    return this.#packed = { chunk: chunkOf(bytes), crc, length, shift: shiftOf(length) };
  }
}

/** `bytes`, of which there is at least one, as one chunk. */
export function chunkOf(bytes: Buffer): Buffer {
  const size = `${bytes.length.toString(16)}\r\n`;
  const chunk = Buffer.allocUnsafe(size.length + bytes.length + 2);
  chunk.write(size, 'latin1');
  bytes.copy(chunk, size.length);
  chunk.write('\r\n', size.length + bytes.length, 'latin1');
  return chunk;
}
