/**
 * How runs are followed, `--source`: what is asked for each of them, and when. All feed the same
 * pollers, so who may see what, what is new and what is over is decided in one place.
 */

import type { Clock } from '../core/clock.ts';
import type { ApiKey } from '../core/run-source.ts';
import type { Answer } from './answer.ts';
import type { Poller } from './poller.ts';
import type { Asked, RunApi } from './run-api.ts';

/** What upstream said to a key at `askedAt`, or when it was asked then. */
export type Tell = (answer: Answer, key: ApiKey, askedAt: number) => void;

/** One way to follow runs. */
export interface Driver {
  /** A request for a run whose turn it is: a place in the budget was taken. */
  ask(...asked: Asked): Promise<Answer>;
  /** From the answer to a request that was sent at `askedAt` to the next routine one. */
  restMs(poller: Poller, askedAt: number, answer: Answer): number;
  /** Of its keys, one that is proved all the time without polls: its turns go to the others. */
  provedKey(poller: Poller): string | undefined;
  /** `tell` takes what upstream says of the run to a key without being polled. */
  onStarted(poller: Poller, tell: Tell): void;
  /** A key came, or one left and others are there still. */
  onKeys(poller: Poller): void;
  /** The run is over, or nobody watches it any more. */
  onEnded(poller: Poller): void;
  close(): void;
}

/** What every driver needs. */
export interface DriverOptions {
  readonly api: RunApi;
  readonly clock: Clock;
  readonly pollIntervalMs: number;
}

/** Asks for each run once an interval. */
export class PollDriver implements Driver {
  protected readonly options: DriverOptions;

  constructor(options: DriverOptions) {
    this.options = options;
  }

  ask(...asked: Asked): Promise<Answer> {
    return this.options.api.get(...asked);
  }

  /** From start to start, but a slow upstream gets at least half an interval of rest. */
  restMs(_poller: Poller, askedAt: number, _answer: Answer): number {
    const { clock, pollIntervalMs } = this.options;
    return Math.max(askedAt + pollIntervalMs - clock.now(), pollIntervalMs / 2);
  }

  provedKey(_poller: Poller): string | undefined {
    return undefined;
  }

  onStarted(_poller: Poller, _tell: Tell): void {}

  onKeys(_poller: Poller): void {}

  onEnded(_poller: Poller): void {}

  close(): void {}
}
