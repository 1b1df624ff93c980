/** One observer's interest in a poller: which keys it watches for, and whether it still does. */

import type { Snapshot } from '../core/execution.ts';
import type { Admitted, ApiKey, Loss, RunObserver, Watch } from '../core/run-source.ts';

/** What a watch asks of its poller. */
export interface Watched {
  serves(key: ApiKey, snapshot: Snapshot): boolean;
  holdTurn(key: ApiKey): void;
  /** This watch no longer holds `key`; another one may. */
  dropTurn(key: string): void;
  forget(watch: PollerWatch): void;
  onThrown(error: unknown): void;
}

/** One observer's interest, with the keys it watches for. */
export class PollerWatch implements Watch {
  readonly observer: RunObserver;
  readonly keys = new Set<string>();
  readonly #poller: Watched;
  #toldId: string;
  #isStopped = false;

  /** `knownId`: of the state that the observer has already. */
  constructor(poller: Watched, observer: RunObserver, knownId: string) {
    this.#poller = poller;
    this.observer = observer;
    this.#toldId = knownId;
  }

  /** Unless the observer knows it, or was stopped meanwhile by whoever was told before it. */
  tell(snapshot: Snapshot): void {
    if (this.keys.size === 0 || snapshot.id === this.#toldId) return;
    this.#toldId = snapshot.id;
    this.#guard(() => this.observer.onSnapshot(snapshot));
  }

  /** Of a key that it does not hold it is told nothing. */
  lose(key: string, loss: Loss): void {
    if (this.keys.delete(key)) this.#guard(() => this.observer.onLost(key, loss));
  }

  hold({ key, snapshot }: Admitted): void {
    if (this.#isStopped) return;
    if (this.#poller.serves(key, snapshot)) {
      this.keys.add(key.value);
      this.#poller.holdTurn(key);
      return;
    }
    queueMicrotask(() => {
      if (this.#isStopped) return;
      this.#guard(() => this.observer.onLost(key.value, { kind: 'moved' }));
    });
  }

  release(key: string): void {
    if (this.keys.delete(key)) this.#poller.dropTurn(key);
  }

  stop(): void {
    this.#isStopped = true;
    this.#poller.forget(this);
  }

  /** One observer that throws must not keep the news from the others. */
  #guard(call: () => void): void {
    try {
      call();
    } catch (error) {
      this.#poller.onThrown(error);
      this.stop();
    }
  }
}
