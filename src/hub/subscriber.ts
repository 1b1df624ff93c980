/**
 * One client of one run, over a {@link Sink}. It holds at most one frame that could not be
 * written yet, and a newer one takes its place: a slow reader skips states, never the end.
 *
 *     open ◀─drain─▶ blocked ──last event──▶ finishing ──drain──▶ ending ──▶ closed
 *       └───────────────last event────────────────────────────────▲
 */

import type { Clock } from '../core/clock.ts';
import type { Refusal } from '../core/errors.ts';
import { NO_ID, lossFrame, pingFrame, retryLine, timeoutFrame } from '../core/frame.ts';
import type { EventName, Frame } from '../core/frame.ts';
import type { CloseReason, Follower, FollowerOwner } from './follower.ts';
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

/** Who joins: the connection, and what the request said. */
export interface Client {
  readonly sink: Sink;
  readonly requestId: string;
  readonly lastEventId: string | undefined;
}

type State =
  | { readonly kind: 'open' }
  /** The reader is behind; `pending` is the newest that it has not been written. */
  | { readonly kind: 'blocked'; readonly since: number; readonly pending: Frame | undefined }
  /** Behind, and the event that waits is the last. */
  | { readonly kind: 'finishing'; readonly since: number; readonly last: Frame }
  /** Everything is written, and has yet to leave. */
  | { readonly kind: 'ending'; readonly since: number }
  | { readonly kind: 'closed' };

/** So often in its time a slow reader is asked for progress; first after a fifth of a part. */
const PROBES = 5;

const OPEN: State = { kind: 'open' };
const CLOSED: State = { kind: 'closed' };

/** One stream. */
export class Subscriber implements Follower, SinkListener, Sleeper {
  readonly key: string;
  readonly #requestId: string;
  slot = -1;
  readonly #sink: Sink;
  readonly #policy: SubscriberPolicy;
  readonly #wheel: Wheel;
  readonly #owner: FollowerOwner;
  #state: State = OPEN;
  /** Of the state last written. */
  #lastId = NO_ID;
  #pingAt: number;
  /** When a reader that is behind is asked for progress next. */
  #probeAt = Infinity;
  #endsAt: number;
  /** What `#endsAt` is for. */
  #isDraining = false;
  /** The last event, once it is chosen; `slow` when the reader was cut. */
  #reason: CloseReason = 'client';

  constructor(
    key: string, client: Client, policy: SubscriberPolicy, wheel: Wheel, owner: FollowerOwner,
  ) {
    this.key = key;
    this.#requestId = client.requestId;
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
    this.#sink.write(retryLine(this.#retryMs()));
    this.#write(frame.id === lastEventId ? this.#ping(frame.id) : frame);
    this.#reschedule();
  }

  offer(frame: Frame): void {
    const state = this.#state;
    if (state.kind === 'open') this.#write(frame);
    if (state.kind !== 'blocked') return;
    if (state.pending !== undefined) this.#policy.tally.skipped++;
    this.#enter({ ...state, pending: frame });
  }

  /** The last event, and then the end. */
  finish(frame: Frame): void {
    const state = this.#state;
    if (state.kind !== 'open' && state.kind !== 'blocked') return;
    const isOpen = state.kind === 'open';
    if (!isOpen && state.pending !== undefined) this.#policy.tally.skipped++;
    const since = isOpen ? this.#policy.clock.now() : state.since;
    this.#reason = frame.event;
    this.#enter({ kind: 'finishing', since, last: frame });
    this.#owner.onLeave(this);
    if (isOpen) this.onDrain();
  }

  lose(runId: string, { error, code }: Refusal): void {
    const requestId = this.#requestId;
    const facts = { runId, errorMessage: error, error, code, retryable: false, requestId };
    this.finish(lossFrame(this.lastId, facts));
  }

