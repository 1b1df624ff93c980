/** Many runs, polled within a limit that upstream enforces, on the test's clock. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { PollDriver } from '../../src/source/driver.ts';
import type { Rate } from '../../src/source/quota.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { randomFrom } from '../support/random.ts';
import { A } from './harness.ts';
import { QuotaLab, QuotaUpstream } from './quota-upstream.ts';

const RATE = { requests: 100, perMs: 60_000 };

function lab(rate: Rate | undefined): [QuotaLab, QuotaUpstream] {
  const clock = new FakeClock();
  const upstream = new QuotaUpstream(clock, RATE);
  return [new QuotaLab(clock, upstream, rate, (options) => new PollDriver(options),
    randomFrom(7)), upstream];
}

async function joinAll(of: QuotaLab, count: number): Promise<readonly string[]> {
  const runIds = Array.from({ length: count }, (_, i) => `run-${i}`);
  const joined = Promise.all(runIds.map((runId) => of.join(runId)));
  await of.advance(1_000);
  assert.deepEqual(new Set(await joined), new Set([true]));
  return runIds;
}

/** Times between the requests for each run since `from`. */
function gaps(upstream: QuotaUpstream, runIds: readonly string[], from: number): number[] {
  return runIds.flatMap((runId) => {
    const times = (upstream.askedAt.get(runId) ?? []).filter((at) => at >= from);
    return times.slice(1).map((at, i) => at - (times[i] ?? 0));
  });
}

describe('a newcomer that a place was in sight for', () => {
  it('is told to come back after 5 s where a 429 stops everybody, unasked for', async () => {
    const clock = new FakeClock();
    const upstream = new QuotaUpstream(clock, { requests: 0, perMs: 1_000 });
    const rate = { requests: 1, perMs: 3_000 };
    const of = new QuotaLab(clock, upstream, rate, (options) => new PollDriver(options));
    const answers = ['a', 'b'].map((runId) => of.source.admit(runId, A));
    await of.advance(5_000);
    const refusals = (await Promise.all(answers))
      .map((answer) => answer.kind === 'refused' ? answer.refusal : assert.fail('admitted'));
    assert.deepEqual(refusals.map(({ code }) => code), ['RATE_LIMITED', 'RATE_LIMITED']);
    await of.advance(60_000);
    assert.deepEqual([...upstream.askedAt.keys()], ['a']);
    assert.equal(clock.pending, 0);
    of.source.close();
  });
});

describe('more runs than the budget affords', () => {
  it('are polled less often, all alike, and as ever when they are fewer again', async () => {
    const [of, upstream] = lab(RATE);
    const runIds = await joinAll(of, 30);
    for (const runId of runIds.slice(2)) upstream.endsAt.set(runId, 600_000);
    await of.advance(599_000);
    const stretched = gaps(upstream, runIds, 120_000);
    // 30 runs in 90 requests a minute: 20 s each.
    assert.ok(Math.max(...stretched) <= 23_000, `${Math.max(...stretched)} ms at most`);
    assert.ok(Math.min(...stretched) >= 15_000, `${Math.min(...stretched)} ms at least`);
    await of.advance(180_000);
    assert.equal(of.toldAt.size, 28, 'each end was told');
    const shrunk = gaps(upstream, runIds.slice(0, 2), 700_000);
    assert.ok(Math.max(...shrunk) <= 2_500, `${Math.max(...shrunk)} ms at most`);
    assert.equal(upstream.limited, 0);
    of.source.close();
  });

  it('go on being polled while newcomers take all that they can get', async () => {
    const [of, upstream] = lab(RATE);
    const runIds = await joinAll(of, 5);
    await of.advance(60_000);
    for (let i = 0; i < 1_200; i++) {
      void of.join(`late-${i}`);
      await of.advance(500);
    }
    const since = gaps(upstream, runIds, 120_000);
    assert.equal(upstream.limited, 0);
    assert.ok(since.length > 0 && Math.max(...since) < 400_000, `${Math.max(...since)} ms at most`);
    of.source.close();
  });

  it('are kept within what upstream says remains, where no rate was given', async () => {
    const [of, upstream] = lab(undefined);
    upstream.tells = true;
    const runIds = await joinAll(of, 30);
    await of.advance(600_000);
    assert.ok(upstream.limited <= 1, `${upstream.limited} answers 429`);
    const { length } = gaps(upstream, runIds, 120_000);
    assert.ok(length > 400, `${length} polls: what remains is used`);
    of.source.close();
  });

  it('stop at a 429 for as long as it says, all of them', async () => {
    const [of, upstream] = lab(undefined);
    await joinAll(of, 60);
    await of.advance(600_000);
    // 60 runs want 1,800 requests a minute, and get 100.
    const perMinute = upstream.limited / 10;
    assert.ok(perMinute <= 30, `${perMinute} answers 429 a minute`);
    of.source.close();
  });
});
