/**
 * Admissions with everything around them in the test's hands: polls are played by the test.
 * `live` is what a poller would have, `renew`, `deny` and `settle` what it would say.
 */

import assert from 'node:assert/strict';

import type { Snapshot } from '../../src/core/execution.ts';
import { Metrics } from '../../src/core/metrics.ts';
import type { Admission, ApiKey } from '../../src/core/run-source.ts';
import { Admissions } from '../../src/source/admission.ts';
import type { Answer, Reading, Shown } from '../../src/source/answer.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { within } from '../support/wait.ts';
import { A, FakeFetch, RUN } from './harness.ts';

export const FRESH_MS = 2_000;

export class Lab {
  readonly clock = new FakeClock();
  readonly fetch = new FakeFetch();
  /** What was fed to pollers. */
  readonly fed: Shown[] = [];
  /** The newest state of a poller that serves everybody; undefined: there is none. */
  live: Snapshot | undefined;
  liveSeenAt = 0;
  readonly admissions = new Admissions({
    clock: this.clock, metrics: new Metrics(), freshMs: FRESH_MS, fetch: this.fetch.fetch,
    live: () => this.live && { snapshot: this.live, seenAt: this.liveSeenAt },
    onShown: (shown) => this.fed.push(shown),
  });

  /** Where the answer is remembered; rejects where upstream is asked. */
  async remembered(key: ApiKey = A, runId = RUN): Promise<Admission> {
    const before = this.fetch.asked.length;
    const admission = this.admissions.admit(runId, key);
    assert.equal(this.fetch.asked.length, before, 'upstream was asked');
    return within(1_000, 'a remembered answer', admission);
  }

  /** Where upstream is asked, and says `answer`. */
  async asked(
    answer: Answer, key: ApiKey = A, runId = RUN,
  ): Promise<Admission> {
    const before = this.fetch.asked.length;
    const admission = this.admissions.admit(runId, key);
    assert.equal(this.fetch.asked.length, before + 1, 'upstream was not asked');
    await this.fetch.last.answer(answer);
    return within(1_000, 'the answer', admission);
  }
}

export const admitted = ({ snapshot }: Reading, key = A): Admission =>
  ({ kind: 'admitted', runId: snapshot.runId, key, snapshot });