  sendAway(): void {
    const { clock } = this.#policy;
    this.finish(pingFrame(this.#lastId, clock.wallNow(), this.#retryMs()));
  }

  drain(windowMs: number): void {
    if (this.#isDraining) return;
    const { clock, random } = this.#policy;
    this.#isDraining = true;
    this.#endsAt = Math.min(this.#endsAt, clock.now() + random() * windowMs);
    this.#reschedule();
  }

  /** Cuts the connection now. */
  destroy(): void {
    this.#sink.destroy();
  }

  onDrain(): void {
    const state = this.#state;
    if (state.kind === 'blocked') {
      this.#enter(OPEN);
      if (state.pending !== undefined) this.#write(state.pending);
    } else if (state.kind === 'finishing') {
      this.#write(state.last);
      this.#end();
    }
  }

  onProgress(): void {
    const state = this.#state;
    if ('since' in state) this.#enter({ ...state, since: this.#policy.clock.now() });
  }

  onClose(): void {
    const { kind } = this.#state;
    if (kind === 'closed') return;
    this.#enter(CLOSED);
    if (kind === 'open' || kind === 'blocked') this.#owner.onLeave(this);
    this.#owner.onClosed(this, this.#reason);
  }

  onWake(now: number): void {
    const state = this.#state;
    const { slowTimeoutMs, pingIntervalMs, streamTimeoutMs } = this.#policy;
    if ('since' in state) {
      if (now >= state.since + slowTimeoutMs) return this.#cut();
      if (now >= this.#probeAt) this.#probe(now);
    }
    if (now >= this.#endsAt) {
      if (this.#isDraining) this.sendAway();
      else this.finish(timeoutFrame(this.#lastId, streamTimeoutMs));
    } else if (now >= this.#pingAt) {
      // After a stall of the process one ping makes up for all that were due.
      this.#pingAt += pingIntervalMs * Math.ceil((now - this.#pingAt + 1) / pingIntervalMs);
      if (state.kind === 'open') this.#write(this.#ping(this.#lastId));
    }
    this.#reschedule();
  }

  /** 2 to 5 s, so that clients that lost their streams together do not return together. */
  #retryMs(): number {
    return Math.floor(2000 + this.#policy.random() * 3000);
  }

  #ping(id: string): Frame {
    return pingFrame(id, this.#policy.clock.wallNow());
  }

  #write(frame: Frame): void {
    this.#lastId = frame.id;
    this.#policy.tally[frame.event]++;
    const isTaken = this.#sink.write(frame);
    if (isTaken || this.#state.kind !== 'open') return;
    this.#enter({ kind: 'blocked', since: this.#policy.clock.now(), pending: undefined });
  }

  #probe(now: number): void {
    this.#probeAt = now + this.#policy.slowTimeoutMs / PROBES;
    this.#sink.probe();
  }

  #cut(): void {
    this.#reason = 'slow';
    this.#sink.destroy();
  }

  #end(): void {
    if (this.#state.kind === 'closed') return;
    this.#enter({ kind: 'ending', since: this.#policy.clock.now() });
    this.#sink.end();
  }

  #enter(next: State): void {
    // From its first moment on, however many states come meanwhile.
    if ('since' in next && !('since' in this.#state)) {
      this.#probeAt = next.since + this.#policy.slowTimeoutMs / PROBES ** 2;
    }
    this.#state = next;
    if (next.kind === 'closed') this.#wheel.cancel(this);
    else this.#reschedule();
  }

  /** Awake when the first thing is due that its state knows. */
  #reschedule(): void {
    const state = this.#state;
    if (state.kind === 'closed') return;
    const cutAt = 'since' in state ? state.since + this.#policy.slowTimeoutMs : Infinity;
    const stalledAt = 'since' in state ? Math.min(cutAt, this.#probeAt) : Infinity;
    const isFollowing = state.kind === 'open' || state.kind === 'blocked';
    const nextAt = isFollowing ? Math.min(this.#pingAt, this.#endsAt) : Infinity;
    this.#wheel.schedule(this, Math.min(stalledAt, nextAt));
  }
}
