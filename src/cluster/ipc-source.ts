/**
 * The RunSource of a worker: asks the primary, which holds the pollers, the proofs and the
 * limits. Nothing downstream can tell it from polling.
 */

import assert from 'node:assert';

import { refuse } from '../core/errors.ts';
import type { Snapshot } from '../core/execution.ts';
import type {
  Admission, Admitted, ApiKey, Loss, RunObserver, RunSource, Watch,
} from '../core/run-source.ts';
import type { Machine, Stats } from '../core/machine.ts';
import type { FromPrimary, FromWorker, Port } from './messages.ts';

/** A client that was admitted, with what the primary watches for it. */
interface Following extends Admitted {
  readonly followed: Followed;
}

interface Asked {
  readonly runId: string;
  readonly key: ApiKey;
  readonly resolve: (admission: Admission) => void;
}

/** The source behind every gateway in a worker. */
export class IpcSource implements RunSource, Machine {
  readonly #port: Port<FromWorker, FromPrimary>;
  readonly #asked = new Map<number, Asked>();
  readonly #statsAsked = new Map<number, (stats: Stats) => void>();
  readonly #metricsAsked = new Map<number, (text: string) => void>();
  readonly #followed = new Map<number, Followed>();
  #n = 0;

  constructor(port: Port<FromWorker, FromPrimary>) {
    this.#port = port;
  }

  /** Takes the primary's messages; those that are not for a source are left alone. */
  onMessage(message: FromPrimary): void {
    switch (message.kind) {
      case 'admitted':
        return this.#onAdmitted(message);
      case 'refused':
        this.#asked.get(message.n)?.resolve({ kind: 'refused', refusal: message.refusal });
        this.#asked.delete(message.n);
        return undefined;
      case 'snapshot':
        this.#followed.get(message.watch)?.onSnapshot(message.snapshot);
        if (message.snapshot.terminal !== undefined) this.#followed.delete(message.watch);
        return undefined;
      case 'ended':
        this.#followed.delete(message.watch);
        return undefined;
      case 'lost':
        return this.#followed.get(message.watch)?.onLost(message.key, message.loss);
      case 'stats':
        this.#statsAsked.get(message.n)?.(message.stats);
        this.#statsAsked.delete(message.n);
        return undefined;
      case 'metrics':
        this.#metricsAsked.get(message.n)?.(message.text);
        this.#metricsAsked.delete(message.n);
        return undefined;
      case 'start': case 'drain':
        return undefined;
    }
  }

  admit(runId: string, key: ApiKey): Promise<Admission> {
    const n = ++this.#n;
    return new Promise((resolve) => {
      this.#asked.set(n, { runId, key, resolve });
      this.#port.send({ kind: 'admit', n, runId, key });
    });
  }

  watch(admitted: Admitted, observer: RunObserver): Watch {
    if (!isFollowing(admitted)) throw new Error('watched what this source did not admit');
    return admitted.followed.watch(admitted, observer);
  }

  /** Of the whole machine, as the primary counts them. */
  stats(): Promise<Stats> {
    const n = ++this.#n;
    return new Promise((resolve) => {
      this.#statsAsked.set(n, resolve);
      this.#port.send({ kind: 'stats', n });
    });
  }

  /** Of the whole machine, as text. */
  metrics(): Promise<string> {
    const n = ++this.#n;
    return new Promise((resolve) => {
      this.#metricsAsked.set(n, resolve);
      this.#port.send({ kind: 'metrics', n });
    });
  }

  /** The primary is gone, or is let go: nobody gets an answer any more. */
  close(): void {
    const refusal = refuse('RESOURCE_UNAVAILABLE', { error: 'The gateway is shutting down' });
    for (const { resolve } of this.#asked.values()) resolve({ kind: 'refused', refusal });
    this.#asked.clear();
    this.#followed.clear();
  }

  #onAdmitted(message: Extract<FromPrimary, { kind: 'admitted' }>): void {
    const { n, watch } = message;
    const asked = this.#asked.get(n);
    this.#asked.delete(n);
    if (asked === undefined) return;
    const { runId, key, resolve } = asked;
    const leave = (): void => void this.#port.send({ kind: 'leave', n });
    const followed = this.#followed.get(watch) ?? new Followed();
    if (watch > 0) this.#followed.set(watch, followed);
    if (message.snapshot) followed.onSnapshot(message.snapshot);
    followed.regain(key.value);
    const { newest: snapshot } = followed;
    assert(snapshot, 'the first admission to a watch brings its state');
    const admission: Following = { kind: 'admitted', runId, key, snapshot, leave, followed };
    resolve(admission);
  }
}

/** A run that the primary watches for this worker. */
class Followed {
  readonly #watches = new Set<FollowedWatch>();
  /** Keys that were lost, until they are admitted anew: a client may be on its way in. */
  readonly #lost = new Map<string, Loss>();
  #newest: Snapshot | undefined;

  get newest(): Snapshot | undefined {
    return this.#newest;
  }

  /** The key was admitted, whatever became of it before. */
  regain(key: string): void {
    this.#lost.delete(key);
  }

  onSnapshot(snapshot: Snapshot): void {
    if (snapshot.id === this.#newest?.id) return;
    this.#newest = snapshot;
    for (const watch of [...this.#watches]) watch.tell(snapshot);
  }

  onLost(key: string, loss: Loss): void {
    this.#lost.set(key, loss);
    for (const watch of [...this.#watches]) watch.lose(key, loss);
  }

  watch(admitted: Admitted, observer: RunObserver): Watch {
    const watch = new FollowedWatch(this, observer);
    this.#watches.add(watch);
    watch.hold(admitted);
    // What came between the admission and now was told to nobody here.
    queueMicrotask(() => {
      if (this.#newest && this.#newest.id !== admitted.snapshot.id) watch.tell(this.#newest);
    });
    return watch;
  }

  admits(admitted: Admitted): Loss | undefined {
    const isOurs = isFollowing(admitted) && admitted.followed === this;
    return isOurs ? this.#lost.get(admitted.key.value) : { kind: 'moved' };
  }

  forget(watch: FollowedWatch): void {
    this.#watches.delete(watch);
  }
}

class FollowedWatch implements Watch {
  readonly #followed: Followed;
  readonly #observer: RunObserver;
  readonly #keys = new Set<string>();
  #isStopped = false;

  constructor(followed: Followed, observer: RunObserver) {
    this.#followed = followed;
    this.#observer = observer;
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
    if (!this.#isStopped) this.#observer.onSnapshot(snapshot);
  }

  lose(key: string, loss: Loss): void {
    if (!this.#isStopped && this.#keys.delete(key)) this.#observer.onLost(key, loss);
  }
}

function isFollowing(admitted: Admitted): admitted is Following {
  return 'followed' in admitted;
}
