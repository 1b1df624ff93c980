/**
 * One poller per run and what a key may see of it: what upstream is asked, how often and with
 * whose key; and that nobody gets a byte of a run, or loses a stream, on somebody else's key.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  STARTERS, assertEnded, assertRetry, assertStream, names, useGateway,
} from '../support/gateway.ts';
import type { StartGateway, TestGateway } from '../support/gateway.ts';
import type { SseStream } from '../support/sse-client.ts';
import { delay, execution, perKey, refused, state } from '../support/upstream.ts';
import type { UpstreamRequest } from '../support/upstream.ts';

const KEYS = ['lma_a', 'lma_b', 'lma_c'];

const requestsOf = ({ upstream }: TestGateway, runId: string): UpstreamRequest[] =>
  upstream.requests.filter((request) => request.runId === runId);

const joinAll = (gateway: TestGateway, runId: string, n: number): Promise<SseStream[]> =>
  Promise.all(Array.from({ length: n }, (_, i) =>
    gateway.join(runId, { key: KEYS[i % KEYS.length] ?? '' })));

/** Without polls in between: what is counted are proofs. */
export function proofTests(start: StartGateway): void {
  const gateway = useGateway(start, { pollIntervalMs: 60_000 });

  it('asks once for each key when 300 clients join with three', async () => {
    gateway().upstream.run('crowd', delay(100, state('running')));
    const streams = await joinAll(gateway(), 'crowd', 300);
    await Promise.all(streams.map((stream) => stream.next('progress')));
    const keys = requestsOf(gateway(), 'crowd').map(({ key }) => String(key));
    assert.deepEqual(keys.sort(), KEYS);
    const later = await joinAll(gateway(), 'crowd', 30);
    await Promise.all(later.map((stream) => stream.next('progress')));
    assert.equal(gateway().upstream.count('crowd'), 3, 'a yes holds for a minute');
    for (const stream of [...streams, ...later]) stream.destroy();
  });

  for (const [status, code] of [
    [401, 'AUTH_INVALID_KEY'], [403, 'FORBIDDEN'], [404, 'NOT_FOUND'],
  ] as const) {
    it(`asks once when a key that gets ${status} comes forty times`, async () => {
      const { upstream } = gateway();
      const runId = `no-${status}`;
      upstream.run(runId, delay(50, refused(status, code)));
      const together = await Promise.all(Array.from({ length: 20 }, () => gateway().ask(runId)));
      const after: typeof together = [];
      for (let i = 0; i < 20; i++) after.push(await gateway().ask(runId));
      assert.ok([...together, ...after].every((answer) => answer.status === status));
      assert.equal(upstream.count(runId), 1);
      upstream.run(runId, state('running'));
      const other = await gateway().join(runId, { key: 'lma_b' });
      assert.equal(other.response.status, 200, 'the no was one key\'s');
    });
  }

  it('asks for each run anew, whatever the key was shown before', async () => {
    const { upstream } = gateway();
    upstream.run('mine', state('running'));
    upstream.run('theirs', refused(403, 'FORBIDDEN'));
    assert.equal((await gateway().join('mine')).response.status, 200);
    assert.equal((await gateway().join('theirs')).response.status, 403);
  });

  it('hands the key on in the form in which it came, and nothing else of the request', async () => {
    const { upstream } = gateway();
    upstream.run('form', state('running'));
    const headers = { 'cookie': 'c=1', 'x-forwarded-for': '1.2.3.4' };
    const authorization = 'bearer lma_bearer';
    await gateway().join('form', { headers, lastEventId: 'x', query: '?lastEventId=y&z=1' });
    const bearer = await fetch(gateway().url('form'), { headers: { authorization, ...headers } });
    await bearer.body?.cancel();
    const [first, second] = requestsOf(gateway(), 'form');
    assert.deepEqual([first?.key, first?.headerForm], ['lma_a', 'x-api-key']);
    assert.deepEqual([second?.key, second?.headerForm], ['lma_bearer', 'authorization']);
    for (const { method, path, headers: seen } of requestsOf(gateway(), 'form')) {
      assert.deepEqual([method, path], ['GET', '/v1/runs/form']);
      const extra = ['cookie', 'x-forwarded-for', 'last-event-id'].filter((name) => name in seen);
      assert.deepEqual(extra, []);
      assert.equal('x-api-key' in seen && 'authorization' in seen, false);
    }
  });
}

