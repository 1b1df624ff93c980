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
  /** How often its key had been lost before. */
  readonly losses: number;
}

type Told = Extract<FromPrimary, { kind: 'stats' | 'metrics' }>;

interface Asked {
  readonly runId: string;
  readonly key: ApiKey;
  readonly resolve: (admission: Admission) => void;
}

const CLOSED: Admission = {
  kind: 'refused',
  refusal: refuse('RESOURCE_UNAVAILABLE', { error: 'The gateway is shutting down' }),
};

/** The source behind every gateway in a worker. */
export class IpcSource implements RunSource, Machine {
  readonly #port: Port<FromWorker, FromPrimary>;
  readonly #asked = new Map<number, Asked>();
  readonly #questions = new Map<number, (told: Told) => void>();
  readonly #followed = new Map<number, Followed>();
  #n = 0;
  #isClosed = false;

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
      case 'stats': case 'metrics':
        this.#questions.get(message.n)?.(message);
        this.#questions.delete(message.n);
        return undefined;
      case 'start': case 'drain':
        return undefined;
    }
  }

  admit(runId: string, key: ApiKey): Promise<Admission> {
    if (this.#isClosed) return Promise.resolve(CLOSED);
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
  async stats(): Promise<Stats> {
    const told = await this.#question('stats');
    return told.kind === 'stats' ? told.stats : { streams: 0, runs: 0 };
  }

  /** Of the whole machine, as text. */
  async metrics(): Promise<string> {
    const told = await this.#question('metrics');
    return told.kind === 'metrics' ? told.text : '';
  }

  /** The primary is gone, or is let go: nobody gets an answer any more. */
  close(): void {
    this.#isClosed = true;
    for (const { resolve } of this.#asked.values()) resolve(CLOSED);
    this.#asked.clear();
    this.#followed.clear();
  }

  #question(kind: Told['kind']): Promise<Told> {
    const n = ++this.#n;
    return new Promise((resolve) => {
      this.#questions.set(n, resolve);
      this.#port.send({ kind, n });
    });
  }

  #onAdmitted(message: Extract<FromPrimary, { kind: 'admitted' }>): void {
    const { n, watch } = message;
    const asked = this.#asked.get(n);
    this.#asked.delete(n);
    const leave = (): void => void this.#port.send({ kind: 'leave', n });
    if (asked === undefined) return leave();
    const { runId, key, resolve } = asked;
    const followed = this.#followed.get(watch) ?? new Followed();
    if (watch > 0) this.#followed.set(watch, followed);
    if (message.snapshot) followed.onSnapshot(message.snapshot);
    const { newest: snapshot } = followed;
    assert(snapshot, 'the first admission to a watch brings its state');
    const losses = followed.losses(key.value);
    const admission: Following = {
      kind: 'admitted', runId, key, snapshot, leave, followed, losses,
    };
    return resolve(admission);
  }
}

/** A run that the primary watches for this worker. */
class Followed {
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

function isFollowing(admitted: Admitted): admitted is Following {
  return 'followed' in admitted;
}
