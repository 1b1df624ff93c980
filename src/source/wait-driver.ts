/**
 * `--source wait`: hangs on upstream's `/wait`, which answers the moment the run is over, and with
 * its state when the time is up. How long that time is decides how many requests it takes: the
 * shortest for which all live runs fit into the budget, each ending at a moment of its own.
 */

import { isNoRoute } from './answer.ts';
import type { Answer } from './answer.ts';
import { PollDriver } from './driver.ts';
import type { Poller } from './poller.ts';
import type { Asked } from './run-api.ts';

/** What upstream takes for `timeout`, in seconds. */
const MAX_WAIT_S = 120;
/** An answer that took at least this long was held back by upstream. */
const HELD_MS = 900;
/** Where `/wait` is missing the run is polled, for this long. */
const WITHOUT_MS = 600_000;

/** Hangs on each run. */
export class WaitDriver extends PollDriver {
  readonly #live = new Set<Poller>();
  /** Ends of waits, as numbers of the slots that the budget affords; one to a slot. */
  readonly #ends = new Set<number>();
  /** What came of the last wait for each live run, if it was one. */
  readonly #waits = new Map<string, 'held' | 'failed' | undefined>();
  #underway = 0;
  #isMissingUntil = -Infinity;

  override async ask(...asked: Asked): Promise<Answer> {
    const { api, clock } = this.options;
    const [runId] = asked;
    // After a wait that failed a plain look: it may get through where a wait does not.
    const hasFailed = this.#waits.get(runId) === 'failed';
    this.#note(runId, undefined);
    if (hasFailed || clock.now() < this.#isMissingUntil) return api.get(...asked);
    const seconds = this.#seconds();
    this.#underway++;
    const answer = await api.wait(seconds, ...asked);
    this.#underway--;
    if (isNoRoute(answer)) return this.#withoutWait(answer, asked);
    if (answer.kind === 'trouble') this.#note(runId, 'failed');
    if (answer.kind === 'state') this.#note(runId, 'held');
    return answer;
  }

  /** At once, unless upstream did not hold it back: a slow answer to a plain look is no wait. */
  override restMs(poller: Poller, askedAt: number, answer: Answer): number {
    const isHeld = this.#waits.get(poller.runId) === 'held'
      && this.options.clock.now() - askedAt >= HELD_MS;
    return isHeld ? 0 : super.restMs(poller, askedAt, answer);
  }

  /** A wait may outlive its run here: of that nothing is kept. */
  #note(runId: string, what: 'held' | 'failed' | undefined): void {
    if (this.#waits.has(runId)) this.#waits.set(runId, what);
  }

  /** From now on its end is not to be missed. */
  override onStarted(poller: Poller): void {
    this.#live.add(poller);
    this.#waits.set(poller.runId, undefined);
    poller.poke();
  }

  override onEnded(poller: Poller): void {
    this.#live.delete(poller);
    this.#waits.delete(poller.runId);
  }

  /** Is it the run that is missing, or the route? */
  async #withoutWait(answer: Answer, asked: Asked): Promise<Answer> {
    const { api, clock } = this.options;
    const turn = api.turn('urgent', () => true);
    if (turn !== undefined && !await turn) return answer;
    const plain = await api.get(...asked);
    if (plain.kind === 'state') this.#isMissingUntil = clock.now() + WITHOUT_MS;
    return plain;
  }

  /** Until the first slot that is far enough away for all live runs to have one before it. */
  #seconds(): number {
    const { api: { quota }, clock, pollIntervalMs } = this.options;
    const { rate } = quota;
    if (rate === undefined) return clamp(pollIntervalMs / 1000);
    const now = clock.now();
    const slotMs = rate.perMs / rate.requests / quota.routineShare;
    const waiting = this.#live.size - this.#underway;
    const roomAt = quota.roomAt(now, Math.max(1, waiting));
    const earliest = Math.max(now + Math.max(1000, this.#live.size * slotMs), roomAt);
    for (const slot of this.#ends) if (slot * slotMs < now) this.#ends.delete(slot);
    let slot = Math.ceil(earliest / slotMs);
    while (this.#ends.has(slot)) slot++;
    this.#ends.add(slot);
    return clamp((slot * slotMs - now) / 1000);
  }
}

/** Upstream takes whole seconds; what is cut off, the budget's own queue evens out. */
const clamp = (seconds: number): number => Math.min(MAX_WAIT_S, Math.max(1, Math.floor(seconds)));
