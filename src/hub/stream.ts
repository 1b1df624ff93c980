/**
 * The life of one connection that carries events, over a {@link Sink}: pings, its time-out, a
 * reader that is behind, a shutdown, the end. What is sent, and what of it waits while the reader
 * is behind, is known to those who extend it.
 *
 *     open ◀─drain─▶ blocked ──last event──▶ finishing ──drain──▶ ending ──▶ closed
 *       └───────────────last event────────────────────────────────▲
 */

import type { Clock } from '../core/clock.ts';
import { NO_ID } from '../core/event-id.ts';
import { pingFrame, retryLine, timeoutFrame } from '../core/frame.ts';
import type { EventName, Frame } from '../core/frame.ts';
import type { Piece } from '../core/piece.ts';
import type { CloseReason } from './follower.ts';
import type { Client, Sink, SinkListener } from './sink.ts';
import type { Sleeper, Wheel } from './wheel.ts';

/** The times that every stream keeps. */
export interface StreamPolicy {
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

type State =
  | { readonly kind: 'open' }
  /** The reader is behind. */
  | { readonly kind: 'blocked'; readonly since: number }
  /** Behind, and what waits ends with the last event. */
  | { readonly kind: 'finishing'; readonly since: number }
  /** Everything is written, and has yet to leave. */
  | { readonly kind: 'ending'; readonly since: number }
  | { readonly kind: 'closed' };

/** So often in its time a slow reader is asked for progress; first after a fifth of a part. */
const PROBES = 5;

const OPEN: State = { kind: 'open' };
const CLOSED: State = { kind: 'closed' };

/** One stream. */
export abstract class Stream implements SinkListener, Sleeper {
  slot = -1;
  readonly requestId: string;
  readonly #sink: Sink;
  readonly #policy: StreamPolicy;
  readonly #wheel: Wheel;
  #state: State = OPEN;
  /** Of the event last written. */
  #lastId = NO_ID;
  #pingAt: number;
  /** When a reader that is behind is asked for progress next. */
  #probeAt = Infinity;
  #endsAt: number;
  /** What `#endsAt` is for. */
  #isDraining = false;
  /** The last event, once it is chosen; `slow` when the reader was cut. */
  #reason: CloseReason = 'client';

  constructor(client: Client, policy: StreamPolicy, wheel: Wheel) {
    this.requestId = client.requestId;
    this.#sink = client.sink;
    this.#policy = policy;
    this.#wheel = wheel;
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

  /** The last event, and then the end; what waited is skipped. */
  abstract finish(frame: Frame): void;

  /** The reader takes more: what waits is written now, as far as it is taken, and then the end. */
  protected abstract onClear(): void;

  /** The last event is chosen, or the connection is gone. Comes once. */
  protected abstract onLeave(): void;

  /** The connection is gone. Comes once, after {@link onLeave}. */
  protected abstract onGone(reason: CloseReason): void;

  sendAway(): void {
    this.finish(this.ping(this.#lastId, this.retryMs()));
  }

  drain(windowMs: number): void {
    if (this.#isDraining) return;
    const { clock, random } = this.#policy;
    this.#isDraining = true;
    this.#endsAt = Math.min(this.#endsAt, clock.now() + random() * windowMs);
    this.reschedule();
  }

  /** Cuts the connection now. */
  destroy(): void {
    this.#sink.destroy();
  }

  onDrain(): void {
    const { kind } = this.#state;
    if (kind === 'blocked') this.#enter(OPEN);
    if (kind === 'blocked' || kind === 'finishing') this.onClear();
  }

  onProgress(): void {
    const state = this.#state;
    if ('since' in state) this.#enter({ ...state, since: this.#policy.clock.now() });
  }

  onClose(): void {
    const { kind } = this.#state;
    if (kind === 'closed') return;
    this.#enter(CLOSED);
    if (kind === 'open' || kind === 'blocked') this.onLeave();
    // The last event still waited for the reader: it has not got it.
    if (kind === 'finishing' && this.#reason !== 'slow') this.#reason = 'client';
    this.onGone(this.#reason);
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
      if (state.kind === 'open') this.write(this.ping(this.#lastId));
    }
    this.reschedule();
  }

  /** May an event be written now? */
  protected get isOpen(): boolean {
    return this.#state.kind === 'open';
  }

  /** Does it want more events? */
  protected get isFollowing(): boolean {
    return this.#state.kind === 'open' || this.#state.kind === 'blocked';
  }

  /** 2 to 5 s, so that clients that lost their streams together do not return together. */
  protected retryMs(): number {
    return Math.floor(2000 + this.#policy.random() * 3000);
  }

  protected ping(id: string, retryMs?: number): Frame {
    return pingFrame(id, this.#policy.clock.wallNow(), retryMs);
  }

  /** In front of the first event, to be followed by it. */
  protected writeRetry(): void {
    this.#sink.write(retryLine(this.retryMs()));
  }

  /** False: the reader is behind, and no other may follow before {@link onClear}. */
  protected write(frame: Frame): boolean {
    return this.#onWritten(frame, frame.id, this.#sink.write(frame));
  }

  /** As {@link write}, with an id of its own: `line` holds it. */
  protected writeAs(id: string, line: Piece, frame: Frame): boolean {
    this.#sink.write(line);
    return this.#onWritten(frame, id, this.#sink.write(frame.body));
  }

  /** So many states are never sent. */
  protected skip(count: number): void {
    this.#policy.tally.skipped += count;
  }

  /** What waits, or is written by {@link onClear} at once, ends with the last event. */
  protected conclude(reason: CloseReason): void {
    const state = this.#state;
    const isOpen = state.kind === 'open';
    const since = 'since' in state ? state.since : this.#policy.clock.now();
    this.#reason = reason;
    this.#enter({ kind: 'finishing', since });
    this.onLeave();
    if (isOpen) this.onDrain();
  }

  /** Behind the last event. */
  protected end(): void {
    if (this.#state.kind === 'closed') return;
    this.#enter({ kind: 'ending', since: this.#policy.clock.now() });
    this.#sink.end();
  }

  #onWritten({ event }: Frame, id: string, isTaken: boolean): boolean {
    this.#lastId = id;
    this.#policy.tally[event]++;
    if (!isTaken && this.#state.kind === 'open') {
      this.#enter({ kind: 'blocked', since: this.#policy.clock.now() });
    }
    return isTaken;
  }

  #probe(now: number): void {
    this.#probeAt = now + this.#policy.slowTimeoutMs / PROBES;
    this.#sink.probe();
  }

  #cut(): void {
    this.#reason = 'slow';
    this.#sink.destroy();
  }

  #enter(next: State): void {
    // From its first moment on, however many states come meanwhile.
    if ('since' in next && !('since' in this.#state)) {
      this.#probeAt = next.since + this.#policy.slowTimeoutMs / PROBES ** 2;
    }
    this.#state = next;
    if (next.kind === 'closed') this.#wheel.cancel(this);
    else this.reschedule();
  }

  /** Awake when the first thing is due that its state knows. */
  protected reschedule(): void {
    const state = this.#state;
    if (state.kind === 'closed') return;
    const cutAt = 'since' in state ? state.since + this.#policy.slowTimeoutMs : Infinity;
    const stalledAt = 'since' in state ? Math.min(cutAt, this.#probeAt) : Infinity;
    const nextAt = this.isFollowing ? Math.min(this.#pingAt, this.#endsAt) : Infinity;
    this.#wheel.schedule(this, Math.min(stalledAt, nextAt));
  }
}
