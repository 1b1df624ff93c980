/**
 * What a watcher is told: the events of runs as a union, what it may ask for, and the one error
 * that says why nothing more can be told. No Node and no DOM in here: both run it.
 */

/** What upstream says of a run. These fields are usual; any other is passed on as it came. */
export interface RunState {
  readonly runId?: string;
  /** `queued`, `running`, `completed`, `failed`, `cancelled`; others are progress. */
  readonly status?: string;
  readonly outputs?: readonly RunOutput[];
  readonly errorMessage?: string | null;
  readonly createdAt?: string | null;
  readonly startedAt?: string | null;
  readonly completedAt?: string | null;
  readonly progress?: RunProgress | null;
  readonly [field: string]: unknown;
}

/** One node's result. Its value is upstream's text: never to be taken for HTML. */
export interface RunOutput {
  readonly id?: string;
  readonly label?: string;
  /** `pending` until it is known, then `image`, `video`, `text`. */
  readonly type?: string;
  /** `pending`, `completed` or `error`. */
  readonly status?: string;
  readonly value?: unknown;
  readonly error?: string | null;
  readonly [field: string]: unknown;
}

/** How far a run is. */
export interface RunProgress {
  readonly totalOutputs?: number;
  readonly completedOutputs?: number;
  readonly failedOutputs?: number;
  /** 0 to 100. */
  readonly percentComplete?: number | null;
  readonly [field: string]: unknown;
}

/** The run's outputs, whatever upstream put there. */
export function outputsOf(state: RunState | undefined): readonly RunOutput[] {
  const all: unknown = state?.outputs;
  if (!Array.isArray(all)) return [];
  return all.filter((each): each is RunOutput => typeof each === 'object' && each !== null);
}

interface Told<Type extends string> {
  readonly type: Type;
  /** The one asked for; of `watchRun` the run's own, where it states one. */
  readonly runId: string;
  /** Names the state. With several runs on one connection it names the states of all. */
  readonly id: string;
}

/** A state of a run, whole: whoever has missed others has missed nothing. */
export interface StateEvent<Type extends string> extends Told<Type> {
  readonly data: RunState;
  /** The same as it came, for what a number in JavaScript would round. */
  readonly json: string;
}

/** It changed. */
export type ProgressEvent = StateEvent<'progress'>;
/** It has succeeded, and nothing follows. */
export type CompleteEvent = StateEvent<'complete'>;
/** It has failed or was cancelled, and nothing follows. */
export type ErrorEvent = StateEvent<'error'>;

/**
 * Access was lost, or the run is gone: how it went on with it nobody can tell here. Nothing
 * follows for this run.
 */
export interface LostEvent extends Told<'lost'> {
  /** `AUTH_INVALID_KEY`, `FORBIDDEN`, `NOT_FOUND` and the like. */
  readonly code: string;
  /** One sentence for people. */
  readonly errorMessage: string;
  /** To be found in the gateway's log; empty where it is not known. */
  readonly requestId: string;
}

/** What the iterators of `watchRun` and `watchRuns` give. */
export type RunEvent = ProgressEvent | CompleteEvent | ErrorEvent | LostEvent;

/** A stream that was opened. */
export interface Opened {
  /** What it was resumed from; empty at the first. */
  readonly lastEventId: string;
  /** The gateway's name for the request; empty where it is not told (or not across origins). */
  readonly requestId: string;
}

/** Why a stream is over and opened again, and when. */
export interface Reconnect {
  /**
   * `ended`: behind a whole event, before the run did: as it should, or cut there, which Node's
   * `fetch` does not tell apart where an answer has `connection: close`. `timeout`: it was old.
   * `broken`: cut, or not what a stream must be. `silent`: nothing came for the idle time.
   * `refused`: for now, see `status`. `unreachable`: nobody answered.
   */
  readonly reason: 'ended' | 'timeout' | 'broken' | 'silent' | 'refused' | 'unreachable';
  /** One line for people; holds neither key nor ticket. */
  readonly detail: string;
  /** Of a refusal: 429, 503 and the like. */
  readonly status?: number;
  /** Tries in a row that came to nothing; 0 after a stream that lived. */
  readonly failures: number;
  /** Until the next try. */
  readonly delayMs: number;
  /** What it will be resumed from. */
  readonly lastEventId: string;
}

/** How runs are watched. */
export interface WatchOptions {
  /** Sent as `x-api-key`, to the URL's own origin only. */
  readonly apiKey?: string;
  /**
   * In place of a key, sent in the URL; a function is asked at every connection, and again later
   * where it rejects or takes longer than `idleTimeoutMs`. Of several runs one for each, in their
   * order.
   */
  readonly ticket?: Ticket | (() => Ticket | Promise<Ticket>);
  /** Ends the iterator without an error and closes the connection. */
  readonly signal?: AbortSignal;
  /** Where an earlier watcher had got to: a state that is still the same is not told again. */
  readonly lastEventId?: string;
  /** A stream without a byte for this long is dead (default 45 s: three pings of the gateway). */
  readonly idleTimeoutMs?: number;
  /** Throws when nothing was heard for this long (default: it never gives up). */
  readonly giveUpAfterMs?: number;
  /** At most so large an event (default 16 MiB); a larger one breaks the stream. */
  readonly maxEventBytes?: number;
  /** These are told what events do not tell. They must not throw. */
  readonly onOpen?: (opened: Opened) => void;
  readonly onReconnect?: (reconnect: Reconnect) => void;
  /** A sign of life; `unixSeconds` is the gateway's clock. */
  readonly onPing?: (unixSeconds: number) => void;
}

/** One for a run, or a list of one for each. */
export type Ticket = string | readonly string[];

/** Why a run cannot be followed at all. A run that has failed is an event, not this. */
export class WatchError extends Error {
  override readonly name = 'WatchError';
  /**
   * The gateway's (`AUTH_INVALID_KEY`, `NOT_FOUND`, …), or `NOT_A_STREAM`: something else answers
   * there; `REDIRECTED`: a key is not carried elsewhere; `GAVE_UP`: see `giveUpAfterMs`.
   */
  readonly code: string;
  /** Of the answer; 0 where there was none. */
  readonly status: number;
  /** To be found in the gateway's log; empty where it is not known. */
  readonly requestId: string;

  constructor(message: string, { code, status = 0, requestId = '' }: WatchErrorFacts) {
    super(message);
    this.code = code;
    this.status = status;
    this.requestId = requestId;
  }
}

/** What a {@link WatchError} says beside its message. */
export interface WatchErrorFacts {
  readonly code: string;
  readonly status?: number;
  readonly requestId?: string;
}