export function pollerTests(start: StartGateway): void {
  const gateway = useGateway(start, { pollIntervalMs: 60 });

  it('polls once an interval for 60 clients, one at a time, with their keys in turn', async () => {
    const { upstream } = gateway();
    upstream.run('shared', delay(10, state('running')));
    const streams = await joinAll(gateway(), 'shared', 60);
    const from = upstream.count('shared');
    await gateway().polls('shared', 12);
    const polls = requestsOf(gateway(), 'shared').slice(from);
    polls.forEach(({ at }, i) => {
      const before = polls[i - 1]?.at ?? -Infinity;
      assert.ok(at - before >= 29, `poll ${i} came ${at - before} ms after the one before`);
    });
    for (let i = 3; i + 3 <= polls.length; i++) {
      const turns = polls.slice(i, i + 3).map(({ key }) => String(key));
      assert.deepEqual(turns.sort(), KEYS, `polls ${i} to ${i + 2}`);
    }
    upstream.run('shared', state('completed'));
    await Promise.all(streams.map((stream) => assertEnded(stream)));
    assert.ok(streams.every((stream) => names(stream).at(-1) === 'complete'));
  });

  it('stops with its last client and not before, and starts again with the next', async () => {
    const { upstream } = gateway();
    upstream.run('on-off', state('running'));
    const streams = await joinAll(gateway(), 'on-off', 6);
    const last = streams.pop();
    for (const stream of streams) stream.destroy();
    await gateway().polls('on-off', 4);
    last?.destroy();
    await gateway().untilUnpolled('on-off');

    upstream.run('on-off', state('paused'));
    const again = await gateway().join('on-off');
    const { data } = await again.next('progress');
    assert.equal(data, JSON.stringify(execution('on-off', 'paused')), 'no state of before');
    await gateway().polls('on-off', 3);
    upstream.run('on-off', state('completed'));
    await again.next('complete');
    await gateway().untilUnpolled('on-off');
  });

  it('does not stay for a client that left before its proof was there', async () => {
    const { upstream } = gateway();
    upstream.run('hasty', delay(150, state('running')));
    const abort = new AbortController();
    const asked = upstream.next('hasty');
    const headers = { 'x-api-key': 'lma_a' };
    const hasty = fetch(gateway().url('hasty'), { headers, signal: abort.signal });
    await asked;
    abort.abort();
    await assert.rejects(hasty, { name: 'AbortError' });
    await gateway().untilUnpolled('hasty');
    // A poll may go out before the primary has heard from its worker that the client left.
    assert.ok(upstream.count('hasty') <= 2, `${upstream.count('hasty')} requests`);
  });

  it('shows the newest state to whoever joins, not the one that its key was shown', async () => {
    const { upstream } = gateway();
    upstream.run('newest', state('queued'));
    const first = await gateway().join('newest');
    const second = await gateway().join('newest', { key: 'lma_b' });
    await second.next('progress');
    second.destroy();
    upstream.run('newest', state('running'));
    await first.next((event) => event.data.includes('"running"'));
    const again = await gateway().join('newest', { key: 'lma_b' });
    assert.match((await again.next('progress')).data, /"running"/);
  });
}

