/**
 * One client of one run. It holds at most one frame that could not be written yet, and a newer one
 * takes its place: a slow reader skips states, never the end.
 */

import type { Refusal } from '../core/errors.ts';
import { lossFacts, lossFrame } from '../core/frame.ts';
import type { Frame } from '../core/frame.ts';
import type { CloseReason, Follower, FollowerOwner } from './follower.ts';
import type { Client } from './sink.ts';
import { Stream } from './stream.ts';
import type { StreamPolicy } from './stream.ts';
import type { Wheel } from './wheel.ts';

/** The stream of one run. */
export class Subscriber extends Stream implements Follower {
  readonly key: string;
  readonly #owner: FollowerOwner;
  /** The newest that waits for the reader; the last one, once that is chosen. */
  #pending: Frame | undefined;

  constructor(
    key: string, client: Client, policy: StreamPolicy, wheel: Wheel, owner: FollowerOwner,
  ) {
    super(client, policy, wheel);
    this.key = key;
    this.#owner = owner;
  }

  /** The first event: the state, or where the client has that already, a sign of life. */
  start(frame: Frame, lastEventId: string | undefined): void {
    this.writeRetry();
    this.write(frame.id === lastEventId ? this.ping(frame.id) : frame);
    this.reschedule();
  }

  offer(frame: Frame): void {
    if (this.isOpen) this.write(frame);
    else if (this.isFollowing) this.#hold(frame);
  }

  finish(frame: Frame): void {
    if (!this.isFollowing) return;
    this.#hold(frame);
    this.conclude(frame.event);
  }

  lose(runId: string, refusal: Refusal): void {
    this.finish(lossFrame(this.lastId, lossFacts(runId, refusal, this.requestId)));
  }

  protected onClear(): void {
    const frame = this.#pending;
    const isLast = !this.isFollowing;
    this.#pending = undefined;
    if (frame !== undefined) this.write(frame);
    if (isLast) this.end();
  }

  protected onLeave(): void {
    this.#owner.onLeave(this);
  }

  protected onGone(reason: CloseReason): void {
    this.#owner.onClosed(this, reason);
  }

  #hold(frame: Frame): void {
    if (this.#pending !== undefined) this.skip(1);
    this.#pending = frame;
  }
}
