/**
 * A {@link Sink} that a test holds by the other end: the test says when the reader falls behind,
 * catches up or is gone, and reads back as events what the hub wrote. Nothing happens by itself;
 * `destroy` and `end` are only noted until the test calls `close`, as a kernel would. What no
 * sink may be asked for is collected in `violations` and not thrown into the code under test.
 */

import type { Piece } from '../../src/core/piece.ts';
import type { Sink, SinkListener } from '../../src/hub/sink.ts';
import { SseParser } from './sse-parser.ts';
import type { SseEvent } from './sse-parser.ts';

export class FakeSink implements Sink {
  /** All so far; grows. */
  readonly events: SseEvent[] = [];
  readonly parser = new SseParser();
  /** As it was written. */
  readonly written: Buffer[] = [];
  readonly violations: string[] = [];
  /** How often it was asked for progress. */
  probes = 0;
  isEnded = false;
  isDestroyed = false;
  isClosed = false;
  /** Called for each event as it is written. */
  onEvent: ((event: SseEvent) => void) | undefined;

  #isBehind = false;
  #owesDrain = false;
  #listener: SinkListener | undefined;

  write({ bytes }: Piece): boolean {
    if (this.#listener === undefined) this.violations.push('written before listen()');
    if (this.isEnded) this.violations.push(`written behind the end: ${bytes.toString()}`);
    if (this.isClosed) this.violations.push(`written after the close: ${bytes.toString()}`);
    // The rest of an event that has begun may follow; a next one has to wait for the drain.
    if (this.#owesDrain && this.parser.unfinished === '') {
      this.violations.push(`written to a reader that is behind: ${bytes.toString()}`);
    }
    this.written.push(bytes);
    for (const event of this.parser.push(bytes)) {
      this.events.push(event);
      this.onEvent?.(event);
    }
    if (this.#isBehind) this.#owesDrain = true;
    return !this.#isBehind;
  }

  end(): void {
    if (this.isEnded) this.violations.push('ended twice');
    if (this.isClosed) this.violations.push('ended after the close');
    this.isEnded = true;
  }

  destroy(): void {
    this.isDestroyed = true;
  }

  probe(): void {
    this.probes++;
  }

  listen(listener: SinkListener): void {
    if (this.#listener !== undefined) this.violations.push('listen() was called twice');
    this.#listener = listener;
  }

  /** Does a drain follow that somebody waits for? */
  get owesDrain(): boolean {
    return this.#owesDrain;
  }

  get last(): SseEvent | undefined {
    return this.events.at(-1);
  }

  /** Names of the events so far. */
  get names(): string[] {
    return this.events.map(({ event }) => event);
  }

  /** From now on a write fills the buffer: it is taken, and says false. */
  block(): void {
    this.#isBehind = true;
  }

  /** The reader has taken all. Told, like Node's, only after a write said false. */
  drain(): void {
    this.#isBehind = false;
    if (!this.#owesDrain || this.isDestroyed) return;
    this.#owesDrain = false;
    this.#listener?.onDrain();
  }

  /** The reader has taken a part. */
  progress(): void {
    this.#listener?.onProgress();
  }

  /** A drain nobody was promised. */
  drainUnasked(): void {
    this.#listener?.onDrain();
  }

  /** The connection is gone. */
  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.#listener?.onClose();
  }
}
