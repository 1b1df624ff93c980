/**
 * One request whose answer goes on and on: a deadline for its head, and then a bound on silence.
 * The request was opened by `upstream.ts`; what the bytes mean is `event-stream.ts`' business.
 */

import type { ClientRequest, IncomingMessage } from 'node:http';

import type { Clock, Timer } from '../core/clock.ts';
import type { Exchange } from './exchange.ts';

/** Who is told of a stream: its head first, once in any case, and then the rest in order. */
export interface StreamListener {
  /** An answer without its body; or how there came none, and then nothing follows. */
  readonly onHead: (head: Exchange) => void;
  readonly onBytes: (bytes: Uint8Array) => void;
  /** `why` it broke; undefined where upstream ended it as it should. Not after a `close`. */
  readonly onEnd: (why: string | undefined) => void;
}

interface Owner extends StreamListener {
  /** Its socket is not needed any more. */
  readonly onDone: () => void;
}

/** A stream without a byte for so long is broken: run APIs ping more often than that. */
export const SILENCE_MS = 45_000;

const NO_BODY = Buffer.alloc(0);

type State = 'head' | 'body' | 'done';

/** One stream of bytes. */
export class StreamRequest {
  readonly #request: ClientRequest;
  readonly #clock: Clock;
  readonly #owner: Owner;
  #state: State = 'head';
  #timer: Timer;
  #heardAt = 0;

  /** Sends it. */
  constructor(request: ClientRequest, headMs: number, clock: Clock, owner: Owner) {
    this.#request = request;
    this.#clock = clock;
    this.#owner = owner;
    this.#timer = clock.setTimeout(() => this.#finish({ kind: 'late' }), headMs);
    request.on('response', (response) => this.#onResponse(response));
    request.on('error', (error: NodeJS.ErrnoException) => {
      this.#finish({ kind: 'broken', why: error.code ?? error.message });
    });
    request.end();
  }

  /** Hangs up. A head that did not come yet is told of as broken. Idempotent. */
  close(): void {
    if (this.#state === 'head') this.#finish({ kind: 'broken', why: 'closed' });
    else this.#done();
  }

  #onResponse(response: IncomingMessage): void {
    if (this.#state !== 'head') return;
    this.#state = 'body';
    this.#clock.clearTimeout(this.#timer);
    this.#heardAt = this.#clock.now();
    this.#timer = this.#clock.setTimeout(() => this.#onSilence(), SILENCE_MS);
    const { statusCode: status = 0, headers } = response;
    response.on('data', (bytes: Buffer) => {
      this.#heardAt = this.#clock.now();
      if (this.#state === 'body') this.#owner.onBytes(bytes);
    });
    const onCut = (): void => this.#finish({ kind: 'broken', why: 'cut short' });
    response.on('end', () => this.#onEnd());
    response.on('error', onCut);
    response.on('close', onCut);
    this.#owner.onHead({ kind: 'answer', status, headers, body: NO_BODY });
  }

  /** One timer for all of a stream's life: each byte moves its aim, not the timer. */
  #onSilence(): void {
    const restMs = this.#heardAt + SILENCE_MS - this.#clock.now();
    if (restMs <= 0) this.#finish({ kind: 'broken', why: 'silent' });
    else this.#timer = this.#clock.setTimeout(() => this.#onSilence(), restMs);
  }

  #onEnd(): void {
    if (this.#state !== 'body') return;
    this.#done();
    this.#owner.onEnd(undefined);
  }

  #finish(how: Exclude<Exchange, { kind: 'answer' }>): void {
    const before = this.#state;
    if (before === 'done') return;
    this.#done();
    if (before === 'head') this.#owner.onHead(how);
    else this.#owner.onEnd(how.kind === 'broken' ? how.why : how.kind);
  }

  #done(): void {
    if (this.#state === 'done') return;
    this.#state = 'done';
    this.#clock.clearTimeout(this.#timer);
    this.#request.destroy();
    this.#owner.onDone();
  }
}
