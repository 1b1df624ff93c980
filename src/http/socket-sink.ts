/**
 * A {@link Sink} over the socket of a response whose head is written. Pieces are framed already,
 * once for all, and go straight to the socket. While nothing waits there, they go by a plain
 * write(2): what the stream machinery of Node does around that costs a quarter of a frame, and what
 * the kernel does not take at once is handed to that machinery.
 */

import { writeSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

import { GZIP_HEAD, combineCrc, gzipTail } from '../core/gzip.ts';
import { chunkOf } from '../core/piece.ts';
import type { Piece } from '../core/piece.ts';
import type { Sink, SinkListener } from '../hub/sink.ts';
import type { SendQueues } from './send-queues.ts';

/** How a body is framed: to the end of the connection (HTTP/1.0), in chunks, in gzipped chunks. */
export type Framing = 'plain' | 'chunked' | 'gzip';

/** Peers that vanished without a word are asked for after this long without data. */
const KEEP_ALIVE_MS = 30_000;
const LAST_CHUNK = '0\r\n\r\n';
const GZIP_HEAD_CHUNK = chunkOf(GZIP_HEAD);

const SINK = Symbol('sink');
type Wired = Socket & { [SINK]?: SocketSink; readonly _handle?: { readonly fd?: number } | null };

/** One function for all sockets whose own `_destroy` is the same: a closure each is memory. */
const WATCHED = new WeakMap<Socket['_destroy'], (this: Wired, ...of: DestroyArgs) => void>();
type DestroyArgs = Parameters<Socket['_destroy']>;

/** Of all sinks together; plain numbers, since they are counted on the way of every event. */
export interface SentBytes {
  /** Of events, before they were compressed. */
  events: number;
  /** As they were sent, framing included. */
  identity: number;
  gzip: number;
}

/** What a sink writes to. */
export interface Outlet {
  readonly socket: Socket;
  /** Undefined where the connection was taken from node:http. */
  readonly response: ServerResponse | undefined;
  readonly framing: Framing;
  readonly queues: SendQueues;
  readonly sent: SentBytes;
}

/** Writes a stream to its socket. */
export class SocketSink implements Sink {
  readonly #socket: Wired;
  readonly #response: ServerResponse | undefined;
  readonly #framing: Framing;
  readonly #queues: SendQueues;
  readonly #sent: SentBytes;
  /** -1 where bytes must go through the socket: over TLS, where it is gone, or not to be had. */
  #fd: number;
  /** Is nothing waiting in the socket? */
  #isClear = false;
  #listener: SinkListener | undefined;
  /** What the kernel held for the reader when it was last asked. */
  #queued: number | undefined;
  /** Of the plain bytes so far, for gzip's trailer. */
  #crc = 0;
  #length = 0;

  constructor({ socket, response, framing, queues, sent }: Outlet) {
    this.#socket = socket;
    this.#response = response;
    this.#framing = framing;
    this.#queues = queues;
    this.#sent = sent;
    this.#fd = 'encrypted' in socket ? -1 : this.#socket._handle?.fd ?? -1;
    // A stream is quiet for as long as its run is, whatever the host's server thinks of that.
    socket.setTimeout(0);
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    if (framing === 'gzip') socket.write(GZIP_HEAD_CHUNK);
  }

  write(piece: Piece): boolean {
    switch (this.#framing) {
      case 'plain':
        return this.#putPlain(piece, piece.bytes);
      case 'chunked':
        return this.#putPlain(piece, piece.chunk);
      case 'gzip': {
        const { chunk, crc, length, shift } = piece.packed;
        this.#crc = combineCrc(this.#crc, shift, crc);
        this.#length += length;
        this.#sent.events += length;
        this.#sent.gzip += chunk.length;
        return this.#put(chunk);
      }
    }
  }

  end(): void {
    if (this.#framing === 'gzip') this.#put(chunkOf(gzipTail(this.#crc, this.#length)));
    if (this.#response !== undefined) {
      this.#response.end();
      return;
    }
    this.#socket.end(this.#framing === 'plain' ? '' : LAST_CHUNK);
    this.#socket.destroySoon();
  }

  /**
   * Of a reader that does not take what waits, with a reset: the kernel would keep its part of it
   * for minutes. Once the socket is shutting down a reset fails, and it would never close.
   */
  destroy(): void {
    const isTcp = this.#fd >= 0 && this.#socket.remoteAddress !== undefined;
    if (isTcp && this.#socket.writableLength > 0) this.#socket.resetAndDestroy();
    this.#socket.destroy();
  }

  probe(): void {
    void this.#probe();
  }

  listen(listener: SinkListener): void {
    this.#listener = listener;
    this.#socket[SINK] = this;
    watchDestroy(this.#socket);
    this.#socket.on('error', cut).on('close', onClose);
    if (this.#response !== undefined) return;
    // Whoever says more, or says that it is done, wants no stream.
    this.#socket.on('data', cut).on('end', cut).resume();
  }

  /** From now on the descriptor is anybody's: the next connection may have it at once. */
  forgetDescriptor(): void {
    this.#fd = -1;
  }

  onClose(): void {
    this.#listener?.onClose();
  }

  #putPlain(piece: Piece, framed: Buffer): boolean {
    this.#sent.events += piece.length;
    this.#sent.identity += framed.length;
    return this.#put(framed);
  }

  #put(bytes: Buffer): boolean {
    this.#isClear ||= this.#socket.writableLength === 0;
    const taken = this.#isClear ? this.#writeNow(bytes) : 0;
    if (taken === bytes.length) return true;
    this.#isClear = false;
    this.#socket.write(bytes.subarray(taken), () => this.#onTaken());
    return this.#socket.writableCorked > 0;
  }

  /** How many of them the kernel took. Errors are left to the socket, which meets them next. */
  #writeNow(bytes: Buffer): number {
    if (this.#fd < 0) return 0;
    try {
      return writeSync(this.#fd, bytes);
    } catch {
      return 0;
    }
  }

  #onTaken(): void {
    if (this.#socket.destroyed || this.#socket.writableLength > 0) return;
    this.#isClear = true;
    this.#listener?.onProgress();
    this.#listener?.onDrain();
  }

  async #probe(): Promise<void> {
    const queued = await this.#queues.bytesOf(this.#socket);
    if (this.#queued !== undefined && queued !== this.#queued) this.#listener?.onProgress();
    this.#queued = queued;
  }
}

/** Shared by all sockets: a closure each is memory. */
function cut(this: Socket): void {
  this.destroy();
}

/** Every end of a socket goes through `_destroy`, before its descriptor is closed. */
function watchDestroy(socket: Wired): void {
  const { _destroy: destroy } = socket;
  let destroySocket = WATCHED.get(destroy);
  if (destroySocket === undefined) {
    destroySocket = function watched(this: Wired, error, done) {
      this[SINK]?.forgetDescriptor();
      destroy.call(this, error, done);
    };
    WATCHED.set(destroy, destroySocket);
  }
  socket._destroy = destroySocket;
}

function onClose(this: Wired): void {
  this[SINK]?.onClose();
}
