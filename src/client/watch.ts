/**
 * The state of a watch between its connections: what was told, what it is resumed from, when to
 * connect again and when there is nothing more to do.
 */

import type { Clock } from '../core/clock.ts';
import type { SseEvent } from '../core/sse-parser.ts';
import { Connection } from './connection.ts';
import type { End } from './connection.ts';
import { delayMsAfter, isOfTheEnd } from './delay.ts';
import type { Passing } from './delay.ts';
import { WatchError } from './events.ts';
import type { Reconnect, RunEvent, WatchOptions } from './events.ts';
import { isLoss, objectOf, whoseState } from './states.ts';

const IDLE_TIMEOUT_MS = 45_000;
const MAX_EVENT_BYTES = 16 * 1024 ** 2;
/** What any header carries as it is. */
const PLAIN = /^[\x20-\x7e]*$/;

/** One iterator's worth. */
export class Watch {
  readonly #url: URL;
  readonly #options: WatchOptions;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #isSingle: boolean;
  readonly #runIds: readonly string[];
  /** Runs that are not over. */
  readonly #open: Set<string>;
  /** What was told last of each. */
  readonly #told = new Map<string, string>();
  #lastEventId: string;
  /** There was a stream: what is refused from now on was lost. */
  #wasOpen = false;
  #isTimeout = false;
  #failures = 0;
  /** By the clock; the time that its caller takes does not count. */
  #heardAtMs = 0;

  constructor(
    url: URL, runIds: readonly string[], options: WatchOptions, clock: Clock,
    random: () => number,
  ) {
    this.#url = url;
    this.#runIds = runIds;
    this.#open = new Set(runIds);
    this.#isSingle = !url.searchParams.has('runId');
    this.#options = options;
    this.#clock = clock;
    this.#random = random;
    this.#lastEventId = options.lastEventId ?? '';
  }

