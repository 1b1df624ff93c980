/**
 * Events into bytes, by pure functions. A frame is made once per change and the same buffer goes
 * to every socket. LF only, `name: value`, one `data` line, an `id` on each and no comments:
 * some clients turn a comment with a blank line into an event. (WHATWG HTML, 9.2.5 and 9.2.6.)
 */

import type { Snapshot } from './execution.ts';
import { Piece } from './piece.ts';

/** The events of a stream; there are no others. */
export type EventName = 'progress' | 'complete' | 'error' | 'timeout' | 'ping';

/** One event, ready to be written. */
export class Frame extends Piece {
  readonly event: EventName;
  /** What a client will send back as `Last-Event-ID`. */
  readonly id: string;

  constructor(event: EventName, id: string, data: string, retryMs?: number) {
    const retry = retryMs === undefined ? '' : `retry: ${retryMs}\n`;
    super(`${retry}event: ${event}\nid: ${id}\ndata: ${data}\n\n`);
    this.event = event;
    this.id = id;
  }
}

/** A day: an EventSource that comes back after the end does so once, and then it gets a 204. */
export const TERMINAL_RETRY_MS = 86_400_000;

/** The id of an event that is sent before any state was. */
export const NO_ID = 'none';

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
