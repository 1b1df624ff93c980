/**
 * One run's polling lifecycle: it asks upstream once per interval, with the keys of its watchers
 * in turn, and tells them what changed. One request is in flight at most. Which runs have a
 * poller, and who may share it, is decided in `polling-source.ts`.
 *
 *     waiting ──timer──▶ fetching ──answer──▶ waiting … ──▶ ended
 */

import { backoffMs } from '../core/backoff.ts';
import type { Clock, Timer } from '../core/clock.ts';
import { refuse } from '../core/errors.ts';
import type { Refusal } from '../core/errors.ts';
import { isSameRun } from '../core/execution.ts';
import type { Snapshot } from '../core/execution.ts';
import type { Admitted, ApiKey, Loss, RunObserver, Watch } from '../core/run-source.ts';
import type { Answer, Reading, Shown } from './answer.ts';
import { PollerWatch } from './poller-watch.ts';
import { Rotation } from './rotation.ts';

/** What a poller needs of its surroundings. */
export interface PollerPolicy {
  readonly pollIntervalMs: number;
  readonly clock: Clock;
  readonly random: () => number;
  /** One request to upstream. Never rejects. */
  fetch(runId: string, key: ApiKey, known: Reading | undefined): Promise<Answer>;
}

/** What its owner hears of a poller. */
export interface PollerOwner {
  /** `key` was shown the run once more; to be given to {@link Poller.take}. */
  onProved(shown: Shown, poller: Poller): void;
  onRefused(runId: string, key: ApiKey, refusal: Refusal): void;
  /** No more polls: the run is over, or nobody watches any more. */
  onEnded(poller: Poller): void;
}

type State =
  | { readonly kind: 'waiting'; readonly timer: Timer; readonly failures: number }
  | { readonly kind: 'fetching'; readonly failures: number }
  | { readonly kind: 'ended' };

/** Polls one run until it is over or nobody watches. */
export class Poller {
  readonly runId: string;
  readonly #policy: PollerPolicy;
  readonly #owner: PollerOwner;
  readonly #rotation = new Rotation();
  readonly #watches = new Set<PollerWatch>();
  #state: State;
  #reading: Reading;
  /** When the request was sent whose answer is the newest one taken in. */
  #askedAt: number;

  constructor(first: Shown, policy: PollerPolicy, owner: PollerOwner) {
    const { runId, key, reading, askedAt } = first;
    this.runId = runId;
    this.#reading = reading;
    this.#askedAt = askedAt;
    this.#policy = policy;
    this.#owner = owner;
    this.#rotation.add(key);
    // Runs that were joined in the same instant do not stay in step.
    const { pollIntervalMs, random, clock } = policy;
    const firstMs = pollIntervalMs * (0.75 + 0.25 * random());
    this.#state = this.#wait(Math.max(0, askedAt + firstMs - clock.now()), 0);
  }

  get keys(): ApiKey[] {
    return this.#rotation.keys;
  }

  get reading(): Reading {
    return this.#reading;
  }

  get snapshot(): Snapshot {
    return this.#reading.snapshot;
  }

  /** May `key`, to which upstream showed `snapshot`, have what this poller sees? */
  serves(key: ApiKey, snapshot: Snapshot): boolean {
    return this.#rotation.has(key.value) || isSameRun(this.snapshot, snapshot);
  }

  watch(admitted: Admitted, observer: RunObserver): Watch {
    const watch = new PollerWatch(this, observer, admitted.snapshot.id);
    this.#watches.add(watch);
    watch.hold(admitted);
    const isBehind = admitted.snapshot.id !== this.snapshot.id;
    if (isBehind) queueMicrotask(() => watch.tell(this.snapshot));
    return watch;
  }

