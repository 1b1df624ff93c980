/**
 * One run in this process: its watch on the source, its newest state as a frame that is made
 * once, and the clients that follow it, by key. From a snapshot to the last socket write there
 * is no await, so the order is right by construction.
 */

import { lossFrame, stateFrame } from '../core/frame.ts';
import type { Frame } from '../core/frame.ts';
import { isSameRun } from '../core/execution.ts';
import type { Snapshot } from '../core/execution.ts';
import { MultiMap } from '../core/multimap.ts';
import type { Admitted, Loss, RunObserver, RunSource, Watch } from '../core/run-source.ts';
import type { Subscriber } from './subscriber.ts';

/** One run, as this process streams it. */
export class Channel implements RunObserver {
  readonly runId: string;
  readonly #subscribers = new MultiMap<string, Subscriber>();
  readonly #onClosed: (channel: Channel) => void;
  readonly #watch: Watch;
  #snapshot: Snapshot;
  /** Made anew for a newcomer, should it be gone: most runs have nobody to come any more. */
  #frame: WeakRef<Frame> | undefined;

  /** `onClosed` is told once: nobody follows the run here any more, or it is over. */
  constructor(admitted: Admitted, source: RunSource, onClosed: (channel: Channel) => void) {
    this.runId = admitted.runId;
    this.#snapshot = admitted.snapshot;
    this.#onClosed = onClosed;
    this.#watch = source.watch(admitted, this);
  }

  /** May the key that was shown `snapshot` follow the run here? */
  serves({ key, snapshot }: Admitted): boolean {
    return this.#subscribers.has(key.value) || isSameRun(this.#snapshot, snapshot);
  }

  join(admitted: Admitted, subscriber: Subscriber, lastEventId: string | undefined): void {
    const { key } = subscriber;
    // The watch was begun with the key of the first one.
    const isNewKey = this.#subscribers.size > 0 && !this.#subscribers.has(key);
    this.#subscribers.add(key, subscriber);
    if (isNewKey) this.#watch.hold(admitted);
    subscriber.start(this.#frameNow(), lastEventId);
  }

  leave(subscriber: Subscriber): void {
    const { key } = subscriber;
    if (!this.#subscribers.delete(key, subscriber) || this.#subscribers.has(key)) return;
    if (this.#subscribers.size > 0) return this.#watch.release(key);
    this.#watch.stop();
    return this.#onClosed(this);
  }

  onSnapshot(snapshot: Snapshot): void {
    const isOther = snapshot.identity !== this.#snapshot.identity;
    if (isOther && this.#subscribers.size > 1) return this.#sendAllAway();
    this.#snapshot = snapshot;
    this.#frame = undefined;
    const frame = this.#frameNow();
    const isLast = snapshot.terminal !== undefined;
    for (const ofKey of this.#subscribers.groups()) {
      for (const subscriber of ofKey) {
        if (isLast) subscriber.finish(frame);
        else subscriber.offer(frame);
      }
    }
  }

  onLost(key: string, loss: Loss): void {
    for (const subscriber of this.#subscribers.get(key)) this.#end(subscriber, loss);
  }

  #frameNow(): Frame {
    const kept = this.#frame?.deref();
    if (kept !== undefined) return kept;
    const frame = stateFrame(this.#snapshot);
    this.#frame = new WeakRef(frame);
    return frame;
  }

  /**
   * Under several keys a run has turned into another one, and which of them saw that is not
   * known here: all come back and are placed by what upstream shows to each.
   */
  #sendAllAway(): void {
    for (const ofKey of this.#subscribers.groups()) {
      for (const subscriber of ofKey) subscriber.sendAway();
    }
  }

  #end(subscriber: Subscriber, loss: Loss): void {
    if (loss.kind === 'moved') return subscriber.sendAway();
    const { error, code } = loss.refusal;
    const { lastId, requestId } = subscriber;
    const { runId } = this;
    const facts = { runId, errorMessage: error, error, code, retryable: false, requestId };
    return subscriber.finish(lossFrame(lastId, facts));
  }
}
