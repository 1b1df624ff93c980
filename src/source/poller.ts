/**
 * One run that is followed: it is asked for with the keys of its watchers in turn, and they are
 * told what changed. When it is asked for is its schedule's business; which runs have a poller,
 * and who may share it, is decided in `polling-source.ts`.
 */

import { refuse } from '../core/errors.ts';
import type { Refusal } from '../core/errors.ts';
import { isSameRun } from '../core/execution.ts';
import type { Snapshot } from '../core/execution.ts';
import type { Admitted, ApiKey, Loss, RunObserver, Watch } from '../core/run-source.ts';
import { readAtOf, shownIn } from './answer.ts';
import type { Answer, Reading, Shown } from './answer.ts';
import { PollerWatch } from './poller-watch.ts';
import { Rotation } from './rotation.ts';
import { Schedule } from './schedule.ts';
import type { SchedulePolicy } from './schedule.ts';

/** What a poller needs of its surroundings. */
export interface PollerPolicy extends SchedulePolicy {
  /** From the answer to a request that was sent at `askedAt` to the next routine one. */
  restMs(poller: Poller, askedAt: number, answer: Answer): number;
  /** Of its keys, one that is proved all the time without polls. */
  provedKey(poller: Poller): string | undefined;
  /** One request to upstream, whose turn it is. Never rejects. */
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
  /** A key came, or one left and others are there still. */
  onKeys(poller: Poller): void;
  /** An observer threw; it is told nothing more. */
  onThrown(error: unknown): void;
  /** No more polls: the run is over, or nobody watches any more. */
  onEnded(poller: Poller): void;
}

/** Polls one run until it is over or nobody watches. */
export class Poller {
  readonly runId: string;
  readonly #policy: PollerPolicy;
  readonly #owner: PollerOwner;
  readonly #rotation = new Rotation();
  readonly #watches = new Set<PollerWatch>();
  readonly #schedule: Schedule;
  #reading: Reading;
  /** When upstream read the newest state taken in. */
  #readAt: number;
  /** When that answer came. */
  #seenAt: number;

