/**
 * One stream of the doctor: events at a known pace, each with the time at which it was sent,
 * under the very head that streams of runs have.
 */

import { crc32 } from 'node:zlib';

import type { Clock, Timer } from '../core/clock.ts';
import { GZIP_HEAD, deflated, gzipTail } from '../core/gzip.ts';
import { NONCE_HEADER } from '../doctor/probes.ts';
import type { Exchange } from './exchange.ts';
import { streamHead } from './headers.ts';

/** What it is like. */
export interface ProbePlan {
  readonly nonce: string | null;
  /** From one event to the next. */
  readonly gapMs: number;
  /** Until the last one, `done`. */
  readonly lengthMs: number;
  readonly isPacked: boolean;
}

/** A reader that has not taken the end by then is cut off. */
const LINGER_MS = 5000;

/** Runs once; it is gone with its connection, or at the latest 5 s after its last event. */
export class ProbeStream {
  readonly #exchange: Exchange;
  readonly #plan: ProbePlan;
  readonly #clock: Clock;
  #startedMs = 0;
  #number = 0;
  #timer: Timer | undefined;
  #crc = 0;
  #plainBytes = 0;

  constructor(exchange: Exchange, plan: ProbePlan, clock: Clock, onClosed: () => void) {
    this.#exchange = exchange;
    this.#plan = plan;
    this.#clock = clock;
    exchange.response.once('close', () => {
      if (this.#timer) clock.clearTimeout(this.#timer);
      onClosed();
    });
  }

  start(): void {
    const exchange = this.#exchange;
    const { response, requestId } = exchange;
    const { nonce, isPacked } = this.#plan;
    const own = nonce === null ? {} : { [NONCE_HEADER]: nonce };
    response.writeHead(200, exchange.head({ ...streamHead(requestId, isPacked), ...own }));
    response.flushHeaders();
    if (isPacked) response.write(GZIP_HEAD);
    this.#startedMs = this.#clock.now();
    this.#onTick();
  }

  /** Ends it before its time, as a gateway that shuts down does. */
  close(): void {
    this.#exchange.response.destroy();
  }

  #onTick(): void {
    const { gapMs, lengthMs } = this.#plan;
    const sentMs = Math.round(this.#clock.now() - this.#startedMs);
    const isLast = sentMs >= lengthMs;
    const id = this.#number++;
    const data = JSON.stringify({ sentMs });
    this.#write(`event: ${isLast ? 'done' : 'tick'}\nid: ${id}\ndata: ${data}\n\n`);
    if (isLast) return this.#end();
    const dueMs = Math.min(this.#number * gapMs, lengthMs);
    const delayMs = Math.max(1, Math.ceil(this.#startedMs + dueMs - this.#clock.now()));
    this.#timer = this.#clock.setTimeout(() => this.#onTick(), delayMs);
    return undefined;
  }

  #write(text: string): void {
    const { response } = this.#exchange;
    const bytes = Buffer.from(text);
    if (!this.#plan.isPacked) {
      response.write(bytes);
      return;
    }
    this.#crc = crc32(bytes, this.#crc);
    this.#plainBytes += bytes.length;
    response.write(deflated(bytes).bytes);
  }

  #end(): void {
    const { response } = this.#exchange;
    response.end(this.#plan.isPacked ? gzipTail(this.#crc, this.#plainBytes) : undefined);
    this.#timer = this.#clock.setTimeout(() => response.destroy(), LINGER_MS);
  }
}