  /** A state that was read for another reason, by a key that this poller serves. */
  take({ key, reading, askedAt }: Shown): void {
    if (this.#state.kind === 'ended') return;
    const { snapshot } = reading;
    // An answer that was asked for before the newest one may be older than it. Only an end is
    // taken all the same: it stays true.
    if (askedAt < this.#askedAt && snapshot.terminal === undefined) return;
    if (snapshot.identity !== this.snapshot.identity && this.#rotation.hasOthers(key.value)) {
      this.lose(key.value, { kind: 'moved' });
      return;
    }
    this.#askedAt = Math.max(askedAt, this.#askedAt);
    const changed = snapshot.id !== this.snapshot.id;
    this.#reading = reading;
    if (snapshot.terminal !== undefined) this.#end();
    if (changed) for (const watch of [...this.#watches]) watch.tell(snapshot);
  }

  /** Lets go of a key, and tells those who watch with it. */
  lose(key: string, loss: Loss): void {
    this.#rotation.delete(key);
    for (const watch of [...this.#watches]) {
      if (watch.keys.delete(key)) watch.observer.onLost(key, loss);
    }
    this.#endIfUnwatched();
  }

  holdTurn(key: ApiKey): void {
    this.#rotation.add(key);
  }

  /** The end of one watch's interest in a key; another watch may hold it still. */
  dropTurn(key: string): void {
    for (const watch of this.#watches) if (watch.keys.has(key)) return;
    this.#rotation.delete(key);
    this.#endIfUnwatched();
  }

  forget(watch: PollerWatch): void {
    this.#watches.delete(watch);
    const keys = [...watch.keys];
    watch.keys.clear();
    for (const key of keys) this.dropTurn(key);
  }

  /** Stops for good, telling nobody. */
  close(): void {
    for (const watch of [...this.#watches]) watch.stop();
    this.#end();
  }

  #wait(delayMs: number, failures: number): State {
    const timer = this.#policy.clock.setTimeout(() => void this.#poll(), delayMs);
    return { kind: 'waiting', timer, failures };
  }

  #end(): void {
    const state = this.#state;
    if (state.kind === 'ended') return;
    if (state.kind === 'waiting') this.#policy.clock.clearTimeout(state.timer);
    this.#state = { kind: 'ended' };
    this.#owner.onEnded(this);
  }

  #endIfUnwatched(): void {
    if (this.#rotation.size === 0) this.#end();
  }

  async #poll(): Promise<void> {
    const key = this.#rotation.next();
    if (this.#state.kind !== 'waiting' || key === undefined) return;
    this.#state = { kind: 'fetching', failures: this.#state.failures };
    const askedAt = this.#policy.clock.now();
    const answer = await this.#policy.fetch(this.runId, key, this.#reading);
    this.#onAnswer(answer, key, askedAt);
  }

  #onAnswer(answer: Answer, key: ApiKey, askedAt: number): void {
    const fetching = this.#state;
    if (fetching.kind !== 'fetching') return;
    const { pollIntervalMs, random, clock } = this.#policy;
    // From start to start, but a slow upstream gets at least half an interval of rest.
    const inOneInterval = Math.max(askedAt + pollIntervalMs - clock.now(), pollIntervalMs / 2);
    switch (answer.kind) {
      case 'state':
        this.#state = this.#wait(inOneInterval, 0);
        this.#rotation.found(key.value);
        this.#owner.onProved({ runId: this.runId, key, reading: answer.reading, askedAt }, this);
        return;
      case 'refused': {
        const isMissing = answer.refusal.status === 404;
        // With a key out of the way the others are not made to wait for their turn.
        this.#state = this.#wait(isMissing ? inOneInterval : 0, 0);
        if (isMissing) this.#onMissing(key, answer.refusal);
        else this.#refuse(key, answer.refusal);
        return;
      }
      case 'trouble': {
        const failures = fetching.failures + 1;
        const { retryAfterMs } = answer.refusal;
        const delayMs = backoffMs(failures, pollIntervalMs, retryAfterMs, random);
        this.#state = this.#wait(delayMs, failures);
        return;
      }
    }
  }

  #onMissing(key: ApiKey, refusal: Refusal): void {
    const missing = this.#rotation.missed(key.value);
    if (missing.key) this.#refuse(key, refusal);
    if (!missing.all) return;
    const gone = refuse('NOT_FOUND', { error: 'The run is gone' });
    for (const each of this.#rotation.keys) this.#refuse(each, gone);
  }

  #refuse(key: ApiKey, refusal: Refusal): void {
    this.#owner.onRefused(this.runId, key, refusal);
    this.lose(key.value, { kind: 'refused', refusal });
  }
}
