/**
 * One run in this process: its watch on the source, its newest state as a frame that is made
 * once, and who follows it, by key. From a snapshot to the last socket write there
 * is no await, so the order is right by construction.
 */

import { stateFrame } from '../core/frame.ts';
import type { Frame } from '../core/frame.ts';
import { isSameRun } from '../core/execution.ts';
import type { Snapshot } from '../core/execution.ts';
import { MultiMap } from '../core/multimap.ts';
import type { Admitted, Loss, RunObserver, RunSource, Watch } from '../core/run-source.ts';
import type { Follower } from './follower.ts';

/** One run, as this process streams it. */
export class Channel implements RunObserver {
  readonly runId: string;
  readonly #followers = new MultiMap<string, Follower>();
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

  get snapshot(): Snapshot {
    return this.#snapshot;
  }

  /** The newest state. */
  get frame(): Frame {
    const kept = this.#frame?.deref();
    if (kept !== undefined) return kept;
    const frame = stateFrame(this.#snapshot);
    this.#frame = new WeakRef(frame);
    return frame;
  }

  /** May the key that was shown `snapshot` follow the run here? */
  serves({ key, snapshot }: Admitted): boolean {
    return this.#followers.has(key.value) || isSameRun(this.#snapshot, snapshot);
  }

  /** What is current is the follower's to take. */
  join(admitted: Admitted, follower: Follower): void {
    const { key } = follower;
    // The watch was begun with the key of the first one.
    const isNewKey = this.#followers.size > 0 && !this.#followers.has(key);
    this.#followers.add(key, follower);
    if (isNewKey) this.#watch.hold(admitted);
  }

  leave(follower: Follower): void {
    const { key } = follower;
    if (!this.#followers.delete(key, follower) || this.#followers.has(key)) return;
    if (this.#followers.size > 0) return this.#watch.release(key);
    this.#watch.stop();
    return this.#onClosed(this);
  }

  onSnapshot(snapshot: Snapshot): void {
    const isOther = snapshot.identity !== this.#snapshot.identity;
    if (isOther && this.#followers.size > 1) return this.#sendAllAway();
    this.#snapshot = snapshot;
    this.#frame = undefined;
    const { frame } = this;
    const isLast = snapshot.terminal !== undefined;
    for (const ofKey of this.#followers.groups()) {
      for (const follower of ofKey) {
        if (isLast) follower.finish(frame);
        else follower.offer(frame);
      }
    }
  }

  onLost(key: string, loss: Loss): void {
    for (const follower of this.#followers.get(key)) {
      if (loss.kind === 'moved') follower.sendAway();
      else follower.lose(this.runId, loss.refusal);
    }
  }

  /**
   * Under several keys a run has turned into another one, and which of them saw that is not
   * known here: all come back and are placed by what upstream shows to each.
   */
  #sendAllAway(): void {
    for (const ofKey of this.#followers.groups()) {
      for (const follower of ofKey) follower.sendAway();
    }
  }
}
