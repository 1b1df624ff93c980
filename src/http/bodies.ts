/**
 * Bodies of requests, read within bounds of size, of time, and of memory over all of them. A host
 * whose own parser has read the body leaves nothing here to be read.
 */

import type { IncomingMessage } from 'node:http';

import type { Clock } from '../core/clock.ts';
import { refuse } from '../core/errors.ts';
import type { Refusal } from '../core/errors.ts';
import type { Metrics } from '../core/metrics.ts';

/** For a whole body. */
const BODY_MS = 10_000;
/** A client that sends too much is heard out for so long: cut off, it would miss the answer. */
const HEAR_OUT_MS = 1000;
/** Of all bodies in this process that are not yet done with. */
const MAX_HELD_BYTES = 64 * 1024 * 1024;

/** A whole body. */
export interface Body {
  readonly bytes: Buffer;
  /** To be called when it is done with. */
  readonly release: () => void;
}

/** Reads bodies. */
export class Bodies {
  readonly #maxBodyBytes: number;
  readonly #clock: Clock;
  readonly #metrics: Metrics;
  #held = 0;

  constructor(maxBodyBytes: number, clock: Clock, metrics: Metrics) {
    this.#maxBodyBytes = maxBodyBytes;
    this.#clock = clock;
    this.#metrics = metrics;
  }

  /** Undefined: the client is gone. */
  async read(request: IncomingMessage): Promise<Body | Refusal | undefined> {
    const chunks: Buffer[] = [];
    let size = 0;
    let refusal: Refusal | undefined;
    const release = (): void => {
      this.#held -= size;
      size = 0;
    };
    const isWhole = await this.#each(request, (chunk, hurry) => {
      if (refusal !== undefined) return;
      refusal = this.#refusalFor(request, size + chunk.length, chunk.length);
      if (refusal === undefined) {
        chunks.push(chunk);
        size += chunk.length;
        this.#held += chunk.length;
      } else {
        chunks.length = 0;
        release();
        hurry();
      }
    });
    if (refusal !== undefined) return refusal;
    if (isWhole === true) return { bytes: Buffer.concat(chunks), release };
    release();
    return isWhole === undefined ? undefined : refuse('REQUEST_TIMEOUT');
  }

  /** Takes the body off the connection and keeps nothing of it; gives up after a while. */
  async discard(request: IncomingMessage): Promise<void> {
    await this.#each(request, () => undefined);
  }

  /** True at the end, false when the time is up, undefined when the client is gone. */
  #each(
    request: IncomingMessage, take: (chunk: Buffer, hurry: () => void) => void,
  ): Promise<boolean | undefined> {
    if (request.readableEnded) return Promise.resolve(true);
    if (request.destroyed) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      const settle = (isWhole: boolean | undefined): void => {
        this.#clock.clearTimeout(timer);
        request.off('data', onData).off('end', onEnd).off('close', onClose).off('error', onClose);
        resolve(isWhole);
      };
      const wait = (ms: number) => this.#clock.setTimeout(() => settle(false), ms);
      const hurry = (): void => {
        this.#clock.clearTimeout(timer);
        timer = wait(HEAR_OUT_MS);
      };
      const onData = (chunk: Buffer): void => take(chunk, hurry);
      const onEnd = (): void => settle(true);
      const onClose = (): void => settle(undefined);
      let timer = wait(BODY_MS);
      request.on('data', onData).on('end', onEnd).on('close', onClose).on('error', onClose);
    });
  }

  #refusalFor(request: IncomingMessage, size: number, more: number): Refusal | undefined {
    const stated = Number(request.headers['content-length'] ?? 0);
    if (Math.max(size, stated) > this.#maxBodyBytes) return refuse('BODY_TOO_LARGE');
    if (this.#held + more <= MAX_HELD_BYTES) return undefined;
    this.#metrics.count('runcast_limit_total', 'bodies');
    return refuse('RESOURCE_UNAVAILABLE', { error: 'Too much is under way' });
  }
}
