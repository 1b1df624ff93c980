/**
 * One client of one run, over a {@link Sink}. It holds at most one frame that could not be
 * written yet, and a newer one takes its place: a slow reader skips states, never the end.
 *
 *     open ◀──drain──▶ blocked        finish: open | blocked ──▶ ending ──close──▶ closed
 */

import type { Clock } from '../core/clock.ts';
import { NO_ID, pingFrame, retryLine, timeoutFrame } from '../core/frame.ts';
import type { EventName, Frame } from '../core/frame.ts';
import type { Sink, SinkListener } from './sink.ts';
import type { Sleeper, Wheel } from './wheel.ts';

/** The times that every stream keeps. */
export interface SubscriberPolicy {
  readonly pingIntervalMs: number;
  /** Age at which a stream ends with `timeout`. */
  readonly streamTimeoutMs: number;
  /** A reader that takes nothing for this long is cut off, also after the end. */
  readonly slowTimeoutMs: number;
  readonly clock: Clock;
  readonly random: () => number;
  readonly tally: Tally;
}

/** Plain numbers: they are counted on the way of every event. */
export type Tally = Record<EventName | 'skipped', number>;

/** Why a stream's connection is gone. */
export type CloseReason = EventName | 'slow' | 'client';

/** What a subscriber tells its channel and its hub. */
export interface SubscriberOwner {
  /** It wants no more frames: it has had its last one, or is gone. Comes once. */
  onLeave(subscriber: Subscriber): void;
  /** Its connection is gone. Comes once, after `onLeave`. */
  onClosed(subscriber: Subscriber, reason: CloseReason): void;
}

/** Who joins: the connection, and what the request said. */
export interface Client {
  readonly sink: Sink;
  readonly requestId: string;
  readonly lastEventId: string | undefined;
}

type State =
  | { readonly kind: 'open' }
  | { readonly kind: 'blocked'; readonly since: number; readonly pending: Pending | undefined }
  | { readonly kind: 'ending'; readonly since: number }
  | { readonly kind: 'closed' };

interface Pending {
  readonly frame: Frame;
  readonly isLast: boolean;
}

const OPEN: State = { kind: 'open' };
const CLOSED: State = { kind: 'closed' };

/** One stream. */
export class Subscriber implements SinkListener, Sleeper {
  readonly key: string;
  readonly requestId: string;
  slot = -1;
  readonly #sink: Sink;
  readonly #policy: SubscriberPolicy;
  readonly #wheel: Wheel;
  readonly #owner: SubscriberOwner;
  #state: State = OPEN;
  #hasLeft = false;
  /** Of the state last written. */
  #lastId = NO_ID;
  #pingAt: number;
  #endsAt: number;
  #isDraining = false;
  /** The last event, once it is chosen; `slow` when the reader was cut. */
  #reason: CloseReason = 'client';

  constructor(
    key: string, client: Client, policy: SubscriberPolicy, wheel: Wheel, owner: SubscriberOwner,
  ) {
    this.key = key;
    this.requestId = client.requestId;
    this.#sink = client.sink;
    this.#policy = policy;
    this.#wheel = wheel;
    this.#owner = owner;
    const { pingIntervalMs, streamTimeoutMs, clock, random } = policy;
    const now = clock.now();
    // Streams that were opened together do not ping together.
    this.#pingAt = now + pingIntervalMs - random() * Math.min(1000, pingIntervalMs / 2);
    this.#endsAt = now + streamTimeoutMs;
    this.#sink.listen(this);
  }

  get lastId(): string {
    return this.#lastId;
  }

  /** The first event: the state, or where the client has that already, a sign of life. */
  start(frame: Frame, lastEventId: string | undefined): void {
    this.#sink.write(retryLine(this.retryMs()));
    this.#write(frame.id === lastEventId ? this.#ping(frame.id) : frame);
    this.#reschedule();
  }

