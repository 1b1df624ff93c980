/**
 * One request for a stream, from its head to whatever ends it. What came of it is a value; when
 * to try again is not known here. `fetch` and the parser are all it needs: Node and browsers.
 */

import { parseRetryAfter } from '../core/backoff.ts';
import type { Clock, Timer } from '../core/clock.ts';
import { reasonOf } from '../core/reason.ts';
import { SseParser } from '../core/sse-parser.ts';
import type { SseEvent } from '../core/sse-parser.ts';

/** How a connection came to its end. */
export type End =
  | { readonly kind: 'ended' | 'broken' | 'silent' | 'unreachable'; readonly detail: string }
  /** For now. */
  | {
    readonly kind: 'refused'; readonly detail: string; readonly status: number;
    /** When to come back, as a header said; a stream says it by its `retry`. */
    readonly retryAfterMs: number | undefined;
  }
  /** For good. `isOurs`: in the gateway's words, not in those of what stands before it. */
  | {
    readonly kind: 'denied'; readonly code: string; readonly error: string;
    readonly status: number; readonly requestId: string; readonly isOurs: boolean;
  }
  /** 204: there is nothing that the client does not have, and nothing will come. */
  | { readonly kind: 'over' }
  /** The caller wanted no more. */
  | { readonly kind: 'aborted' };

/** What to ask for, and how much patience there is. */
export interface ConnectionOptions {
  /** Is asked once. Where it rejects there is no connection: what goes into it is a ticket. */
  readonly url: () => Promise<URL>;
  readonly headers: Readonly<Record<string, string>>;
  readonly idleTimeoutMs: number;
  readonly maxEventBytes: number;
  readonly clock: Clock;
  readonly signal: AbortSignal | undefined;
  /** Told once there is a stream. */
  readonly onOpen: (requestId: string) => void;
}

/** Beyond it an error's body is cut off. */
const MAX_ERROR_BYTES = 65_536;

/** A status that says no for now. */
const isPassing = (status: number): boolean =>
  status >= 500 || status === 408 || status === 425 || status === 429;

/** A refusal that is told as a stream, since an EventSource never returns from any other. */
const REFUSED = /^(\d{3})(?: (\w+))?$/;

/** One connection. */
export class Connection {
  readonly #options: ConnectionOptions;
  readonly #abort = new AbortController();
  #isSilent = false;
  #retryMs: number | undefined;

  constructor(options: ConnectionOptions) {
    this.#options = options;
  }

  /** What the stream said of when to come back. */
  get retryMs(): number | undefined {
    return this.#retryMs;
  }

  /** The events of the stream. The connection is closed however this is left. */
  async *events(): AsyncGenerator<SseEvent, End, undefined> {
    const { signal } = this.#options;
    const onAbort = (): void => this.#abort.abort();
    if (signal?.aborted === true) return { kind: 'aborted' };
    signal?.addEventListener('abort', onAbort);
    try {
      const response = await this.#fetch();
      return 'kind' in response ? response : yield* this.#answered(response);
    } finally {
      signal?.removeEventListener('abort', onAbort);
      this.#abort.abort();
    }
  }

