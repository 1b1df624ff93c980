/** A {@link Sink} over a ServerResponse whose head has been sent. */

import type { ServerResponse } from 'node:http';

import type { Sink, SinkListener } from '../hub/sink.ts';

/** Peers that vanished without a word are asked for after this long without data. */
const KEEP_ALIVE_MS = 30_000;

/** Writes a stream into its response. */
export class ResponseSink implements Sink {
  readonly #response: ServerResponse;

  constructor(response: ServerResponse) {
    this.#response = response;
    const { socket } = response;
    // A stream is quiet for as long as its run is, whatever the host's server thinks of that.
    socket?.setTimeout(0);
    socket?.setKeepAlive(true, KEEP_ALIVE_MS);
  }

  write(bytes: Buffer): boolean {
    return this.#response.write(bytes);
  }

  end(): void {
    this.#response.end();
  }

  destroy(): void {
    this.#response.destroy();
  }

  /** The response's own `close`: the request's comes at other times. A blocked one never drains. */
  listen(listener: SinkListener): void {
    this.#response.on('drain', () => listener.onDrain());
    this.#response.on('close', () => listener.onClose());
    this.#response.on('error', () => this.destroy());
  }
}
