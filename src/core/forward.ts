/**
 * The seams for requests that are none of ours and go to upstream as they came. Who sends them is
 * behind {@link Forwarder}; the place that each takes in the one budget is behind {@link Toll},
 * which in a worker is the primary's.
 */

import type { IncomingHttpHeaders } from 'node:http';
import type { Readable } from 'node:stream';

import type { Refusal } from './errors.ts';

/** What a client asks of upstream. */
export interface Forward {
  readonly method: string;
  /** Path and query as they were sent, below upstream's base path. */
  readonly target: string;
  /** Names and values in turn; those of the client's own hop are gone already. */
  readonly headers: readonly string[];
  /** Undefined: there is none. */
  readonly body: Readable | undefined;
}

/** What upstream says to it. */
export interface Forwarded {
  readonly status: number;
  /** Names and values in turn; those of upstream's own hop are gone already. */
  readonly headers: readonly string[];
  readonly body: Readable;
}

/** Sends requests to upstream. */
export interface Forwarder {
  /** Never rejects. Once `signal` is aborted nothing goes on, and nobody reads the answer. */
  send(forward: Forward, signal: AbortSignal): Promise<Forwarded | Refusal>;
  /** Requests under way fail, and so do later ones. */
  close(): void;
}

/** What an answer says of upstream's limit. */
export interface Settled {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
}

/** Gives a place back, once: with the answer's head, or without where there came none. */
export type Pass = (settled?: Settled) => void;

/** The one budget, for a request whose client waits. */
export interface Toll {
  /** A place, now or within 5 s; or why there is none. Never rejects. */
  enter(): Promise<Pass | Refusal>;
}
