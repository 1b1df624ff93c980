/** What the tests of `--source list` share: a driver over the upstream that enforces its limit. */

import { ListDriver } from '../../src/source/list-driver.ts';
import type { Rate } from '../../src/source/quota.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { randomFrom } from '../support/random.ts';
import { A } from './harness.ts';
import { QuotaLab, QuotaUpstream } from './quota-upstream.ts';

export const RATE = { requests: 100, perMs: 60_000 };
/** So little that nothing is left for looks at outputs: what is asked for has another reason. */
export const SCARCE = { requests: 40, perMs: 60_000 };
export const MINUTE_MS = 60_000;

export function lab(rate: Rate = RATE, random = randomFrom(11)): ListLab {
  const clock = new FakeClock();
  return new ListLab(clock, new QuotaUpstream(clock, rate), rate, random);
}

export class ListLab extends QuotaLab {
  readonly clock: FakeClock;
  readonly upstream: QuotaUpstream;

  constructor(clock: FakeClock, upstream: QuotaUpstream, rate: Rate, random: () => number) {
    super(clock, upstream, rate, (options) => new ListDriver(options, random), random);
    this.clock = clock;
    this.upstream = upstream;
  }

  /** Again and again, as a client would, until it is in. The clock is the test's to move. */
  async arrive(runId: string, key = A): Promise<void> {
    while (!await this.join(runId, key)) {
      await new Promise<void>((resolve) => this.clock.setTimeout(resolve, 1_000));
    }
  }

  /** Runs that go on for ever, watched. */
  async start(runIds: readonly string[], key = A): Promise<void> {
    for (const runId of runIds) {
      if (!this.upstream.endsAt.has(runId)) this.upstream.endsAt.set(runId, Infinity);
      let isIn = false;
      void this.arrive(runId, key).then(() => (isIn = true));
      while (!isIn) await this.advance(50);
    }
  }

  /** From the end of each to when it was told, longest first; Infinity: never. */
  latenessOf(runIds: readonly string[]): number[] {
    return runIds.map((id) => (this.toldAt.get(id) ?? Infinity)
      - (this.upstream.endsAt.get(id) ?? 0)).sort((a, b) => b - a);
  }
}

export const runs = (count: number, name = 'run'): string[] =>
  Array.from({ length: count }, (_, i) => `${name}-${i}`);