  async *events(): AsyncGenerator<RunEvent, void, undefined> {
    const { signal } = this.#options;
    this.#heardAtMs = this.#clock.now();
    while (this.#open.size > 0 && signal?.aborted !== true) {
      const connection = this.#connect();
      const end = yield* this.#through(connection);
      if (end.kind === 'over' || end.kind === 'aborted' || this.#open.size === 0) return;
      // Of several runs some may have been over in the state that we resumed from: it is not told
      // again, but the whole last event says that all are.
      if (end.kind === 'ended' && !this.#isSingle && isOfTheEnd(connection.retryMs)) return;
      if (end.kind !== 'denied') {
        await this.#pause(end, connection.retryMs);
        continue;
      }
      const { code, error, requestId } = end;
      if (!this.#wasOpen) throw new WatchError(error, end);
      // What stands before the gateway may answer in its place while that starts again.
      if (!end.isOurs) {
        await this.#pause({ ...end, kind: 'refused', detail: error, retryAfterMs: undefined });
        continue;
      }
      for (const runId of this.#open) {
        const id = this.#lastEventId;
        yield { type: 'lost', runId, id, code, errorMessage: error, requestId };
      }
      return;
    }
  }

  #connect(): Connection {
    const { apiKey, signal, idleTimeoutMs, maxEventBytes, onOpen } = this.#options;
    const headers: Record<string, string> = { accept: 'text/event-stream' };
    if (apiKey !== undefined) headers['x-api-key'] = plain(apiKey);
    // A header of one's own costs a preflight across origins; with a key there is one anyway.
    const isInUrl = apiKey === undefined;
    // What a header cannot carry `fetch` refuses: better begun anew than never again.
    const lastEventId = isInUrl || PLAIN.test(this.#lastEventId) ? this.#lastEventId : '';
    if (!isInUrl && lastEventId !== '') headers['last-event-id'] = lastEventId;
    return new Connection({
      url: () => this.#address(isInUrl ? lastEventId : ''), headers, signal, clock: this.#clock,
      idleTimeoutMs: idleTimeoutMs ?? IDLE_TIMEOUT_MS,
      maxEventBytes: maxEventBytes ?? MAX_EVENT_BYTES,
      onOpen: (requestId) => {
        this.#wasOpen = true;
        onOpen?.({ lastEventId, requestId });
      },
    });
  }

  async #address(lastEventId: string): Promise<URL> {
    const { ticket } = this.#options;
    const url = new URL(this.#url);
    const tickets = typeof ticket === 'function' ? await ticket() : ticket ?? [];
    for (const each of [tickets].flat()) url.searchParams.append('ticket', each);
    if (lastEventId !== '') url.searchParams.set('lastEventId', lastEventId);
    return url;
  }

  /** Everything that one connection tells, and how it ended. */
  async *#through(connection: Connection): AsyncGenerator<RunEvent, End | Passing, undefined> {
    this.#failures++;
    this.#isTimeout = false;
    const events = connection.events();
    try {
      for (;;) {
        const part = await events.next();
        if (part.done === true) {
          return this.#isTimeout ? { kind: 'timeout', detail: 'the stream was old' } : part.value;
        }
        const told = this.#hear(part.value);
        if (told === 'broken') return { kind: 'broken', detail: 'an event is no JSON of a run' };
        // Of what has come already nothing is told to whoever wants no more.
        if (this.#options.signal?.aborted === true) return { kind: 'aborted' };
        if (told !== undefined) yield told;
        this.#heardAtMs = this.#clock.now();
        if (this.#open.size === 0) return { kind: 'over' };
      }
    } finally {
      await events.return({ kind: 'aborted' });
    }
  }

  /** What is to be told of an event, if anything. */
  #hear(event: SseEvent): RunEvent | 'broken' | undefined {
    const { type, data: json, id } = event;
    const isState = type === 'progress' || type === 'complete' || type === 'error';
    const data = isState ? objectOf(json) : undefined;
    if (isState && data === undefined) return 'broken';
    this.#failures = 0;
    if (type === 'ping') this.#options.onPing?.(Number(json));
    if (type === 'timeout') this.#isTimeout = true;
    if (!isState || data === undefined) return undefined;
    const named = data['runId'];
    const runId = whoseState(this.#runIds, this.#lastEventId, id, named);
    this.#lastEventId = id;
    if (runId === undefined || !this.#open.has(runId)) return undefined;
    const told = this.#isSingle && typeof named === 'string' ? named : runId;
    if (type !== 'progress') this.#open.delete(runId);
    // Not sent again where ids are understood; and where they are not, not told again.
    const { told: before, now } = { told: this.#told.get(runId), now: type + json };
    this.#told.set(runId, now);
    if (before === now) return undefined;
    if (type === 'error' && isLoss(data)) {
      const { code, errorMessage, requestId } = data;
      return { type: 'lost', runId: told, id, code, errorMessage, requestId };
    }
    return { type, runId: told, id, data, json };
  }

  /** Until the next try; throws if that comes too late. */
  async #pause(end: Passing, retryMs?: number): Promise<void> {
    const { giveUpAfterMs = Infinity, onReconnect, signal } = this.#options;
    const { kind: reason, detail } = end;
    const status = end.kind === 'refused' ? end.status : undefined;
    const delayMs = delayMsAfter(end, retryMs, this.#failures, this.#random);
    if (this.#clock.now() + delayMs - this.#heardAtMs > giveUpAfterMs) {
      throw new WatchError(`Gave up: ${detail}`, { code: 'GAVE_UP', status: status ?? 0 });
    }
    const reconnect: Reconnect = {
      reason, detail, failures: this.#failures, delayMs, lastEventId: this.#lastEventId,
    };
    onReconnect?.(status === undefined ? reconnect : { ...reconnect, status });
    await this.#sleep(delayMs, signal);
  }

  #sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted === true) return resolve();
      const onAbort = (): void => {
        this.#clock.clearTimeout(timer);
        resolve();
      };
      const timer = this.#clock.setTimeout(() => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      }, ms);
      signal?.addEventListener('abort', onAbort);
    });
  }
}

/** Whatever the engine would say of a key that is none repeats it. */
function plain(apiKey: string): string {
  if (PLAIN.test(apiKey)) return apiKey;
  throw new WatchError('The API key is not valid', { code: 'AUTH_INVALID_KEY' });
}
