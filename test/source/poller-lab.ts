/**
 * A poller with everything around it in the test's hands: clock, answers, chance, an owner that
 * gives proofs back as polling-source.ts does, and a witness who watches with all its keys.
 */

import type { ApiKey, Watch } from '../../src/core/run-source.ts';
import type { Refusal } from '../../src/core/errors.ts';
import { Poller } from '../../src/source/poller.ts';
import type { Answer, Reading, Shown } from '../../src/source/answer.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { admittedAs } from '../support/fake-source.ts';
import { A, FakeFetch, RUN, step, Witness } from './harness.ts';

export const POLL_MS = 2_000;

interface LabOptions {
  readonly keys?: readonly ApiKey[];
  readonly random?: () => number;
  readonly askedAt?: number;
}

export class Lab {
  readonly clock = new FakeClock();
  readonly fetch = new FakeFetch();
  readonly poller: Poller;
  readonly witness = new Witness();
  readonly watch: Watch;
  /** What upstream showed at first. */
  readonly shown: Reading = step(0);
  random: () => number;
  readonly proved: Shown[] = [];
  readonly refused: [key: string, refusal: Refusal, askedAt: number][] = [];
  readonly left: Shown[] = [];
  readonly thrown: unknown[] = [];
  ended = 0;

  constructor({ keys = [A], random = () => 0, askedAt: firstAskedAt = 0 }: LabOptions = {}) {
    this.random = random;
    const [key = A, ...others] = keys;
    const first = { runId: RUN, key, reading: this.shown, askedAt: firstAskedAt };
    const policy = {
      pollIntervalMs: POLL_MS, clock: this.clock, fetch: this.fetch.fetch,
      random: () => this.random(), turn: () => undefined, giveBack: () => undefined,
      restMs: (_poller: Poller, askedAt: number) =>
        Math.max(askedAt + POLL_MS - this.clock.now(), POLL_MS / 2),
      provedKey: () => undefined,
    };
    this.poller = new Poller(first, policy, {
      onProved: (shown, poller) => {
        this.proved.push(shown);
        poller.take(shown);
      },
      onRefused: (_runId, { value }, ...no) => this.refused.push([value, ...no]) > 0,
      onKeys: () => undefined,
      onLeft: (shown) => this.left.push(shown),
      onThrown: (error) => this.thrown.push(error),
      onEnded: () => this.ended++,
    });
    const { snapshot } = this.shown;
    this.watch = this.poller.watch(admittedAs(key.value, snapshot), this.witness);
    for (const other of others) this.watch.hold(admittedAs(other.value, snapshot));
  }

  /** At the moment of its first request, 1500 ms in. */
  static polling(...keys: ApiKey[]): Lab {
    const lab = new Lab(keys.length > 0 ? { keys } : {});
    lab.clock.advance(lab.clock.nextInMs ?? NaN);
    return lab;
  }

  /** Answers the request under way, then waits for the next one, for each. */
  async answer(...answers: readonly Answer[]): Promise<void> {
    for (const answer of answers) {
      await this.fetch.last.answer(answer);
      this.clock.advance(this.clock.nextInMs ?? 0);
    }
  }
}
