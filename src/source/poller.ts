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
  /** False: a later yes to this key stands. */
  onRefused(runId: string, key: ApiKey, refusal: Refusal, askedAt: number): boolean;
  /** Nobody watches with this key any more, or the run is over: the newest that it may know. */
  onLeft(shown: Shown): void;
  /** An observer threw; it is told nothing more. */
  onThrown(error: unknown): void;
  /** No more polls: the run is over, or nobody watches any more. */
  onEnded(poller: Poller): void;
}

type State =
  | { readonly kind: 'waiting'; readonly timer: Timer; readonly pace: Pace }
  | { readonly kind: 'fetching'; readonly pace: Pace }
  | { readonly kind: 'ended' };

/** Why the next poll comes when it does. */
interface Pace {
  /** Polls in a row that met trouble. */
  readonly failures: number;
  /** Not after an interval, but at once, because the poll before it lost its key. */
  readonly isHurried: boolean;
}

const STEADY: Pace = { failures: 0, isHurried: false };

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
    const delayMs = Math.max(0, askedAt + firstMs - clock.now());
    const timer = clock.setTimeout(() => void this.#poll(), delayMs);
    this.#state = { kind: 'waiting', timer, pace: STEADY };
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
    else if (this.#state.kind === 'waiting' && this.#state.pace.failures > 0) {
      // Somebody else was answered: upstream is back before the backoff is over.
      this.#wait(this.#policy.pollIntervalMs, STEADY);
    }
    if (changed) for (const watch of [...this.#watches]) watch.tell(snapshot);
  }

  /** Lets go of a key, and tells those who watch with it. */
  lose(key: string, loss: Loss): void {
    this.#rotation.delete(key);
    for (const watch of [...this.#watches]) watch.lose(key, loss);
    this.#endIfUnwatched();
  }

  holdTurn(key: ApiKey): void {
    this.#rotation.add(key);
  }

  /** The end of one watch's interest in a key; another watch may hold it still. */
  dropTurn(key: string): void {
    for (const watch of this.#watches) if (watch.keys.has(key)) return;
    this.#leave(key);
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

  onThrown(error: unknown): void {
    this.#owner.onThrown(error);
  }

  #enter(next: State): void {
    if (this.#state.kind === 'waiting') this.#policy.clock.clearTimeout(this.#state.timer);
    this.#state = next;
  }

  #wait(delayMs: number, pace: Pace): void {
    const timer = this.#policy.clock.setTimeout(() => void this.#poll(), delayMs);
    this.#enter({ kind: 'waiting', timer, pace });
  }

  #end(): void {
    if (this.#state.kind === 'ended') return;
    this.#enter({ kind: 'ended' });
    for (const key of this.#rotation.keys) this.#leave(key.value);
    this.#owner.onEnded(this);
  }

  #leave(key: string): void {
    const left = this.#rotation.delete(key);
    if (left === undefined) return;
    const { runId } = this;
    this.#owner.onLeft({ runId, key: left, reading: this.#reading, askedAt: this.#askedAt });
  }

  #endIfUnwatched(): void {
    if (this.#rotation.size === 0) this.#end();
  }

  async #poll(): Promise<void> {
    if (this.#state.kind !== 'waiting') return;
    const key = this.#rotation.next();
    this.#enter({ kind: 'fetching', pace: this.#state.pace });
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
        this.#wait(inOneInterval, STEADY);
        this.#rotation.found(key.value);
        this.#owner.onProved({ runId: this.runId, key, reading: answer.reading, askedAt }, this);
        return;
      case 'refused': {
        this.#wait(inOneInterval, STEADY);
        const keys = this.#rotation.size;
        this.#onRefused(answer.refusal, key, askedAt);
        // With a key out of the way the others are not made to wait for their turn; but a whole
        // workspace that was closed is not asked for, key after key, in one burst.
        const isLess = this.#rotation.size > 0 && this.#rotation.size < keys;
        if (isLess && !fetching.pace.isHurried) this.#wait(0, { failures: 0, isHurried: true });
        return;
      }
      case 'trouble': {
        const failures = fetching.pace.failures + 1;
        const { retryAfterMs } = answer.refusal;
        const delayMs = backoffMs(failures, pollIntervalMs, retryAfterMs, random);
        this.#wait(delayMs, { failures, isHurried: false });
        return;
      }
    }
  }

  #onRefused(refusal: Refusal, key: ApiKey, askedAt: number): void {
    const isMissing = refusal.status === 404;
    // A key that has not missed the run itself is not refused for others, but asked for next.
    const refused = isMissing ? this.#rotation.missed(key) : [key];
    for (const each of refused) {
      const own = each === key ? refusal : refuse('NOT_FOUND', { error: 'The run is gone' });
      const counts = this.#owner.onRefused(this.runId, each, own, askedAt);
      if (counts) this.lose(each.value, { kind: 'refused', refusal: own });
    }
  }
}
