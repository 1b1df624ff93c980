/**
 * One run's event stream at upstream, for as long as the run is followed: opened with one of its
 * watchers' keys, opened again when it ends or breaks. While it lives, polls rest; whenever it
 * does not, they go on as if there were no streams. What is new and who may see it is decided by
 * the poller, which hears of it as of any other answer.
 *
 *     due ──budget──▶ opening ──event──▶ live ──▶ waiting ──timer──▶ due
 *                        └──unclear──▶ asking ──────▲
 */

import assert from 'node:assert';

import { backoffMs } from '../core/backoff.ts';
import type { Clock, Timer } from '../core/clock.ts';
import type { ApiKey } from '../core/run-source.ts';
import type { Answer } from './answer.ts';
import type { Urgency } from './budget.ts';
import type { Tell } from './driver.ts';
import type { StreamEnd, StreamNews } from './event-stream.ts';
import type { Poller } from './poller.ts';
import type { RunApi } from './run-api.ts';

/** What a stream needs of its surroundings. */
export interface RunStreamPolicy {
  readonly api: RunApi;
  readonly clock: Clock;
  readonly random: () => number;
  readonly pollIntervalMs: number;
  /** How long no stream is to be opened, for there are none, or too many; 0 or less: go ahead. */
  pauseMs(): number;
  /** The connections of all runs' streams. */
  readonly links: Set<Link>;
  /** Upstream shows a run but not its stream. */
  onMissing(): void;
}

/** Other keys than the stream's are proved again by a poll, each once in so long. */
const PROVE_MS = 60_000;
/** Upstream has no stream of the run: it is looked for again after so long, and up to this more. */
const MISSING_MS = 600_000;
const SPREAD_MS = 30_000;
/** A stream that lived for so long was a good one: what failed before it does not count. */
const STEADY_MS = 30_000;

/** A connection. */
export interface Link {
  readonly key: ApiKey;
  readonly close: () => void;
}

type State =
  | { readonly kind: 'waiting'; readonly timer: Timer }
  | { readonly kind: 'due' }
  | { readonly kind: 'opening' | 'live'; readonly link: Link; readonly since: number }
  /** A stream was refused, and a plain request for the run is to tell why. */
  | { readonly kind: 'asking' }
  | { readonly kind: 'ended' };

/** Follows one run. */
export class RunStream {
  readonly #poller: Poller;
  readonly #tell: Tell;
  readonly #policy: RunStreamPolicy;
  /** Keys that were refused since a stream lived: others go first. */
  readonly #refused = new Set<string>();
  #state: State = { kind: 'due' };
  /** Streams in a row that did not last. */
  #failures = 0;

  constructor(poller: Poller, tell: Tell, policy: RunStreamPolicy) {
    this.#poller = poller;
    this.#tell = tell;
    this.#policy = policy;
    void this.#open('urgent');
  }

  /** The key that upstream shows the run to all the time. */
  get liveKey(): ApiKey | undefined {
    return this.#state.kind === 'live' ? this.#state.link.key : undefined;
  }

  /** Until the next poll; undefined: polls are not put off. */
  get restMs(): number | undefined {
    const live = this.liveKey;
    if (live === undefined) return undefined;
    const others = this.#poller.keys.filter(({ value }) => value !== live.value).length;
    return PROVE_MS / others;
  }

