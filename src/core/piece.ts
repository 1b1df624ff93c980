/**
 * Bytes that go to many sockets, in each of the forms that sockets take: as a chunk of HTTP/1.1,
 * as the part of it that is left without the framing, and as a chunk of a gzip stream, which is
 * made when it is first asked for. The same buffer goes to every socket.
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

const LINE_END = '\r\n';

/** Whole events, or a line that belongs to the next one. */
export class Piece {
  /** As one chunk (RFC 9112, 7.1). */
  readonly chunk: Buffer;
  /** In bytes, without framing. */
  readonly length: number;
  #packed: Packed | undefined;

  constructor(text: string) {
    const length = Buffer.byteLength(text);
    this.length = length;
    this.chunk = emptyChunk(length);
    this.chunk.write(text, this.chunk.length - length - LINE_END.length);
  }

  /** As they are: a part of the chunk. */
  get bytes(): Buffer {
    return this.chunk.subarray(this.chunk.indexOf('\n') + 1, -LINE_END.length);
  }

  /** Deflated by itself, looking back at nothing: so it fits into every stream. */
  get packed(): Packed {
    if (this.#packed !== undefined) return this.#packed;
    const plain = this.bytes;
    const { bytes, crc } = deflated(plain);
    const { length } = plain;
    return this.#packed = { chunk: chunkOf(bytes), crc, length, shift: shiftOf(length) };
  }
}

/** `bytes`, of which there is at least one, as one chunk. */
export function chunkOf(bytes: Buffer): Buffer {
  const chunk = emptyChunk(bytes.length);
  bytes.copy(chunk, chunk.length - bytes.length - LINE_END.length);
  return chunk;
}

/** With room for `length` bytes in front of its last line end. */
function emptyChunk(length: number): Buffer {
  const size = length.toString(16) + LINE_END;
  const chunk = Buffer.allocUnsafe(size.length + length + LINE_END.length);
  chunk.write(size, 'latin1');
  chunk.write(LINE_END, chunk.length - LINE_END.length, 'latin1');
  return chunk;
}