  constructor(first: Shown, policy: PollerPolicy, owner: PollerOwner) {
    this.runId = first.runId;
    this.#reading = first.reading;
    this.#readAt = readAtOf(first);
    this.#seenAt = this.#readAt;
    this.#policy = policy;
    this.#owner = owner;
    this.#rotation.add(first.key);
    // Runs that were joined in the same instant do not stay in step.
    const { pollIntervalMs, random, clock } = policy;
    const firstMs = pollIntervalMs * (0.75 + 0.25 * random());
    const delayMs = Math.max(0, this.#readAt + firstMs - clock.now());
    this.#schedule = new Schedule(policy, () => void this.#poll(), delayMs);
  }

  get snapshot(): Snapshot {
    return this.#reading.snapshot;
  }

  /** When its state came. */
  get seenAt(): number {
    return this.#seenAt;
  }

  /** Of all who watch. */
  get keys(): ApiKey[] {
    return this.#rotation.keys;
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
  take(shown: Shown): void {
    if (this.#schedule.isOver) return;
    const { key, reading, reading: { snapshot } } = shown;
    const readAt = readAtOf(shown);
    // Of what is older than the newest state only an end is taken: it stays true.
    if (readAt < this.#readAt && snapshot.terminal === undefined) return;
    if (snapshot.identity !== this.snapshot.identity && this.#rotation.hasOthers(key.value)) {
      this.lose(key.value, { kind: 'moved' });
      return;
    }
    this.#readAt = Math.max(readAt, this.#readAt);
    this.#seenAt = this.#policy.clock.now();
    const changed = snapshot.id !== this.snapshot.id;
    this.#reading = reading;
    if (snapshot.terminal !== undefined) this.#end();
    else this.#schedule.onRecovered();
    if (changed) for (const watch of [...this.#watches]) watch.tell(snapshot);
  }

  /** A state that came without being asked for is as good as a poll: the next one can wait. */
  push(reading: Reading): void {
    const [key] = this.keys;
    if (key === undefined) return;
    this.take({ runId: this.runId, key, reading, askedAt: this.#policy.clock.now() });
    this.#schedule.putOff(this.#policy.pollIntervalMs);
  }

  /** See {@link Schedule.putOff}. */
  putOff(delayMs: number): void {
    this.#schedule.putOff(delayMs);
  }

  /** See {@link Schedule.hurry}; `key` is asked with next. */
  hurry(delayMs: number, key?: string): void {
    this.#rotation.prefer(key);
    this.#schedule.hurry(delayMs);
  }

  /** What `key` was told of the run without a poll. When the next one is due stays as it is. */
  hear(answer: Answer, key: ApiKey, askedAt: number): void {
    if (this.#schedule.isOver) return;
    if (answer.kind === 'refused') this.#onRefused(answer.refusal, key, askedAt);
    if (answer.kind !== 'state') return;
    this.#rotation.found(key.value);
    this.#owner.onProved(shownIn(answer, this.runId, key, askedAt), this);
  }

  /** There may be news: see {@link Schedule.poke}. */
  poke(): void {
    this.#schedule.poke();
  }

  /** Lets go of a key, and tells those who watch with it. */
  lose(key: string, loss: Loss): void {
    this.#rotation.delete(key);
    for (const watch of [...this.#watches]) watch.lose(key, loss);
    this.#onKeyGone();
  }

  holdTurn(key: ApiKey): void {
    if (this.#rotation.has(key.value)) return;
    this.#rotation.add(key);
    this.#owner.onKeys(this);
  }

  /** The end of one watch's interest in a key; another watch may hold it still. */
  dropTurn(key: string): void {
    for (const watch of this.#watches) if (watch.keys.has(key)) return;
    this.#leave(key);
    this.#onKeyGone();
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

  #end(): void {
    if (this.#schedule.isOver) return;
    this.#schedule.end();
    for (const key of this.#rotation.keys) this.#leave(key.value);
    this.#owner.onEnded(this);
  }

  #leave(key: string): void {
    const left = this.#rotation.delete(key);
    if (left === undefined) return;
    const { runId } = this;
    this.#owner.onLeft({ runId, key: left, reading: this.#reading, askedAt: this.#readAt });
  }

  #onKeyGone(): void {
    if (this.#rotation.size === 0) this.#end();
    else this.#owner.onKeys(this);
  }

  async #poll(): Promise<void> {
    const key = this.#rotation.next(this.#policy.provedKey(this));
    const askedAt = this.#policy.clock.now();
    const answer = await this.#policy.fetch(this.runId, key, this.#reading);
    this.#onAnswer(answer, key, askedAt);
  }

  #onAnswer(answer: Answer, key: ApiKey, askedAt: number): void {
    if (this.#schedule.isOver) return;
    const restMs = this.#policy.restMs(this, askedAt, answer);
    switch (answer.kind) {
      case 'state':
        this.#schedule.rest(restMs);
        this.hear(answer, key, askedAt);
        return;
      case 'refused': {
        const keys = this.#rotation.size;
        this.#onRefused(answer.refusal, key, askedAt);
        // With a key out of the way the others are not made to wait for their turn; but a whole
        // workspace that was closed is not asked for, key after key, in one burst.
        const isLess = this.#rotation.size > 0 && this.#rotation.size < keys;
        if (isLess) this.#schedule.restOrHurry(restMs);
        else this.#schedule.rest(restMs);
        return;
      }
      case 'trouble':
        this.#schedule.backOff(answer.refusal.retryAfterMs);
    }
  }

  #onRefused(refusal: Refusal, key: ApiKey, askedAt: number): void {
    // A key that has not missed the run itself is not refused for others, but asked for next.
    const refused = refusal.status === 404 ? this.#rotation.missed(key) : [key];
    for (const each of refused) {
      const own = each === key ? refusal : refuse('NOT_FOUND', { error: 'The run is gone' });
      const counts = this.#owner.onRefused(this.runId, each, own, askedAt);
      if (counts) this.lose(each.value, { kind: 'refused', refusal: own });
    }
  }
}
