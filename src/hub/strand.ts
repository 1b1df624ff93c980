/**
 * One run of a bundle: follows the run's channel, and asks for it again, later and later, while it
 * cannot be had. What there is to tell its bundle tells.
 *
 *     asking ──admitted──▶ live ──end, loss──▶ over
 *      │  ▲                 │                   ▲
 *      ▼  └──────┐         moved                │
 *     waiting ◀──┴──────────┘       refused for good, or the bundle ends
 */

import { backoffMs } from '../core/backoff.ts';
import type { Clock } from '../core/clock.ts';
import type { Refusal } from '../core/errors.ts';
import type { Frame } from '../core/frame.ts';
import type { Admission, Admitted } from '../core/run-source.ts';
import type { CloseReason, Follower, FollowerOwner } from './follower.ts';
import type { Sleeper, Wheel } from './wheel.ts';

/** A run that a client wants. */
export interface Wanted {
  readonly runId: string;
  /** The answer to the first question; undefined while that is under way. */
  readonly answer: Admission | undefined;
  /** The answer to it, whenever it comes. Never rejects. */
  readonly answered: Promise<Admission>;
  /** Asks anew. Never rejects. */
  readonly ask: () => Promise<Admission>;
}

/** A run that a client was let in to, and what is current there. */
export interface Place {
  readonly owner: FollowerOwner;
  readonly frame: Frame;
  /** Nothing more comes. */
  readonly isOver: boolean;
}

/** What a strand needs of its surroundings. */
export interface StrandParts {
  readonly clock: Clock;
  readonly random: () => number;
  readonly wheel: Wheel;
  readonly join: (admitted: Admitted, strand: Follower) => Place;
}

/** What a strand tells its bundle. */
export interface StrandOwner {
  /** A newer state. */
  onState(strand: Strand, frame: Frame): void;
  /** The last state of this run, or why there is none. Comes once. */
  onOver(strand: Strand, last: Frame | Refusal): void;
  drain(windowMs: number): void;
  destroy(): void;
}

/** Trouble with one run is not asked for more often than this. */
const MIN_RETRY_MS = 1000;

type State = 'asking' | 'live' | 'waiting' | 'over';

/** One run of a bundle. */
export class Strand implements Follower, Sleeper {
  readonly runId: string;
  readonly index: number;
  slot = -1;
  readonly #wanted: Wanted;
  readonly #parts: StrandParts;
  readonly #bundle: StrandOwner;
  #state: State = 'asking';
  /** That it was let in with. */
  #key = '';
  /** From when it is let in until its place is given back. */
  #owner: FollowerOwner | undefined;
  /** In a row. */
  #failures = 0;

  constructor(index: number, wanted: Wanted, parts: StrandParts, bundle: StrandOwner) {
    this.index = index;
    this.runId = wanted.runId;
    this.#wanted = wanted;
    this.#parts = parts;
    this.#bundle = bundle;
  }

  get key(): string {
    return this.#key;
  }

  /** Takes the first answer, now if it is there. */
  start(): void {
    const { answer, answered } = this.#wanted;
    if (answer === undefined) this.#await(answered);
    else this.#tryTake(answer);
  }

  offer(frame: Frame): void {
    this.#bundle.onState(this, frame);
  }

  /** Nothing more comes of it. */
  get isOver(): boolean {
    return this.#state === 'over';
  }

  finish(frame: Frame): void {
    if (this.#state === 'live') this.#end(frame);
  }

  lose(_runId: string, refusal: Refusal): void {
    if (this.#state === 'live') this.#end(refusal);
  }

  /** The run is another one now: it is asked for anew, and the others go on. */
  sendAway(): void {
    if (this.#state !== 'live') return;
    this.#wait(undefined);
    this.close('ping');
  }

  drain(windowMs: number): void {
    this.#bundle.drain(windowMs);
  }

  destroy(): void {
    this.#bundle.destroy();
  }

  onWake(): void {
    this.#enter('asking');
    this.#await(this.#wanted.ask());
  }

  /** Wants nothing more. Idempotent. */
  leave(): void {
    this.#enter('over');
  }

  /** Gives its place back: its last event is written, or never will be. Idempotent. */
  close(reason: CloseReason): void {
    const owner = this.#owner;
    this.#owner = undefined;
    owner?.onClosed(this, reason);
  }

  #await(answer: Promise<Admission>): void {
    void answer.then((admission) => this.#tryTake(admission));
  }

  /** An embedder's own source may throw when the run is to be watched: then it is asked again. */
  #tryTake(admission: Admission): void {
    try {
      this.#take(admission);
    } catch {
      if (this.#state === 'asking') this.#wait(undefined);
      else this.#bundle.destroy();
    }
  }

  #take(admission: Admission): void {
    const isAdmitted = admission.kind === 'admitted';
    if (this.#state === 'over') {
      if (isAdmitted) admission.leave?.();
    } else if (isAdmitted) {
      this.#join(admission);
    } else if (admission.refusal.retryable) {
      this.#wait(admission.refusal.retryAfterMs);
    } else {
      this.#end(admission.refusal);
    }
  }

  #join(admitted: Admitted): void {
    this.#key = admitted.key.value;
    const { owner, frame, isOver } = this.#parts.join(admitted, this);
    this.#enter('live');
    this.#owner = owner;
    this.#failures = 0;
    if (isOver) this.finish(frame);
    else this.offer(frame);
  }

  #wait(retryAfterMs: number | undefined): void {
    const { clock, random, wheel } = this.#parts;
    this.#enter('waiting');
    const delayMs = backoffMs(++this.#failures, MIN_RETRY_MS, retryAfterMs, random);
    wheel.schedule(this, clock.now() + delayMs);
  }

  #end(last: Frame | Refusal): void {
    this.#enter('over');
    this.#bundle.onOver(this, last);
  }

  #enter(next: State): void {
    const before = this.#state;
    this.#state = next;
    if (before === 'waiting') this.#parts.wheel.cancel(this);
    if (before === 'live') this.#owner?.onLeave(this);
  }
}
