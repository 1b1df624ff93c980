/**
 * When one run is asked for next: after a rest, a backoff or at once, and then when the budget
 * has a place. One request is under way at most. What an answer means is its poller's business.
 *
 *     waiting ──timer──▶ due ──budget──▶ asking ──answered──▶ waiting … ──▶ ended
 */

import { backoffMs } from '../core/backoff.ts';
import type { Clock, Timer } from '../core/clock.ts';
import type { Urgency } from './budget.ts';

/** What a schedule needs of its surroundings. */
export interface SchedulePolicy {
  readonly pollIntervalMs: number;
  readonly clock: Clock;
  readonly random: () => number;
  /** A place in the budget: undefined when there is one now; false when it is not wanted. */
  turn(urgency: Urgency, isWanted: () => boolean): Promise<boolean> | undefined;
  /** A place that was had is not used. */
  giveBack(): void;
}

type State =
  | { readonly kind: 'waiting'; readonly timer: Timer; readonly at: number; readonly pace: Pace }
  /** It wants to ask, and waits for its turn. */
  | { readonly kind: 'due'; readonly pace: Pace }
  | { readonly kind: 'asking'; readonly pace: Pace }
  | { readonly kind: 'ended' };

/** Why the next request comes when it does. */
interface Pace {
  /** Requests in a row that met trouble. */
  readonly failures: number;
  /** Not after an interval, but at once, because the request before it lost its key. */
  readonly isHurried: boolean;
  readonly urgency: Urgency;
}

const STEADY: Pace = { failures: 0, isHurried: false, urgency: 'routine' };

/** Between requests for a run that is {@link Schedule.poke}d. */
const POKE_MS = 500;
/** A longer rest is one without end: until somebody asks for the next request. */
const MAX_REST_MS = 86_400_000;

/** Of one run. */
export class Schedule {
  readonly #policy: SchedulePolicy;
  readonly #ask: () => void;
  #state: State;
  /** When the last request was sent, whatever became of it; a proof comes before the first. */
  #askedAt: number;
  /** Poked while a request was under way, whose answer may be too old. */
  #isPoked = false;

  /** `ask` is called when it is time; one of `rest`, `backOff` and `end` is to follow. */
  constructor(policy: SchedulePolicy, ask: () => void, firstDelayMs: number) {
    this.#policy = policy;
    this.#ask = ask;
    this.#askedAt = policy.clock.now();
    this.#state = this.#waiting(firstDelayMs, STEADY);
  }

  get isOver(): boolean {
    return this.#state.kind === 'ended';
  }

  /** After an answer: the next request is due after `restMs`, or at once if there is news. */
  rest(restMs: number): void {
    if (this.#isPoked) this.#wait(this.#pokeDelayMs(), { ...STEADY, urgency: 'urgent' });
    else this.#wait(restMs, STEADY);
  }

  /** The answer cost a key: the others do not miss their turn for it, but only once in a row. */
  restOrHurry(restMs: number): void {
    const wasHurried = this.#state.kind === 'asking' && this.#state.pace.isHurried;
    if (wasHurried) this.rest(restMs);
    else this.#wait(0, { ...STEADY, isHurried: true });
  }

  /** After trouble. */
  backOff(retryAfterMs: number | undefined): void {
    if (this.#state.kind !== 'asking') return;
    const { pollIntervalMs, random } = this.#policy;
    const failures = this.#state.pace.failures + 1;
    this.#wait(backoffMs(failures, pollIntervalMs, retryAfterMs, random), { ...STEADY, failures });
  }

  /** Upstream has answered somebody else: it is back before the backoff is over. */
  onRecovered(): void {
    const state = this.#state;
    if (state.kind !== 'waiting' || state.pace.failures === 0) return;
    this.#wait(this.#policy.pollIntervalMs, STEADY);
  }

  /** Its state comes without being asked for: what is not yet due waits at least so long. */
  putOff(delayMs: number): void {
    const state = this.#state;
    if (state.kind !== 'waiting' || state.at >= this.#policy.clock.now() + delayMs) return;
    this.#wait(delayMs, STEADY);
  }

  /** It does not any more: what is to come later, trouble aside, comes after so long. */
  hurry(delayMs: number): void {
    const state = this.#state;
    if (state.kind !== 'waiting' || state.pace.failures > 0) return;
    if (state.at > this.#policy.clock.now() + delayMs) this.#wait(delayMs, STEADY);
  }

  /**
   * There may be news: the next request comes now, ahead of routine ones, but at most twice a
   * second, and not where upstream is in trouble.
   */
  poke(): void {
    const state = this.#state;
    if (state.kind === 'asking') this.#isPoked = true;
    if (state.kind !== 'waiting' && state.kind !== 'due') return;
    if (state.pace.failures > 0 || state.pace.urgency === 'urgent') return;
    this.#wait(this.#pokeDelayMs(), { ...STEADY, urgency: 'urgent' });
  }

  /** For good. */
  end(): void {
    this.#enter({ kind: 'ended' });
  }

  #enter(next: State): void {
    if (this.#state.kind === 'waiting') this.#policy.clock.clearTimeout(this.#state.timer);
    this.#state = next;
  }

  #wait(delayMs: number, pace: Pace): void {
    if (this.isOver) return;
    this.#enter(this.#waiting(delayMs, pace));
  }

  #waiting(delayMs: number, pace: Pace): State {
    const { clock } = this.#policy;
    const timer = clock.setTimeout(() => void this.#onDue(pace), Math.min(delayMs, MAX_REST_MS));
    return { kind: 'waiting', timer, at: clock.now() + delayMs, pace };
  }

  async #onDue(pace: Pace): Promise<void> {
    const due: State = { kind: 'due', pace };
    this.#enter(due);
    const turn = this.#policy.turn(pace.urgency, () => this.#state === due);
    if (turn !== undefined) {
      if (!await turn) return;
      // Between the word that it may go and now something else may have ended it.
      if (this.#state !== due) return this.#policy.giveBack();
    }
    this.#enter({ kind: 'asking', pace });
    this.#isPoked = false;
    this.#askedAt = this.#policy.clock.now();
    this.#ask();
  }

  #pokeDelayMs(): number {
    return Math.max(0, this.#askedAt + POKE_MS - this.#policy.clock.now());
  }
}