  /** A key came, or one left. */
  onKeys(): void {
    const state = this.#state;
    if (!('link' in state)) return;
    // On the strength of a key with which nobody watches any more, nothing is shown.
    const { value: own } = state.link.key;
    if (!this.#poller.keys.some(({ value }) => value === own)) this.#again();
    else if (this.restMs !== undefined) this.#poller.hurry(this.restMs);
  }

  /** For good. */
  end(): void {
    this.#enter({ kind: 'ended' });
  }

  async #open(urgency: Urgency): Promise<void> {
    const { api, clock, random, pauseMs } = this.#policy;
    const restMs = pauseMs();
    if (restMs > 0) return this.#wait(restMs + random() * SPREAD_MS, Infinity);
    const due: State = { kind: 'due' };
    this.#enter(due);
    const turn = api.turn(urgency, () => this.#state === due);
    if (turn !== undefined && !await turn) return undefined;
    // It may have ended between the word that it is its turn and now: the place is given back.
    if (this.#state !== due) return api.giveBack();
    const key = this.#nextKey();
    const { runId, snapshot } = this.#poller;
    const close = api.follow(runId, key, snapshot.id, (news) => this.#onNews(link, news));
    const link: Link = { key, close };
    this.#policy.links.add(link);
    this.#enter({ kind: 'opening', link, since: clock.now() });
    return undefined;
  }

  #nextKey(): ApiKey {
    const { keys } = this.#poller;
    const unrefused = keys.find(({ value }) => !this.#refused.has(value));
    if (unrefused === undefined) this.#refused.clear();
    const key = unrefused ?? keys[0];
    assert(key, 'somebody watches');
    return key;
  }

  #onNews(link: Link, news: StreamNews): void {
    const state = this.#state;
    if (!('link' in state) || state.link !== link) return undefined;
    if (news.kind === 'end') return this.#onEnd(news.end, link.key);
    const { answer } = news;
    if (answer?.kind === 'refused') return this.#onRefused(answer, link.key);
    if (state.kind === 'opening') this.#onLive(link);
    if (answer !== undefined) this.#tell(answer, link.key, this.#policy.clock.now());
    return undefined;
  }

  /** Not with the head: what stands in between may hold back all that follows. */
  #onLive(link: Link): void {
    this.#enter({ kind: 'live', link, since: this.#policy.clock.now() });
    this.#refused.clear();
    this.#poller.putOff(this.restMs ?? 0);
  }

  #onEnd(end: StreamEnd, key: ApiKey): void {
    switch (end.kind) {
      case 'away':
        return this.#again();
      case 'over': case 'unclear':
        return void this.#ask(end.kind, key);
      case 'trouble':
        return this.#backOff(end.refusal.retryAfterMs);
    }
  }

  /** Is the run over; is it the key; or are there no streams? */
  async #ask(why: 'over' | 'unclear', key: ApiKey): Promise<void> {
    const { api, clock, random, onMissing } = this.#policy;
    const asking: State = { kind: 'asking' };
    this.#enter(asking);
    const turn = api.turn('urgent', () => this.#state === asking);
    if (turn !== undefined && !await turn) return undefined;
    if (this.#state !== asking) return api.giveBack();
    const askedAt = clock.now();
    const answer = await api.get(this.#poller.runId, key, undefined);
    if (this.#state !== asking) return undefined;
    if (answer.kind === 'refused') return this.#onRefused(answer, key, askedAt);
    this.#tell(answer, key, askedAt);
    if (this.#state !== asking) return undefined;
    if (answer.kind === 'trouble') return this.#backOff(answer.refusal.retryAfterMs);
    if (why === 'over') return this.#backOff(undefined);
    onMissing();
    return this.#wait(MISSING_MS + random() * SPREAD_MS, Infinity);
  }

  /** The next key is tried, before anybody is told: that may end it all. */
  #onRefused(answer: Answer, key: ApiKey, askedAt = this.#policy.clock.now()): void {
    this.#refused.add(key.value);
    this.#again();
    this.#tell(answer, key, askedAt);
  }

  /** At once, but not time and again. */
  #again(): void {
    this.#forgive();
    const { random, pollIntervalMs } = this.#policy;
    const restMs = this.#failures++ === 0 ? 0 : backoffMs(this.#failures, 0, undefined, random);
    this.#wait(restMs, pollIntervalMs);
  }

  #backOff(retryAfterMs: number | undefined): void {
    this.#forgive();
    const { random, pollIntervalMs } = this.#policy;
    const restMs = backoffMs(++this.#failures, 0, retryAfterMs, random);
    // All runs of a gateway that is gone are not polled in one instant.
    this.#wait(restMs, random() * pollIntervalMs);
  }

  #forgive(): void {
    const state = this.#state;
    const isSteady = state.kind === 'live'
      && this.#policy.clock.now() - state.since >= STEADY_MS;
    if (isSteady) this.#failures = 0;
  }

  /** `pollMs`: where there was a stream, the next poll comes after so long. */
  #wait(restMs: number, pollMs: number): void {
    const wasLive = this.#state.kind === 'live';
    const timer = this.#policy.clock.setTimeout(() => void this.#open('routine'), restMs);
    this.#enter({ kind: 'waiting', timer });
    if (wasLive) this.#poller.hurry(pollMs);
  }

  #enter(next: State): void {
    const before = this.#state;
    this.#state = next;
    if (before.kind === 'waiting') this.#policy.clock.clearTimeout(before.timer);
    if (!('link' in before) || 'link' in next) return;
    before.link.close();
    this.#policy.links.delete(before.link);
  }
}
