/**
 * One budget for all requests to upstream, whatever they are for: who goes next while there is
 * not enough for all. Joins and ends go before routine polls, but of five requests one is a poll
 * where one waits, so nobody starves; polls go in the order in which they became due, so their
 * intervals stretch evenly. What may be sent at all is `quota.ts`.
 */

import type { Clock, Timer } from '../core/clock.ts';
import type { Quota } from './quota.ts';

/** `urgent`: somebody waits for the answer, or a run is known to have ended. */
export type Urgency = 'urgent' | 'routine';

interface Ticket {
  readonly isWanted: () => boolean;
  readonly resolve: (isGranted: boolean) => void;
}

/** Of so many requests in a row one is routine, if one waits. */
const URGENT_IN_A_ROW = 4;

/** The queue for requests to upstream. */
export class Budget {
  readonly #clock: Clock;
  readonly #quota: Quota;
  readonly #queues: Record<Urgency, Ticket[]> = { urgent: [], routine: [] };
  #urgentInARow = 0;
  #timer: Timer | undefined;
  #isClosed = false;

  constructor(clock: Clock, quota: Quota) {
    this.#clock = clock;
    this.#quota = quota;
  }

  /**
   * A place for one request: undefined when it may go now, else resolves when it may. False: it
   * is not wanted any more when its turn comes, or all is over. Every request that goes is to be
   * followed by {@link Quota.settle} and {@link Budget.onSettled}. It waits for no more than
   * `ahead` others of its kind.
   */
  take(
    urgency: Urgency, isWanted: () => boolean, ahead = Infinity,
  ): Promise<boolean> | undefined {
    if (this.#isClosed) return Promise.resolve(false);
    const now = this.#clock.now();
    const { urgent, routine } = this.#queues;
    const isAlone = urgent.length + routine.length === 0;
    if (isAlone && this.#quota.delayMs(now, urgency === 'routine') <= 0) {
      this.#quota.spend(now, urgency === 'routine');
      return undefined;
    }
    return new Promise((resolve) => {
      this.#queues[urgency].splice(ahead, 0, { isWanted, resolve });
      this.#pump();
    });
  }

  /** How long an urgent request would wait, as far as one can tell; Infinity: for an answer. */
  get waitMs(): number {
    const ahead = this.#queues.urgent.length;
    return this.#quota.delayMs(this.#clock.now(), false, ahead);
  }

  /** The same for one who waits no longer than `patienceMs`, whatever was estimated. */
  takeWithin(patienceMs: number, isWanted: () => boolean): Promise<boolean> | undefined {
    let isPatient = true;
    const turn = this.take('urgent', () => isPatient && isWanted());
    if (turn === undefined) return undefined;
    const timer = this.#clock.setTimeout(() => {
      isPatient = false;
      this.#sweep();
    }, patienceMs);
    return turn.finally(() => this.#clock.clearTimeout(timer));
  }

  /** What is not wanted any more waits no longer, wherever it stands. */
  #sweep(): void {
    for (const urgency of ['urgent', 'routine'] as const) {
      const waiting = this.#queues[urgency].splice(0);
      for (const ticket of waiting) {
        if (ticket.isWanted()) this.#queues[urgency].push(ticket);
        else ticket.resolve(false);
      }
    }
    this.#pump();
  }

  /** An answer may have changed what may be sent. */
  onSettled(): void {
    this.#pump();
  }

  close(): void {
    this.#isClosed = true;
    for (const queue of Object.values(this.#queues)) {
      for (const { resolve } of queue.splice(0)) resolve(false);
    }
    this.#stop();
  }

  #pump(): void {
    this.#stop();
    if (this.#isClosed) return;
    let waitMs = Infinity;
    for (let turns = this.#turns(); turns.length > 0; turns = this.#turns()) {
      const now = this.#clock.now();
      // A poll whose turn it is before what is urgent may use what is left to that.
      const isPollsTurn = turns[0] === 'routine' && turns.length > 1;
      const delays = turns.map((each) =>
        this.#quota.delayMs(now, each === 'routine' && !isPollsTurn));
      const urgency = turns[delays.findIndex((delayMs) => delayMs <= 0)];
      if (urgency === undefined) {
        waitMs = Math.min(...delays);
        break;
      }
      this.#urgentInARow = urgency === 'urgent' ? this.#urgentInARow + 1 : 0;
      this.#quota.spend(now, urgency === 'routine');
      this.#queues[urgency].shift()?.resolve(true);
    }
    if (waitMs === Infinity) return;
    this.#timer = this.#clock.setTimeout(() => this.#pump(), Math.ceil(waitMs));
  }

  /** Whose turns are next, best first, of those that are still wanted. */
  #turns(): Urgency[] {
    const { urgent, routine } = this.#queues;
    for (const queue of [urgent, routine]) {
      while (queue[0]?.isWanted() === false) queue.shift()?.resolve(false);
    }
    const order: Urgency[] = this.#urgentInARow < URGENT_IN_A_ROW
      ? ['urgent', 'routine'] : ['routine', 'urgent'];
    return order.filter((each) => this.#queues[each].length > 0);
  }

  #stop(): void {
    if (this.#timer !== undefined) this.#clock.clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
