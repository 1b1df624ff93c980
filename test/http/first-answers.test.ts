/** What the first answers for several runs come to: a stream, a refusal, or nothing to tell. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';

import { refuse } from '../../src/core/errors.ts';
import type { ErrorCode } from '../../src/core/errors.ts';
import { NO_ID, REFUSED_ID } from '../../src/core/event-id.ts';
import type { Admission } from '../../src/core/run-source.ts';
import { firstAnswers, verdictOn } from '../../src/http/first-answers.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { admittedAs, snapshotOf } from '../support/fake-source.ts';

const live = admittedAs('lma_a', snapshotOf('r', 'running'));
const over = admittedAs('lma_a', snapshotOf('r', 'completed'));
const no = (code: ErrorCode, retryAfterMs?: number): Admission =>
  ({ kind: 'refused', refusal: refuse(code, retryAfterMs ? { retryAfterMs } : {}) });

type Row = readonly [answer: Admission | undefined, id?: string];

function verdict(...rows: Row[]): string {
  const ids = rows.map(([, id = NO_ID]) => id);
  const found = verdictOn(rows.map(([answer]) => answer), ids);
  return found.kind === 'refused' ? found.refusal.code : found.kind;
}

describe('the first answers for several runs', () => {
  it('open a stream where one may be seen, or one says another no', () => {
    for (const rows of [
      [[live]], [[live, live.snapshot.id]], [[over]], [[over, 'other']],
      [[live], [undefined]], [[live], [no('FORBIDDEN')]], [[over], [no('RATE_LIMITED')]],
      [[no('FORBIDDEN')], [no('NOT_FOUND')]], [[no('FORBIDDEN')], [no('RATE_LIMITED')]],
      [[over, over.snapshot.id], [no('FORBIDDEN')]],
      [[no('FORBIDDEN'), REFUSED_ID], [no('FORBIDDEN')]],
    ] as const) assert.equal(verdict(...rows as readonly Row[]), 'open', JSON.stringify(rows));
  });

  it('are a refusal where all are refused alike, or what is left only for now', () => {
    for (const [expected, ...rows] of [
      ['FORBIDDEN', [no('FORBIDDEN')], [no('FORBIDDEN')]],
      ['RATE_LIMITED', [no('RATE_LIMITED')], [no('UPSTREAM_INVALID')]],
      ['RATE_LIMITED', [over, over.snapshot.id], [no('RATE_LIMITED')]],
      ['RATE_LIMITED', [no('NOT_FOUND'), REFUSED_ID], [no('RATE_LIMITED')]],
    ] as const) assert.equal(verdict(...rows as readonly Row[]), expected, JSON.stringify(rows));
  });

  it('say to come back when the last of them may be asked for', () => {
    const answers = [no('RATE_LIMITED', 2_000), no('RATE_LIMITED', 9_000), no('UPSTREAM_INVALID')];
    const found = verdictOn(answers, [NO_ID, NO_ID, NO_ID]);
    assert.equal(found.kind === 'refused' && found.refusal.retryAfterMs, 9_000);
  });

  it('are nothing new where the client has every end and every no', () => {
    assert.equal(verdict([over, over.snapshot.id], [no('NOT_FOUND'), REFUSED_ID]), 'seen');
    assert.equal(verdict([no('NOT_FOUND'), REFUSED_ID]), 'seen');
    assert.equal(verdict([over, REFUSED_ID]), 'open');
  });
});

describe('waiting for them', () => {
  const never = new Promise<Admission>(() => undefined);

  it('ends with the last one', async () => {
    const asked = [Promise.resolve<Admission>(live), Promise.resolve(no('FORBIDDEN'))];
    const answers = await firstAnswers(asked, new FakeClock());
    assert.deepEqual(answers.map((each) => each?.kind), ['admitted', 'refused']);
  });

  it('ends half a second after a yes, and at no time after a no', async () => {
    for (const [first, afterMs, isSettled] of [
      [live, 499, false], [live, 500, true], [no('FORBIDDEN'), 60_000, false],
    ] as const) {
      const clock = new FakeClock();
      let answers: (Admission | undefined)[] | undefined;
      void firstAnswers([never, Promise.resolve(first)], clock).then((all) => (answers = all));
      await turn();
      clock.advance(afterMs);
      await turn();
      assert.deepEqual(answers, isSettled ? [undefined, first] : undefined, `${afterMs}`);
    }
  });
});
