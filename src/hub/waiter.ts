/**
 * A request that waits for the end of a run. It follows the run's channel as a stream does and is
 * answered once: with the end, with what is current when its time is up, or with a refusal.
 */

import { refuse } from '../core/errors.ts';
import type { Refusal } from '../core/errors.ts';
import type { Snapshot } from '../core/execution.ts';
import type { Clock } from '../core/clock.ts';
import type { Frame } from '../core/frame.ts';
import type { CloseReason, Follower, FollowerOwner } from './follower.ts';
import type { Sleeper, Wheel } from './wheel.ts';

/** What becomes of a wait. */
export type Outcome =
  | { readonly kind: 'over' | 'timeout'; readonly snapshot: Snapshot }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

/** Who waits. */
export interface WaitingClient {
  /** When its time is up (monotonic ms). */
  readonly until: number;
  /** Called once, unless the client is gone before. */
  answer(outcome: Outcome): void;
}

/** What a waiter needs of its surroundings. */
export interface WaiterParts {
  readonly clock: Clock;
  readonly random: () => number;
  readonly wheel: Wheel;
  readonly owner: FollowerOwner;
  /** The newest state of the run. */
  readonly newest: () => Snapshot;
}

const MOVED = refuse('RESOURCE_UNAVAILABLE', { error: 'The run is another one now: ask again' });
const DRAINED = refuse('RESOURCE_UNAVAILABLE', { error: 'The gateway is shutting down' });

/** One wait. */
export class Waiter implements Follower, Sleeper {
  readonly key: string;
  slot = -1;
  readonly #client: WaitingClient;
  readonly #parts: WaiterParts;
  #state: 'waiting' | 'draining' | 'done' = 'waiting';

  constructor(key: string, client: WaitingClient, parts: WaiterParts) {
    this.key = key;
    this.#client = client;
    this.#parts = parts;
    parts.wheel.schedule(this, client.until);
  }

  /** What is current is looked up when the time is up. */
  offer(_frame: Frame): void {}

  finish(frame: Frame): void {
    this.#end(frame.event, { kind: 'over', snapshot: this.#parts.newest() });
  }

  lose(_runId: string, refusal: Refusal): void {
    this.#end('error', { kind: 'refused', refusal });
  }

  sendAway(): void {
    const refusal = this.#state === 'draining' ? DRAINED : MOVED;
    this.#end('ping', { kind: 'refused', refusal });
  }

  drain(windowMs: number): void {
    if (this.#state !== 'waiting') return;
    const { clock, random, wheel } = this.#parts;
    this.#state = 'draining';
    const drainedAt = clock.now() + random() * windowMs;
    if (drainedAt < this.#client.until) wheel.schedule(this, drainedAt);
  }

  destroy(): void {
    this.#end('ping', { kind: 'refused', refusal: DRAINED });
  }

  /** The client is gone. */
  onClose(): void {
    this.#end('client');
  }

  onWake(now: number): void {
    if (now < this.#client.until) this.sendAway();
    else this.#end('timeout', { kind: 'timeout', snapshot: this.#parts.newest() });
  }

  #end(reason: CloseReason, outcome?: Outcome): void {
    if (this.#state === 'done') return;
    this.#state = 'done';
    const { wheel, owner } = this.#parts;
    wheel.cancel(this);
    owner.onLeave(this);
    if (outcome !== undefined) this.#client.answer(outcome);
    owner.onClosed(this, reason);
  }
}