export function lossTests(start: StartGateway): void {
  const gateway = useGateway(start);

  for (const [status, code] of [[401, 'AUTH_INVALID_KEY'], [403, 'KEY_SUSPENDED']] as const) {
    it(`ends the streams of a key that gets ${status} in mid-stream, and no others`, async () => {
      const { upstream } = gateway();
      const runId = `revoked-${status}`;
      upstream.run(runId, state('running'));
      const [kept, lost, lostToo] = [
        await gateway().join(runId), await gateway().join(runId, { key: 'lma_b' }),
        await gateway().join(runId, { key: 'lma_b' }),
      ];
      await Promise.all([kept, lost, lostToo].map((stream) => stream.next('progress')));
      const text = `Key suspended (${status})`;
      upstream.run(runId, perKey({ lma_b: refused(status, code, text) }, state('running')));
      for (const stream of [lost, lostToo]) {
        const { data, id } = await stream.next('error');
        assert.deepEqual(JSON.parse(data), {
          runId, errorMessage: text, error: text, code, retryable: false,
          requestId: stream.response.headers['x-request-id'],
        });
        assert.equal(id, stream.events[0]?.id);
        await assertEnded(stream);
      }
      assert.equal((await gateway().ask(runId, { key: 'lma_b' })).status, status, 'no way back');
      upstream.run(runId, perKey({ lma_b: refused(status, code) }, state('completed')));
      await assertEnded(kept);
      assert.deepEqual(names(kept, 'ping'), ['progress', 'complete']);
    });
  }

  it('gives a foreign key upstream\'s own answer while others stream', async () => {
    const { upstream } = gateway();
    const theirs = {
      lma_foreign: refused(403, 'FORBIDDEN', 'Another workspace'),
      lma_unknown: refused(401, 'AUTH_INVALID_KEY', 'Never heard of it'),
      lma_other: refused(404, 'NOT_FOUND', 'No such run for you'),
    };
    upstream.run('guarded', perKey(theirs, state('running')));
    const stream = await gateway().join('guarded');
    await stream.next('progress');
    for (const [key, status, code, error] of [
      ['lma_foreign', 403, 'FORBIDDEN', 'Another workspace'],
      ['lma_unknown', 401, 'AUTH_INVALID_KEY', 'Never heard of it'],
      ['lma_other', 404, 'NOT_FOUND', 'No such run for you'],
    ] as const) {
      const refusal = await gateway().join('guarded', { key });
      await refusal.ended;
      assert.equal(refusal.response.status, status);
      const { requestId, ...body } = JSON.parse(refusal.raw.toString()) as Record<string, unknown>;
      assert.deepEqual(body, { error, code, retryable: false });
      assert.equal(requestId, refusal.response.headers['x-request-id']);
    }
    await gateway().polls('guarded', 3);
    assert.deepEqual(names(stream, 'ping'), ['progress']);
    const asked = requestsOf(gateway(), 'guarded').filter(({ key }) => key !== 'lma_a');
    assert.equal(asked.length, 3, 'refused keys take no turns in the polls');
  });

  for (const status of [404, 410]) {
    it(`believes a ${status} that lasts three polls, and not one that lasts two`, async () => {
      const { upstream } = gateway();
      const runId = `gone-${status}`;
      upstream.run(runId, state('running'));
      const streams = [await gateway().join(runId), await gateway().join(runId, { key: 'lma_b' })];
      await Promise.all(streams.map((stream) => stream.next('progress')));
      let missing = 2;
      upstream.run(runId, () =>
        missing-- > 0 ? refused(status, 'NOT_FOUND', 'Nothing here') : state('paused'));
      for (const stream of streams) await stream.next('progress');
      let asked = 0;
      upstream.run(runId, () => {
        asked++;
        return refused(status, 'NOT_FOUND', 'Nothing here');
      });
      for (const stream of streams) {
        const { data } = await stream.next('error');
        const told = JSON.parse(data) as Record<string, unknown>;
        assert.deepEqual([told['runId'], told['code'], told['retryable']],
          [runId, 'NOT_FOUND', false]);
        await assertEnded(stream);
        assert.deepEqual(names(stream, 'ping'), ['progress', 'progress', 'error']);
      }
      assert.equal(asked, 3);
      await gateway().untilUnpolled(runId);
    });
  }
}

