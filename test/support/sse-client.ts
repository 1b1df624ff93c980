/**
 * Clients that show everything: an event stream over node:http with its raw bytes, its kind of
 * end and a brake that really stops reading the socket. For what node:http will not send or
 * show, raw-client.ts.
 */

import { request } from 'node:http';
import type { ClientRequest, IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders }
  from 'node:http';
import { SseParser } from './sse-parser.ts';
import type { SseEvent } from './sse-parser.ts';
import { within } from './wait.ts';

export { openRaw, rawRequest } from './raw-client.ts';
export type { ClosedBy, RawAnswer, RawSocket } from './raw-client.ts';

export interface StreamOptions {
  /** On top of `accept: text/event-stream`. */
  readonly headers?: OutgoingHttpHeaders;
  readonly method?: string;
  /** Where to call from: 127.0.0.2 is another client address on Linux. */
  readonly localAddress?: string;
  readonly signal?: AbortSignal;
  /** Deadline for the response head. 5 s. */
  readonly headMs?: number;
}

export interface ReceivedEvent extends SseEvent {
  /** `performance.now()` when its last byte was read. */
  readonly at: number;
}

/**
 * `end`: the final chunk came. `aborted`: FIN before it, or this side hung up. `error`: RST, or
 * bytes that are no HTTP. (libuv calls an RST that it finds behind unread bytes a FIN, so a test
 * on a busy machine can rely only on `end` or not `end`.)
 */
export type StreamEnd = 'end' | 'aborted' | 'error';

/** Resolves with the response head, whatever its status; rejects if there is none. */
export function openStream(url: string | URL, options: StreamOptions = {}): Promise<SseStream> {
  const { headers, headMs = 20_000, ...rest } = options;
  const req = request(url, {
    agent: false,
    headers: { accept: 'text/event-stream', ...headers },
    ...rest,
  });
  const opened = new Promise<SseStream>((resolve, reject) => {
    req.once('response', (res) => resolve(new SseStream(req, res, options.signal)));
    req.on('error', reject);
  });
  req.end();
  return within(headMs, `response head of ${String(url)}`, opened).catch((error: unknown) => {
    req.destroy();
    throw error;
  });
}

export class SseStream {
  readonly response: {
    readonly status: number;
    readonly headers: IncomingHttpHeaders;
    readonly httpVersion: string;
  };
  /** All so far; grows. */
  readonly events: ReceivedEvent[] = [];
  /** For {@link assertStreamForm} and the like. */
  readonly parser = new SseParser();
  /** Length of `raw`, without the cost of putting it together. */
  rawBytes = 0;
  readonly ended: Promise<StreamEnd>;

  readonly #req: ClientRequest;
  readonly #res: IncomingMessage;
  readonly #chunks: Buffer[] = [];
  readonly #watchers = new Set<() => void>();
  #end: StreamEnd | undefined;
  #cursor = 0;

  constructor(req: ClientRequest, res: IncomingMessage, signal: AbortSignal | undefined) {
    this.#req = req;
    this.#res = res;
    const { statusCode = 0, headers, httpVersion } = res;
    this.response = { status: statusCode, headers, httpVersion };
    let failed = false;
    req.on('error', () => (failed = signal?.aborted !== true));
    // Always a plain "aborted" here: what happened to the socket, the request says.
    res.on('error', () => undefined);
    res.on('data', (chunk: Buffer) => this.#onData(chunk));
    this.ended = new Promise((resolve) => {
      res.once('close', () => {
        this.#end = this.endedCleanly ? 'end' : failed ? 'error' : 'aborted';
        resolve(this.#end);
        this.#wake();
      });
    });
  }

  /** The final chunk, or all of the content-length, was seen and read. */
  get endedCleanly(): boolean {
    return this.#res.complete && this.#res.readableEnded;
  }

  /** The body so far, chunked coding taken off. */
  get raw(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  /**
   * The first event of that name, or for which `wanted` holds, after the one that `next` gave
   * last (those in between are passed over). Rejects at once when the stream ends without it.
   */
  next(
    wanted: string | ((event: ReceivedEvent) => boolean),
    ms = 20_000,
  ): Promise<ReceivedEvent> {
    const isIt = typeof wanted === 'string'
      ? (event: ReceivedEvent) => event.event === wanted
      : wanted;
    const label = `event ${typeof wanted === 'string' ? wanted : wanted.toString()}`;
    let look = (): void => undefined;
    const found = new Promise<ReceivedEvent>((resolve, reject) => {
      look = () => {
        const event = this.#take(isIt);
        if (event !== undefined) resolve(event);
        else if (this.#end !== undefined) reject(new Error(`${label}: ${this.#story()}`));
        else return;
        this.#watchers.delete(look);
      };
    });
    this.#watchers.add(look);
    look();
    return within(ms, label, found).finally(() => this.#watchers.delete(look));
  }

  /**
   * Stops reading. Up to two high-water marks more (128 KiB) end in this process's own buffers;
   * beyond that the kernel's fill up and the sender feels it.
   */
  pause(): void {
    this.#res.pause();
    this.#res.socket.pause();
  }

  resume(): void {
    this.#res.socket.resume();
    this.#res.resume();
  }

  /** Hangs up. Idempotent. */
  destroy(): void {
    this.#req.destroy();
  }

  #onData(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.rawBytes += chunk.length;
    const at = performance.now();
    const events = this.parser.push(chunk);
    for (const event of events) this.events.push({ ...event, at });
    if (events.length > 0) this.#wake();
  }

  #wake(): void {
    for (const look of [...this.#watchers]) look();
  }

  #take(isIt: (event: ReceivedEvent) => boolean): ReceivedEvent | undefined {
    while (this.#cursor < this.events.length) {
      const event = this.events[this.#cursor++];
      if (event !== undefined && isIt(event)) return event;
    }
    return undefined;
  }

  #story(): string {
    const names = this.events.map((event) => event.event).join(', ');
    return `the stream is over (${this.#end}) after [${names}], status ${this.response.status}`;
  }
}
