/**
 * Events into bytes, by pure functions. A frame is made once per change and the same buffer goes
 * to every socket. LF only, `name: value`, one `data` line, an `id` on each and no comments:
 * some clients turn a comment with a blank line into an event. (WHATWG HTML, 9.2.5 and 9.2.6.)
 */

import type { Refusal } from './errors.ts';
import type { Snapshot } from './execution.ts';
import { Piece } from './piece.ts';

/** The events of a stream; there are no others. */
export type EventName = 'progress' | 'complete' | 'error' | 'timeout' | 'ping';

const DATA = '\ndata: ';

/** One event, ready to be written. */
export class Frame extends Piece {
  readonly event: EventName;
  /** What a client will send back as `Last-Event-ID`. */
  readonly id: string;
  #body: Piece | undefined;

  /** With `retryMs`: the client is to come back after that time. */
  constructor(event: EventName, id: string, data: string, retryMs?: number) {
    // Behind the data: a stream that is cut in a last event must not have its client wait a day.
    const retry = retryMs === undefined ? '' : `retry: ${retryMs}\n`;
    super(`event: ${event}\nid: ${id}\ndata: ${data}\n${retry}\n`);
    this.event = event;
    this.id = id;
  }

  /**
   * Without `id` and `retry`, to be put behind an {@link idLine}: shared by all streams whose ids
   * are their own. Made when it is first asked for.
   */
  get body(): Piece {
    return this.#body ??= new Piece(`event: ${this.event}\ndata: ${this.#data}\n\n`);
  }

  /** The same under another id, as the last event of a stream. */
  asLast(id: string): Frame {
    return new Frame(this.event, id, this.#data, TERMINAL_RETRY_MS);
  }

  get #data(): string {
    const { bytes } = this;
    const from = bytes.indexOf(DATA) + DATA.length;
    return bytes.toString('utf8', from, bytes.indexOf('\n', from));
  }
}

/** A day: an EventSource that comes back after the end does so once, and then it gets a 204. */
export const TERMINAL_RETRY_MS = 86_400_000;

/** `progress`, `complete` or `error` with the whole state. */
export function stateFrame(snapshot: Snapshot): Frame {
  const { terminal, id, data } = snapshot;
  return terminal === undefined
    ? new Frame('progress', id, data)
    : new Frame(terminal, id, data, TERMINAL_RETRY_MS);
}

/** The heartbeat: Unix time in whole seconds. */
export function pingFrame(id: string, wallMs: number, retryMs?: number): Frame {
  return new Frame('ping', id, String(Math.floor(wallMs / 1000)), retryMs);
}

/** The stream has had its time; the client comes back after the `retry:` it was given first. */
export function timeoutFrame(id: string, streamTimeoutMs: number): Frame {
  const message = `Stream timeout after ${describeMs(streamTimeoutMs)}`;
  return new Frame('timeout', id, JSON.stringify({ message }));
}

/** The client's key lost access, or the run is gone: final, and not worth a reconnect. */
export function lossFrame(id: string, data: Readonly<Record<string, unknown>>): Frame {
  return new Frame('error', id, JSON.stringify(data), TERMINAL_RETRY_MS);
}

/** What such an event says. */
export function lossFacts(
  runId: string, { error, code }: Refusal, requestId: string,
): Readonly<Record<string, unknown>> {
  return { runId, errorMessage: error, error, code, retryable: false, requestId };
}

/** Begins an event that goes on with a {@link Frame.body}. */
export function idLine(id: string, retryMs?: number): Piece {
  return new Piece(`${retryMs === undefined ? '' : `retry: ${retryMs}\n`}id: ${id}\n`);
}

/** To be put in front of a stream's first frame: the event it belongs to is not over yet. */
export function retryLine(retryMs: number): Piece {
  return new Piece(`retry: ${retryMs}\n`);
}

/** `600000` → `10 minutes`: in the largest unit that leaves no rest. */
function describeMs(ms: number): string {
  const units = [['hour', 3_600_000], ['minute', 60_000], ['second', 1000]] as const;
  for (const [unit, size] of units) {
    if (ms % size === 0) return `${ms / size} ${unit}${ms === size ? '' : 's'}`;
  }
  return `${ms} ms`;
}