export function tenantTests(start: StartGateway): void {
  const gateway = useGateway(start);
  const a = { workflowId: 'wf_a', createdAt: '2026-01-01T00:00:00.000Z' };
  const b = { workflowId: 'wf_b', createdAt: '2026-02-02T00:00:00.000Z' };

  it('keeps two tenants apart who use the same run id', async () => {
    const { upstream } = gateway();
    const show = (statusOfA: string, statusOfB: string): void =>
      upstream.run('twin', perKey({ lma_a: state(statusOfA, a) }, state(statusOfB, b)));
    show('running', 'running');
    const [ofA, ofB, moreOfB] = await Promise.all([
      gateway().join('twin'), gateway().join('twin', { key: 'lma_b' }),
      gateway().join('twin', { key: 'lma_c' }),
    ]);
    await Promise.all([ofA, ofB, moreOfB].map((stream) => stream.next('progress')));
    show('completed', 'paused');
    await Promise.all([ofB, moreOfB].map((stream) => stream.next('progress')));
    await assertEnded(ofA);
    show('completed', 'failed');
    await Promise.all([assertEnded(ofB), assertEnded(moreOfB)]);
    assert.deepEqual(names(ofA, 'ping'), ['progress', 'complete']);
    for (const stream of [ofB, moreOfB]) {
      assert.deepEqual(names(stream, 'ping'), ['progress', 'progress', 'error']);
      assert.ok(!stream.raw.toString().includes('wf_a'));
    }
    assert.ok(!ofA.raw.toString().includes('wf_b'));
  });

  it('lets a key go that is shown another run in mid-stream, to be placed anew', async () => {
    const { upstream } = gateway();
    upstream.run('moved', state('running', a));
    const ofA = await gateway().join('moved');
    const ofB = await gateway().join('moved', { key: 'lma_b' });
    await Promise.all([ofA, ofB].map((stream) => stream.next('progress')));
    upstream.run('moved', perKey({ lma_b: state('completed', b) }, state('running', a)));
    await assertEnded(ofB);
    assert.deepEqual(names(ofB, 'ping'), ['progress'], 'no verdict over the run that it followed');
    const last = ofB.events.at(-1);
    assert.equal(last?.event, 'ping');
    assertRetry(last?.retry);
    const back = await gateway().join('moved', { key: 'lma_b', lastEventId: String(last?.id) });
    assert.match((await back.next('complete')).data, /"wf_b"/);
    await gateway().polls('moved', 3);
    assert.deepEqual(names(ofA, 'ping'), ['progress']);
  });

  it('shares nothing where an answer does not say which run it shows', async () => {
    const { upstream } = gateway();
    const unnamed = (status: string): ReturnType<typeof state> =>
      state(status, { createdAt: undefined });
    upstream.run('vague', perKey({ lma_a: unnamed('running') }, unnamed('running')));
    const ofA = await gateway().join('vague');
    const ofB = await gateway().join('vague', { key: 'lma_b' });
    await Promise.all([ofA, ofB].map((stream) => stream.next('progress')));
    upstream.run('vague', perKey({ lma_a: unnamed('completed') }, unnamed('running')));
    await assertEnded(ofA);
    await gateway().polls('vague', 3);
    assert.deepEqual(names(ofB, 'ping'), ['progress']);
    assertStream(ofB);
  });
}

for (const [name, start] of STARTERS) {
  describe(`sharing over ${name}`, { concurrency: true }, () => {
    describe('proofs', () => proofTests(start));
    describe('one poller', () => pollerTests(start));
    describe('a key that is refused', () => lossTests(start));
    describe('tenants', () => tenantTests(start));
  });
}
