/**
 * Who follows a run in this process: a stream, or a request that waits for the end. To its channel
 * and to the hub they are the same: counted alike, told alike, drained alike.
 */

import type { Refusal } from '../core/errors.ts';
import type { EventName, Frame } from '../core/frame.ts';

/** One client of one run. */
export interface Follower {
  readonly key: string;
  /** A newer state. */
  offer(frame: Frame): void;
  /** The last state. */
  finish(frame: Frame): void;
  /** Its key is no longer shown the run. */
  lose(runId: string, refusal: Refusal): void;
  /** Ends without a verdict: the client is to come back, to whoever serves it then. */
  sendAway(): void;
  /** The process goes down: it is sent away within `windowMs`, at a random moment. */
  drain(windowMs: number): void;
  /** Ends now, however. */
  destroy(): void;
}

/** Why a follower is gone: its last event, or what it would have been; the reader; the client. */
export type CloseReason = EventName | 'slow' | 'client';

/** What a follower tells its channel and its hub. */
export interface FollowerOwner {
  /** It wants no more frames: its last one is chosen, or it is gone. Comes once. */
  onLeave(follower: Follower): void;
  /** Its connection is gone, or free for the next request. Comes once, after `onLeave`. */
  onClosed(follower: Follower, reason: CloseReason): void;
}