  async #fetch(): Promise<Response | End> {
    const { url: ask, headers } = this.#options;
    const { signal } = this.#abort;
    // A redirect is not followed: it would carry the key to wherever it leads.
    const request = { headers, signal, cache: 'no-store', redirect: 'manual' } as const;
    let url: URL;
    try {
      url = await this.#patiently(() => untilAborted(signal, ask));
    } catch {
      // In whose words nobody knows: they may hold a URL.
      return this.#failed('unreachable', new Error('no ticket'));
    }
    try {
      return await this.#patiently(() => fetch(url, request));
    } catch (error) {
      return this.#failed('unreachable', error);
    }
  }

  async *#answered(response: Response): AsyncGenerator<SseEvent, End, undefined> {
    const { status, type, headers, body } = response;
    if (status === 204) return { kind: 'over' };
    const requestId = headers.get('x-request-id') ?? '';
    const denied = { kind: 'denied', status, requestId, isOurs: false } as const;
    if (type === 'opaqueredirect' || (status >= 300 && status < 400)) {
      const error = 'The answer is a redirect: give the URL that it leads to';
      return { ...denied, code: 'REDIRECTED', error };
    }
    if (status !== 200) return this.#refused(response, requestId);
    if (body === null || !/^text\/event-stream\b/i.test(headers.get('content-type') ?? '')) {
      return { ...denied, code: 'NOT_A_STREAM', error: 'What answers there is no event stream' };
    }
    const [, refusedStatus, code = ''] = REFUSED.exec(headers.get('x-runcast-refused') ?? '') ?? [];
    if (refusedStatus === undefined) {
      this.#options.onOpen(requestId);
      return yield* this.#read(body);
    }
    // What it sends is for an EventSource, but for the time to come back.
    const reading = this.#read(body);
    let part = await reading.next();
    while (part.done !== true) part = await reading.next();
    if (part.value.kind === 'aborted') return part.value;
    const refused = { status: Number(refusedStatus), retryAfterMs: undefined };
    return { kind: 'refused', detail: `${refusedStatus} ${code}`.trim(), ...refused };
  }

  async #refused(response: Response, requestId: string): Promise<End> {
    const { status, headers } = response;
    const body = await this.#envelope(response);
    const { code, error } = body;
    const said = typeof error === 'string' ? error : `HTTP status ${status}`;
    if (isPassing(status)) {
      const { clock } = this.#options;
      const [value, date] = ['retry-after', 'date'].map((name) => headers.get(name) ?? undefined);
      const retryAfterMs = parseRetryAfter(value, date, clock.wallNow());
      return { kind: 'refused', detail: `${status}: ${said}`, status, retryAfterMs };
    }
    const isOurs = typeof code === 'string';
    const theirId = typeof body['requestId'] === 'string' ? body['requestId'] : requestId;
    const facts = { status, error: said, requestId: theirId, isOurs };
    return { kind: 'denied', code: isOurs ? code : `HTTP_${status}`, ...facts };
  }

  async #envelope({ body }: Response): Promise<Readonly<Record<string, unknown>>> {
    const decoder = new TextDecoder();
    let text = '';
    try {
      const reader = body?.getReader();
      let part = await this.#patiently(async () => reader?.read());
      while (part?.value !== undefined && text.length < MAX_ERROR_BYTES) {
        text += decoder.decode(part.value, { stream: true });
        part = await this.#patiently(async () => reader?.read());
      }
      const value: unknown = JSON.parse(text);
      return typeof value === 'object' && value !== null ? { ...value } : {};
    } catch {
      return {};
    }
  }

  async *#read(body: ReadableStream<Uint8Array>): AsyncGenerator<SseEvent, End, undefined> {
    const { maxEventBytes } = this.#options;
    const parser = new SseParser(maxEventBytes);
    const reader = body.getReader();
    try {
      for (;;) {
        const part = await this.#patiently(() => reader.read());
        if (part.done) break;
        // Not to be changed under the parser, which keeps what is unfinished.
        const events = parser.push(part.value);
        this.#retryMs = parser.retryMs;
        yield* events;
        if (parser.broken !== undefined) return { kind: 'broken', detail: parser.broken };
      }
    } catch (error) {
      return this.#failed('broken', error);
    }
    // Node's fetch takes a connection that is cut for the end, where it is good for one answer.
    if (parser.isWithinEvent) return { kind: 'broken', detail: 'the stream ended in an event' };
    return { kind: 'ended', detail: 'the stream ended before the run' };
  }

  /** Time counts only while we wait: a slow caller is not a dead connection. */
  async #patiently<T>(next: () => Promise<T>): Promise<T> {
    const { clock, idleTimeoutMs } = this.#options;
    const timer: Timer = clock.setTimeout(() => {
      this.#isSilent = true;
      this.#abort.abort();
    }, idleTimeoutMs);
    try {
      return await next();
    } finally {
      clock.clearTimeout(timer);
    }
  }

  #failed(kind: 'unreachable' | 'broken', error: unknown): End {
    const { signal, idleTimeoutMs } = this.#options;
    if (signal?.aborted === true) return { kind: 'aborted' };
    if (this.#isSilent) {
      return { kind: 'silent', detail: `nothing came for ${Math.round(idleTimeoutMs / 1000)} s` };
    }
    return { kind, detail: reasonOf(error) };
  }
}

/** As `ask` has it, unless that takes too long. */
function untilAborted<T>(signal: AbortSignal, ask: () => Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(new Error('aborted')));
    ask().then(resolve, reject);
  });
}
