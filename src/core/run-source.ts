/**
 * The one seam between the upstream side and the fan-out side. `hub` and `http` know only this;
 * polling, a worker's IPC and an embedder's own source are three ways to stand behind it.
 */

import type { Refusal } from './errors.ts';
import type { Snapshot } from './execution.ts';
import type { Trace } from './trace.ts';

/** A client's key, with the header it came in, so that it goes upstream the same way. */
export interface ApiKey {
  readonly value: string;
  readonly header: 'x-api-key' | 'authorization';
}

/** Upstream itself has shown this run to this key, and this is the newest state it showed. */
export interface Admitted {
  readonly kind: 'admitted';
  readonly runId: string;
  readonly key: ApiKey;
  readonly snapshot: Snapshot;
  /** Gives back the place that was taken: to be called once the client is gone. Idempotent. */
  readonly leave?: () => void;
}

/** Upstream's no, or why it could not be asked. */
export interface Refused {
  readonly kind: 'refused';
  readonly refusal: Refusal;
}

/** The answer to {@link RunSource.admit}. */
export type Admission = Admitted | Refused;

/**
 * What an admission is for. `follow`: to {@link RunSource.watch} the run. `look`: only for its
 * state, which is then no older than one poll interval, or over; it is not to be watched.
 */
export type Purpose = 'follow' | 'look';

/**
 * Why a key's streams end before the run does. `refused`: upstream no longer shows the run to
 * it, and the client is told so. `moved`: under the same id this key now sees another run than
 * those it shared with, so its clients come back and are placed anew.
 */
export type Loss =
  | { readonly kind: 'refused'; readonly refusal: Refusal }
  | { readonly kind: 'moved' };

/** Who is told of a run; calls come in order and never during a call of the {@link Watch}. */
export interface RunObserver {
  /** The run changed. After a terminal snapshot nothing more comes. */
  onSnapshot(snapshot: Snapshot): void;
  /** `key` is let go of already; others go on. */
  onLost(key: string, loss: Loss): void;
}

/** Interest in one run on behalf of one or more keys. What it throws is only logged. */
export interface Watch {
  /** Another key watches too: it takes its turn in the polls. Holding twice is holding once. */
  hold(admitted: Admitted): void;
  /** Nobody watches with this key any more. */
  release(key: string): void;
  /** No more calls to the observer. Idempotent. */
  stop(): void;
}

/** Where runs come from: polling, or an implementation of your own. */
export interface RunSource {
  /**
   * Asks upstream, or remembers, whether `key` may see `runId`. Never rejects. A source that has
   * no state but the newest may leave `purpose` (default: `follow`) aside. `trace` is of the
   * request that wants to know; of those that wait for the same answer, the first one's counts.
   */
  admit(runId: string, key: ApiKey, purpose?: Purpose, trace?: Trace): Promise<Admission>;
  /**
   * Calls `observer` whenever the run differs from `admitted.snapshot`, never during the call.
   * What it throws ends the request that wanted to watch, and nothing else.
   */
  watch(admitted: Admitted, observer: RunObserver): Watch;
  /** Stops all work; watches fall silent. Idempotent. What it throws is only logged. */
  close(): void;
}

/** Has it what a source has? For those who come without types. */
export function isRunSource(source: unknown): boolean {
  const methods = source as Readonly<Record<string, unknown>> | null;
  return ['admit', 'watch', 'close'].every((name) => typeof methods?.[name] === 'function');
}
