/**
 * One client of several runs. For each of them at most one frame waits for the reader, and a newer
 * one takes its place. Its id is the joined ids of what was written of each run, so whatever is
 * not written before the connection ends is sent to a client that comes back with it.
 */

import type { Refusal } from '../core/errors.ts';
import { REFUSED_ID, joinIds, splitId } from '../core/event-id.ts';
import { TERMINAL_RETRY_MS, idLine, lossFacts, lossFrame } from '../core/frame.ts';
import type { Frame } from '../core/frame.ts';
import type { CloseReason } from './follower.ts';
import type { Client } from './sink.ts';
import { Strand } from './strand.ts';
import type { StrandOwner, StrandParts, Wanted } from './strand.ts';
import { Stream } from './stream.ts';
import type { StreamPolicy } from './stream.ts';

/** What a bundle needs of its surroundings. */
export interface BundleParts extends StrandParts {
  /** Its connection is gone. Comes once. */
  readonly onClosed: (bundle: Bundle) => void;
}

/** The stream of several runs. */
export class Bundle extends Stream implements StrandOwner {
  readonly #strands: readonly Strand[];
  readonly #parts: BundleParts;
  /** What the client has of each run. */
  readonly #ids: string[];
  /** What waits, by run; who has waited for the longest goes first. */
  readonly #pending = new Map<Strand, Frame>();
  /** A last event that is of no run. */
  #last: Frame | undefined;
  /** Runs that are not over. */
  #left: number;
  /** Until every first answer is looked at: only then it shows which event is the last. */
  #isStarting = true;
  #isFirst = true;

  constructor(wanted: readonly Wanted[], client: Client, policy: StreamPolicy, parts: BundleParts) {
    super(client, policy, parts.wheel);
    this.#parts = parts;
    this.#ids = splitId(client.lastEventId, wanted.length);
    this.#left = wanted.length;
    this.#strands = wanted.map((each, i) => new Strand(i, each, parts, this));
  }

  /** Every state that the client does not have, or a sign of life. */
  start(): void {
    for (const strand of this.#strands) strand.start();
    this.#isStarting = false;
    if (this.isFollowing) this.onClear();
    else this.onDrain();
    if (this.#isFirst && this.isFollowing) {
      this.#isFirst = false;
      this.write(this.ping(joinIds(this.#ids), this.retryMs()));
    }
    this.reschedule();
  }

  onState(strand: Strand, frame: Frame): void {
    if (!this.isFollowing) return;
    const waiting = this.#pending.has(strand);
    if (!waiting && this.#ids[strand.index] === frame.id) return;
    if (waiting) this.skip(1);
    this.#pending.set(strand, frame);
    if (this.isOpen && !this.#isStarting) this.onClear();
  }

  onOver(strand: Strand, last: Frame | Refusal): void {
    if (!this.isFollowing) return;
    const { runId } = strand;
    const frame = 'event' in last ? last
      : lossFrame(REFUSED_ID, lossFacts(runId, last, this.requestId));
    this.#left--;
    if (this.#ids[strand.index] !== frame.id) {
      if (this.#pending.has(strand)) this.skip(1);
      this.#pending.set(strand, frame);
    } else {
      if (this.#pending.delete(strand)) this.skip(1);
      strand.close(frame.event);
    }
    if (this.#left === 0) this.#concludeAll(frame);
    else if (this.isOpen && !this.#isStarting) this.onClear();
  }

  finish(frame: Frame): void {
    if (!this.isFollowing) return;
    this.skip(this.#pending.size);
    this.#pending.clear();
    this.#last = frame;
    this.conclude(frame.event);
  }

  protected onClear(): void {
    if (this.#isStarting) return;
    for (const [strand, frame] of this.#pending) {
      this.#pending.delete(strand);
      if (!this.#send(strand, frame)) break;
    }
    if (this.isFollowing || this.#pending.size > 0) return;
    if (this.#last !== undefined) this.write(this.#last);
    this.end();
  }

  protected onLeave(): void {
    for (const strand of this.#strands) strand.leave();
  }

  protected onGone(reason: CloseReason): void {
    for (const strand of this.#strands) strand.close(reason);
    this.#parts.onClosed(this);
  }

  /** Every run is over. Where the client has all of it already, it is told not to come back. */
  #concludeAll({ event }: Frame): void {
    if (this.#pending.size === 0) {
      this.#last = this.ping(joinIds(this.#ids), TERMINAL_RETRY_MS);
    }
    this.conclude(event);
  }

  #send(strand: Strand, frame: Frame): boolean {
    this.#ids[strand.index] = frame.id;
    const id = joinIds(this.#ids);
    const isLast = !this.isFollowing && this.#pending.size === 0;
    const line = idLine(id, this.#isFirst ? this.retryMs() : undefined);
    this.#isFirst = false;
    // A day is told behind the data, never in front of it: see Frame.
    const isTaken = isLast ? this.write(frame.asLast(id)) : this.writeAs(id, line, frame);
    if (strand.isOver) strand.close(frame.event);
    return isTaken;
  }
}
