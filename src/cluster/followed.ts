/**
 * One run that the primary watches for this worker: its newest state, who was lost, and the
 * channels that follow it here. What the primary said between an admission and its watch is told
 * as soon as there is somebody to tell.
 */

import type { Snapshot } from '../core/execution.ts';
import type { Admitted, Loss, RunObserver, Watch } from '../core/run-source.ts';

/** A client that was admitted, with what the primary watches for it. */
export interface Following extends Admitted {
  readonly followed: Followed;
  /** How often its key had been lost before. */
  readonly losses: number;
}

/** A run that the primary watches for this worker. */
export class Followed {
  readonly #watches = new Set<FollowedWatch>();
  /** How often each key was lost, and how last: a client may be on its way in. */
  readonly #lost = new Map<string, { readonly count: number; readonly loss: Loss }>();
  #newest: Snapshot | undefined;

  get newest(): Snapshot | undefined {
    return this.#newest;
  }

  losses(key: string): number {
    return this.#lost.get(key)?.count ?? 0;
  }

  onSnapshot(snapshot: Snapshot): void {
    if (snapshot.id === this.#newest?.id) return;
    this.#newest = snapshot;
    for (const watch of [...this.#watches]) watch.tell(snapshot);
  }

  onLost(key: string, loss: Loss): void {
    this.#lost.set(key, { count: this.losses(key) + 1, loss });
    for (const watch of [...this.#watches]) watch.lose(key, loss);
  }

  watch(admitted: Admitted, observer: RunObserver): Watch {
    const watch = new FollowedWatch(this, observer, admitted.snapshot.id);
    this.#watches.add(watch);
    watch.hold(admitted);
    // What came between the admission and now was told to nobody here.
    queueMicrotask(() => this.#newest && watch.tell(this.#newest));
    return watch;
  }

  admits(admitted: Admitted): Loss | undefined {
    if (!isFollowing(admitted) || admitted.followed !== this) return { kind: 'moved' };
    const lost = this.#lost.get(admitted.key.value);
    return lost !== undefined && lost.count > admitted.losses ? lost.loss : undefined;
  }

  forget(watch: FollowedWatch): void {
    this.#watches.delete(watch);
  }
}

class FollowedWatch implements Watch {
  readonly #followed: Followed;
  readonly #observer: RunObserver;
  readonly #keys = new Set<string>();
  #toldId: string;
  #isStopped = false;

  constructor(followed: Followed, observer: RunObserver, knownId: string) {
    this.#followed = followed;
    this.#observer = observer;
    this.#toldId = knownId;
  }

  hold(admitted: Admitted): void {
    const key = admitted.key.value;
    this.#keys.add(key);
    const loss = this.#followed.admits(admitted);
    if (loss !== undefined) queueMicrotask(() => this.lose(key, loss));
  }

  release(key: string): void {
    this.#keys.delete(key);
  }

  stop(): void {
    this.#isStopped = true;
    this.#followed.forget(this);
  }

  tell(snapshot: Snapshot): void {
    if (this.#isStopped || snapshot.id === this.#toldId) return;
    this.#toldId = snapshot.id;
    this.#observer.onSnapshot(snapshot);
  }

  lose(key: string, loss: Loss): void {
    if (!this.#isStopped && this.#keys.delete(key)) this.#observer.onLost(key, loss);
  }
}

/** Was it this process that was let in, by the primary? */
export function isFollowing(admitted: Admitted): admitted is Following {
  return 'followed' in admitted;
}
