/** A {@link Sink} over a ServerResponse whose head has been sent. */

import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

import type { Sink, SinkListener } from '../hub/sink.ts';
import type { SendQueues } from './send-queues.ts';

/** Peers that vanished without a word are asked for after this long without data. */
const KEEP_ALIVE_MS = 30_000;

/** What is written at once. Each such piece that is taken proves a slow reader alive. */
const PIECE_BYTES = 16 * 1024;
const NOTHING = Buffer.alloc(0);

/** Writes a stream into its response. */
export class ResponseSink implements Sink {
  readonly #response: ServerResponse;
  readonly #queues: SendQueues;
  #listener: SinkListener | undefined;
  /** What the kernel held for the reader when it was last asked. */
  #queued: number | undefined;
  /** Of the frame that is being written. */
  #rest: Buffer = NOTHING;
  #isEnding = false;

  constructor(response: ServerResponse, queues: SendQueues) {
    this.#response = response;
    this.#queues = queues;
    const { socket } = response;
    // A stream is quiet for as long as its run is, whatever the host's server thinks of that.
    socket?.setTimeout(0);
    socket?.setKeepAlive(true, KEEP_ALIVE_MS);
  }

  write(bytes: Buffer): boolean {
    if (bytes.length <= PIECE_BYTES) return this.#put(bytes);
    this.#rest = bytes;
    return this.#feed();
  }

  end(): void {
    this.#isEnding = true;
    if (this.#rest.length === 0) this.#response.end();
  }

  destroy(): void {
    this.#response.destroy();
  }

  /** The response's own `close`: the request's comes at other times. A blocked one never drains. */
  listen(listener: SinkListener): void {
    this.#listener = listener;
    this.#response.on('drain', () => this.#onDrain(listener));
    this.#response.on('close', () => listener.onClose());
    this.#response.on('error', () => this.destroy());
  }

  probe(): void {
    const { socket } = this.#response;
    if (socket !== null) void this.#probe(socket);
  }

  async #probe(socket: Socket): Promise<void> {
    const queued = await this.#queues.bytesOf(socket);
    if (this.#queued !== undefined && queued !== this.#queued) this.#listener?.onProgress();
    this.#queued = queued;
  }

  #onDrain(listener: SinkListener): void {
    listener.onProgress();
    if (this.#rest.length === 0) return listener.onDrain();
    return this.#feed() ? listener.onDrain() : undefined;
  }

  /** A host's middleware may have put a `write` of its own there, which throws. */
  #put(bytes: Buffer): boolean {
    try {
      return this.#response.write(bytes);
    } catch {
      this.destroy();
      return false;
    }
  }

  #feed(): boolean {
    let isRoomy = true;
    while (isRoomy && this.#rest.length > 0) {
      const piece = this.#rest.subarray(0, PIECE_BYTES);
      this.#rest = this.#rest.subarray(PIECE_BYTES);
      isRoomy = this.#put(piece);
    }
    if (this.#isEnding) this.end();
    return isRoomy;
  }
}
