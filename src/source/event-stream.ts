/**
 * What an event stream of the run API says, as values: the head, then its events. Pure but for
 * the one it tells; who opens the stream, and what follows from it, is known elsewhere.
 */

import { parseExecution } from '../core/execution.ts';
import type { StatusMapping } from '../core/execution.ts';
import type { ApiKey } from '../core/run-source.ts';
import { SseParser } from '../core/sse-parser.ts';
import type { SseEvent } from '../core/sse-parser.ts';
import { isNoRoute, readAnswer, trouble } from './answer.ts';
import type { Answer, Question, Trouble } from './answer.ts';
import type { Exchange } from './exchange.ts';

/** How a stream comes to its end. */
export type StreamEnd =
  /** As it should: whoever wants more comes back. */
  | { readonly kind: 'away' }
  /** The state that was known is the last one. */
  | { readonly kind: 'over' }
  /** Refused: is it the key, the run, or are there no streams? Only a plain answer tells. */
  | { readonly kind: 'unclear' }
  | Trouble;

/** A sign of life, with what it says of the run if it says anything; or the end. */
export type StreamNews =
  | { readonly kind: 'event'; readonly answer: Answer | undefined }
  | { readonly kind: 'end'; readonly end: StreamEnd };

/** Whose stream of what it is. */
export interface StreamQuestion {
  readonly runId: string;
  readonly key: ApiKey;
  readonly mapping: StatusMapping;
  readonly wallNow: number;
  /** Of one state; a larger one breaks the stream. */
  readonly maxBodyBytes: number;
}

/** Field names, type and id of an event come on top of its data. */
const OVERHEAD_BYTES = 4096;
/** A longer `retry:` is taken for a mistake and cut to it, as with `Retry-After`. */
const MAX_RETRY_MS = 3_600_000;

/** Of an `error` event without a state: what upstream would have answered. Any other code: 403. */
const STATUS_OF: Readonly<Record<string, number>> = {
  AUTH_MISSING_KEY: 401, AUTH_INVALID_KEY: 401, NOT_FOUND: 404,
};

/** Reads one stream. After the end it tells nothing. */
export class EventStream {
  readonly #question: Question;
  readonly #parser: SseParser;
  readonly #tell: (news: StreamNews) => void;
  /** What a gateway refused in a stream says in its head. */
  #refusedAs: string | undefined;
  #hasEvents = false;
  #isOver = false;

  constructor(question: StreamQuestion, tell: (news: StreamNews) => void) {
    this.#question = { ...question, known: undefined };
    this.#parser = new SseParser(question.maxBodyBytes + OVERHEAD_BYTES);
    this.#tell = tell;
  }

  /** Nothing more is told. */
  stop(): void {
    this.#isOver = true;
  }

  onHead(head: Exchange): void {
    if (head.kind === 'answer' && head.status === 200) return this.#onOpen(head.headers);
    if (head.kind === 'answer' && head.status === 204) return this.#end({ kind: 'over' });
    const answer = readAnswer(head, this.#question);
    const isUnclear = answer.kind !== 'trouble' || isNoRoute(answer);
    return this.#end(isUnclear ? { kind: 'unclear' } : answer);
  }

  onBytes(bytes: Uint8Array): void {
    for (const event of this.#parser.push(bytes)) {
      if (!this.#isOver) this.#onEvent(event);
    }
    const { broken } = this.#parser;
    if (broken !== undefined) this.#end(nonsense(broken));
  }

  onEnd(why: string | undefined): void {
    if (why === undefined && this.#hasEvents) return this.#end({ kind: 'away' });
    return this.#end(trouble('UPSTREAM_UNAVAILABLE', why ?? 'a stream without an event'));
  }

  #onOpen(headers: Extract<Exchange, { kind: 'answer' }>['headers']): void {
    const { 'content-type': type = '', 'content-encoding': coding = 'identity' } = headers;
    if (!/^text\/event-stream\s*(?:;|$)/i.test(type)) return this.#end({ kind: 'unclear' });
    if (coding !== 'identity') return this.#end(nonsense(`encoded as ${coding}`));
    const refusedAs = headers['x-runcast-refused'];
    if (refusedAs === undefined) return undefined;
    // It is logged, so it may be no more than what it should be.
    this.#refusedAs = /^\d{3} [A-Z_]{1,64}$/.exec(String(refusedAs))?.[0] ?? 'without a reason';
    return undefined;
  }

  #onEvent(event: SseEvent): void {
    this.#hasEvents = true;
    if (this.#refusedAs !== undefined) return this.#onRefused(this.#refusedAs);
    switch (event.type) {
      case 'progress': case 'complete': case 'error': {
        const answer = readEvent(event, this.#question);
        if (answer.kind === 'trouble') return this.#end(answer);
        return this.#tell({ kind: 'event', answer });
      }
      case 'timeout':
        return this.#end({ kind: 'away' });
      default:
        return this.#tell({ kind: 'event', answer: undefined });
    }
  }

  #onRefused(refusedAs: string): void {
    const { retryMs } = this.#parser;
    const again = retryMs === undefined ? {} : { retryAfterMs: Math.min(retryMs, MAX_RETRY_MS) };
    this.#end(trouble('UPSTREAM_UNAVAILABLE', `stream refused: ${refusedAs}`, again));
  }

  #end(end: StreamEnd): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#tell({ kind: 'end', end });
  }
}

const nonsense = (why: string): Trouble => trouble('UPSTREAM_INVALID', why);

/** A state; or the refusal of the key, in the words of its event. */
function readEvent({ type, data }: SseEvent, question: Question): Answer {
  const body = Buffer.from(data);
  const parsed = parseExecution(question.runId, body, question.mapping, 'event');
  if (parsed.kind === 'snapshot') {
    return { kind: 'state', reading: { bodyDigest: undefined, snapshot: parsed.snapshot } };
  }
  const code = type === 'error' ? finalCode(data) : undefined;
  if (code === undefined) return nonsense(parsed.why);
  const status = (Object.hasOwn(STATUS_OF, code) ? STATUS_OF[code] : undefined) ?? 403;
  return readAnswer({ kind: 'answer', status, headers: {}, body }, question);
}

/** Of an error that trying again does not mend. */
function finalCode(data: string): string | undefined {
  try {
    const value: unknown = JSON.parse(data);
    if (typeof value !== 'object' || value === null) return undefined;
    const { code, retryable }: { code?: unknown; retryable?: unknown } = value;
    return typeof code === 'string' && retryable === false ? code : undefined;
  } catch {
    return undefined;
  }
}
