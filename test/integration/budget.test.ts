/**
 * The budget over real sockets: an upstream that counts what reaches it in any time of the rate's
 * length, and answers 429 beyond. Times are those of 100 requests a minute, twenty times as fast.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { STARTERS, assertEnded, gatewayFor, names } from '../support/gateway.ts';
import type { StartGateway, TestGateway } from '../support/gateway.ts';
import { refused, state } from '../support/upstream.ts';
import type { Answer } from '../support/upstream.ts';
import { until } from '../support/wait.ts';

const RATE = { requests: 100, perMs: 3_000 };

/** What reached upstream, and what it would not take. */
class Limit {
  readonly times: number[] = [];
  limited = 0;

  /** `answer`, within the limit. */
  over(answer: Answer): Answer {
    return () => {
      const now = performance.now();
      this.times.push(now);
      const recent = this.times.filter((at) => at > now - RATE.perMs).length;
      if (recent <= RATE.requests) return answer;
      this.limited++;
      return refused(429, 'RATE_LIMITED', 'Too many', { 'retry-after': '1' });
    };
  }
}

async function joinAll(gateway: TestGateway, limit: Limit, count: number) {
  const runIds = Array.from({ length: count }, (_, i) => `b-${i}`);
  for (const runId of runIds) gateway.upstream.run(runId, limit.over(state('running')));
  return Promise.all(runIds.map(async (runId) => ({ runId, stream: await gateway.join(runId) })));
}

export function budgetTests(start: StartGateway): void {
  it('is kept while 60 runs are polled, and every end arrives', async (t) => {
    const gateway = await gatewayFor(t, start, { upstreamRate: RATE });
    const limit = new Limit();
    const joined = await joinAll(gateway, limit, 60);
    await until('three times the rate', () => limit.times.length > 3 * RATE.requests, 30_000);
    for (const { runId } of joined) gateway.upstream.run(runId, limit.over(state('completed')));
    for (const { stream } of joined) {
      await stream.next('complete', 20_000);
      await assertEnded(stream);
      assert.deepEqual(names(stream, 'ping'), ['progress', 'complete']);
    }
    assert.equal(limit.limited, 0, `${limit.times.length} requests`);
  });

  it('refuses newcomers that it has no place for, without a request', async (t) => {
    const slow = { requests: 5, perMs: 60_000 };
    const gateway = await gatewayFor(t, start, { upstreamRate: slow, pollIntervalMs: 60_000 });
    const statuses: number[] = [];
    for (let i = 0; i < 8; i++) {
      gateway.upstream.run(`n-${i}`, state('completed'));
      const { status, headers } = await gateway.ask(`n-${i}`);
      statuses.push(status);
      if (status === 429) assert.ok(Number(headers['retry-after']) >= 1);
    }
    assert.deepEqual(statuses, [200, 200, 200, 200, 200, 429, 429, 429]);
    assert.equal(gateway.upstream.count('n-7'), 0, 'nothing beyond reached upstream');
  });

  it('ends with the first 429 for all runs, where no rate was given', async (t) => {
    const gateway = await gatewayFor(t, start);
    const { upstream } = gateway;
    for (const runId of ['one', 'two']) upstream.run(runId, state('running'));
    const [one, two] = await Promise.all([gateway.join('one'), gateway.join('two')]);
    await Promise.all([one.next('progress'), two.next('progress')]);
    upstream.run('one', refused(429, 'RATE_LIMITED', 'Too many', { 'retry-after': '2' }));
    await upstream.next('one');
    // One of the other run may have been under way.
    await two.next('ping');
    const before = upstream.count('two');
    await two.next('ping');
    await two.next('ping');
    assert.equal(upstream.count('two'), before, 'no poll of another run meanwhile');
    for (const runId of ['one', 'two']) upstream.run(runId, state('completed'));
    await Promise.all([one.next('complete', 20_000), two.next('complete', 20_000)]);
  });
}

for (const [name, start] of STARTERS) {
  describe(`a budget over ${name}`, { concurrency: true }, () => budgetTests(start));
}