  /** A newer state. */
  offer(frame: Frame): void {
    if (this.#hasLeft) return;
    if (this.#state.kind === 'open') this.#write(frame);
    else this.#hold({ frame, isLast: false });
  }

  /** The last event, and then the end. */
  finish(frame: Frame): void {
    if (this.#hasLeft) return;
    this.#reason = frame.event;
    this.#leave();
    if (this.#state.kind === 'open') {
      this.#write(frame);
      this.#end();
    } else {
      this.#hold({ frame, isLast: true });
    }
  }

  /** Ends without a verdict: the client is to come back, to whoever serves it then. */
  release(): void {
    const { clock } = this.#policy;
    this.finish(pingFrame(this.#lastId, clock.wallNow(), this.retryMs()));
  }

  /** The process goes down: {@link release} is due within `windowMs`, at a random moment. */
  drain(windowMs: number): void {
    const at = this.#policy.clock.now() + this.#policy.random() * windowMs;
    if (this.#isDraining || this.#hasLeft) return;
    this.#isDraining = true;
    this.#endsAt = Math.min(this.#endsAt, at);
    this.#reschedule();
  }

  destroy(): void {
    this.#sink.destroy();
  }

  onDrain(): void {
    const state = this.#state;
    if (state.kind !== 'blocked') return;
    this.#state = OPEN;
    if (state.pending !== undefined) this.#write(state.pending.frame);
    if (state.pending?.isLast) this.#end();
    else this.#reschedule();
  }

  onProgress(): void {
    const state = this.#state;
    const since = this.#policy.clock.now();
    if (state.kind === 'blocked' || state.kind === 'ending') this.#state = { ...state, since };
  }

  onClose(): void {
    if (this.#state.kind === 'closed') return;
    this.#state = CLOSED;
    this.#wheel.cancel(this);
    this.#leave();
    this.#owner.onClosed(this, this.#reason);
  }

  onWake(now: number): void {
    const state = this.#state;
    const { slowTimeoutMs, pingIntervalMs, streamTimeoutMs } = this.#policy;
    if (state.kind === 'blocked' || state.kind === 'ending') {
      if (now >= state.since + slowTimeoutMs) return this.#cut();
    }
    if (now >= this.#endsAt && !this.#hasLeft) {
      if (this.#isDraining) this.release();
      else this.finish(timeoutFrame(this.#lastId, streamTimeoutMs));
    } else if (now >= this.#pingAt) {
      // After a stall of the process one ping makes up for all that were due.
      this.#pingAt += pingIntervalMs * Math.ceil((now - this.#pingAt + 1) / pingIntervalMs);
      if (state.kind === 'open') this.#write(this.#ping(this.#lastId));
    }
    return this.#reschedule();
  }

  /** 2 to 5 s, so that clients that lost their streams together do not return together. */
  retryMs(): number {
    return Math.floor(2000 + this.#policy.random() * 3000);
  }

  #cut(): void {
    this.#reason = 'slow';
    this.#sink.destroy();
  }

  #ping(id: string): Frame {
    return pingFrame(id, this.#policy.clock.wallNow());
  }

  #write(frame: Frame): void {
    this.#lastId = frame.id;
    this.#policy.tally[frame.event]++;
    if (this.#sink.write(frame.bytes)) return;
    this.#state = { kind: 'blocked', since: this.#policy.clock.now(), pending: undefined };
    this.#reschedule();
  }

  #hold(pending: Pending): void {
    if (this.#state.kind !== 'blocked') return;
    if (this.#state.pending !== undefined) this.#policy.tally.skipped++;
    this.#state = { ...this.#state, pending };
  }

  #end(): void {
    this.#state = { kind: 'ending', since: this.#policy.clock.now() };
    this.#reschedule();
    this.#sink.end();
  }

  #leave(): void {
    if (this.#hasLeft) return;
    this.#hasLeft = true;
    this.#owner.onLeave(this);
  }

  #reschedule(): void {
    const state = this.#state;
    const stalledAt = 'since' in state ? state.since + this.#policy.slowTimeoutMs : Infinity;
    const nextAt = this.#hasLeft ? Infinity : Math.min(this.#pingAt, this.#endsAt);
    if (state.kind !== 'closed') this.#wheel.schedule(this, Math.min(stalledAt, nextAt));
  }
}
