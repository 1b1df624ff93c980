/**
 * Polls and proofs together, over real requests to a scripted upstream: who shares a poller and
 * who must not. Only the source's own time is moved by hand; the requests' deadlines run on the
 * real clock and are never reached, and each wait is for a fact.
 */

import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';

import { systemClock } from '../../src/core/clock.ts';
import { jsonLogger } from '../../src/core/log.ts';
import type { Admitted, ApiKey, Watch } from '../../src/core/run-source.ts';
import type { PollingSource } from '../../src/source/polling-source.ts';
import { Upstream } from '../../src/source/upstream.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { apiKey } from '../support/fake-source.ts';
import { hang, perKey, refused, startUpstream, state } from '../support/upstream.ts';
import type { Upstream as Server } from '../support/upstream.ts';
import { until, within } from '../support/wait.ts';
import { A, B, C, FOREIGN, RUN, Witness, sourceOver } from './harness.ts';

const POLL_MS = 2_000;

let server: Server;
let clock: FakeClock;
let source: PollingSource;
let log: { level: string; msg: string }[];

beforeEach(async () => {
  server = await startUpstream();
  clock = new FakeClock();
  log = [];
  const upstream = new Upstream({
    url: new URL(server.origin), path: '/v1/runs/{runId}', timeoutMs: 10_000,
    maxBodyBytes: 1_000_000,
  }, systemClock);
  const logger = jsonLogger('info', clock, (line) => log.push(JSON.parse(line)));
  source = sourceOver(upstream, { clock, log: logger, pollIntervalMs: POLL_MS });
});

afterEach(async () => {
  source.close();
  await server.close();
  assert.deepEqual([source.size.pollers, clock.pending], [0, 0]);
});

async function admit(key: ApiKey, runId = RUN): Promise<Admitted> {
  const answer = await within(5_000, `the admission of ${key.value}`, source.admit(runId, key));
  if (answer.kind === 'refused') assert.fail(`${key.value}: ${answer.refusal.code}`);
  return answer;
}

async function codeOf(key: ApiKey): Promise<string> {
  const answer = await within(5_000, `the refusal of ${key.value}`, source.admit(RUN, key));
  return answer.kind === 'refused' ? answer.refusal.code : answer.kind;
}

/** A key that is admitted and watches for itself. */
async function join(key: ApiKey, runId = RUN): Promise<{ witness: Witness; watch: Watch }> {
  const witness = new Witness();
  return { witness, watch: source.watch(await admit(key, runId), witness) };
}

/** Time goes on to the next poll, and its answer is in. */
async function poll(times = 1): Promise<void> {
  for (let i = 0; i < times; i++) {
    const before = server.count();
    clock.advance(clock.nextInMs ?? assert.fail('no poll is due'));
    await until('the poll', () => server.count() > before && server.inFlight === 0);
    await until('its answer', () => clock.pending === source.size.pollers);
  }
}

const statuses = ({ snapshots }: Witness): string[] => snapshots.map(({ status }) => status);
const keysAsked = (): (string | undefined)[] => server.requests.map(({ key }) => key);

describe('one run', () => {
  it('joined 300 times with 3 keys costs 3 requests, one poller and one poll an interval',
    async () => {
      server.run(RUN, state('running'));
      const keys = [A, B, C];
      const joins = Array.from({ length: 300 }, (_, i) => source.admit(RUN, keys[i % 3] ?? A));
      const admissions = await within(5_000, '300 admissions', Promise.all(joins));
      assert.equal(server.count(), 3);
      for (const admission of admissions) {
        if (admission.kind === 'refused') assert.fail(admission.refusal.code);
        source.watch(admission, new Witness());
      }
      assert.deepEqual(source.size, { pollers: 1, pending: 0, proofs: 3 });
      await poll(6);
      assert.deepEqual(keysAsked().slice(3),
        ['lma_a', 'lma_b', 'lma_c', 'lma_a', 'lma_b', 'lma_c']);
      assert.equal(clock.now(), 1_500 + 5 * POLL_MS);
    });

  it('is shown as the poller has it, without a request, to a key that was asked lately',
    async () => {
      server.run(RUN, state('queued'));
      await join(A);
      server.run(RUN, state('running'));
      await poll(20);
      const before = server.count();
      assert.equal((await admit(A)).snapshot.status, 'running');
      assert.equal(server.count(), before);
    });

  it('is known at once to all who watch when a newcomer is shown something newer', async () => {
    server.run(RUN, state('queued'));
    const first = await join(A);
    server.run(RUN, state('running'));
    clock.advance(100);
    const second = await join(B);
    assert.deepEqual(statuses(first.witness), ['running']);
    assert.equal(source.size.pollers, 1);
    await turn();
    assert.deepEqual(second.witness.snapshots, [], 'that it has already');
  });

  it('is polled at once where the proof has been forgotten before the watch', async () => {
    server.run(RUN, state('queued'));
    const admitted = await admit(A);
    clock.advance(60_000);
    const witness = new Witness();
    server.run(RUN, state('running'));
    source.watch(admitted, witness);
    assert.equal(clock.nextInMs, 1);
    await poll();
    assert.deepEqual(statuses(witness), ['running']);
  });

  it('costs nothing any more when the last watch is stopped', async () => {
    server.run(RUN, state('running'));
    const [a, b] = [await join(A), await join(B)];
    a.watch.stop();
    assert.deepEqual([source.size.pollers, clock.pending], [1, 1]);
    b.watch.release('lma_b');
    assert.deepEqual([source.size.pollers, clock.pending], [0, 0]);
  });
});

describe('a key', () => {
  it('that may not see the run gets its own refusal while others stream', async () => {
    server.run(RUN, perKey({
      lma_b: refused(403, 'FORBIDDEN', 'Not your workspace'), lma_c: refused(404, 'NOT_FOUND'),
    }, state('running')));
    const { witness } = await join(A);
    for (let i = 0; i < 3; i++) {
      assert.deepEqual([await codeOf(B), await codeOf(C)], ['FORBIDDEN', 'NOT_FOUND']);
    }
    assert.deepEqual(keysAsked(), ['lma_a', 'lma_b', 'lma_c']);
    server.run(RUN, perKey({ lma_a: state('completed') }, refused(403, 'FORBIDDEN')));
    await poll();
    assert.deepEqual(statuses(witness), ['completed']);
    assert.deepEqual(witness.losses, []);
  });

  it('that is revoked loses its watch, is refused without a request, and nobody else is',
    async () => {
      server.run(RUN, state('running'));
      const [a, b] = [await join(A), await join(B)];
      server.run(RUN, perKey({ lma_b: refused(401, 'AUTH_KEY_REVOKED', 'Revoked') },
        state('running', { step: 2 })));
      await poll(2);
      assert.deepEqual(b.witness.lostKeys, ['lma_b']);
      const [lost] = b.witness.losses;
      assert.equal(lost?.loss.kind === 'refused' && lost.loss.refusal.code, 'AUTH_KEY_REVOKED');
      const before = server.count();
      assert.equal(await codeOf(B), 'AUTH_KEY_REVOKED');
      assert.equal(server.count(), before);
      assert.equal((await admit(A)).kind, 'admitted');
      assert.deepEqual([a.witness.losses, source.size.pollers], [[], 1]);
    });
});

describe('two tenants with the same run id', () => {
  const theirs = (status: string) => perKey({ lma_b: state(status, FOREIGN) }, state(status));

  it('have a poller each, asked with their own keys, and never see each other', async () => {
    server.run(RUN, theirs('queued'));
    const [a, b, c] = [await join(A), await join(B), await join(C)];
    assert.equal(source.size.pollers, 2);
    server.run(RUN, theirs('running'));
    await poll(4);
    server.run(RUN, perKey({ lma_b: state('failed', FOREIGN) }, state('running', { step: 2 })));
    await poll(3);
    for (const { witness } of [a, c]) {
      assert.deepEqual([...new Set(statuses(witness))], ['running']);
      for (const { data } of witness.snapshots) assert.doesNotMatch(data, /wf_foreign/);
    }
    assert.equal(b.witness.snapshots.at(-1)?.status, 'failed');
    for (const { data } of b.witness.snapshots) assert.match(data, /wf_foreign/);
    assert.equal(source.size.pollers, 1);
    for (const { witness } of [a, b, c]) assert.deepEqual(witness.losses, []);
  });

  it('are told apart as well when a key turns out to have changed sides', async () => {
    server.run(RUN, state('queued'));
    const [a, b] = [await join(A), await join(B)];
    server.run(RUN, theirs('running'));
    await poll(2);
    assert.deepEqual(b.witness.losses, [{ key: 'lma_b', loss: { kind: 'moved' } }]);
    assert.deepEqual(statuses(b.witness), ['running'], 'by its sharer, when it still was one');
    const before = server.count();
    const again = await join(B);
    assert.equal(server.count(), before, 'what it was shown just now is proof');
    assert.equal(source.size.pollers, 2);
    server.run(RUN, theirs('completed'));
    await poll(2);
    assert.match(again.witness.snapshots.at(-1)?.data ?? '', /wf_foreign/);
    assert.doesNotMatch(a.witness.snapshots.at(-1)?.data ?? '', /wf_foreign/);
  });

  for (const field of ['runId', 'workflowId', 'createdAt']) {
    it(`are assumed where upstream does not show ${field}, even for the very same bytes`,
      async () => {
        for (const value of [undefined, null, 7]) {
          const runId = `${RUN}_${value}`;
          server.run(runId, state('queued', { [field]: value }));
          const joined = [await join(A, runId), await join(B, runId)];
          assert.equal(source.size.pollers, 2);
          for (const { watch } of joined) watch.stop();
        }
      });
  }
});

describe('the end of a run', () => {
  it('reaches all who watch, and later joins of their keys without a request', async () => {
    server.run(RUN, state('running'));
    const joined = [await join(A), await join(B), await join(C)];
    server.run(RUN, state('completed'));
    await poll();
    for (const { witness } of joined) assert.deepEqual(statuses(witness), ['completed']);
    assert.deepEqual([source.size.pollers, clock.pending], [0, 0]);
    const before = server.count();
    for (const key of [A, B, C]) {
      assert.equal((await admit(key)).snapshot.terminal, 'complete');
    }
    assert.equal(server.count(), before);
    server.run(RUN, refused(403, 'FORBIDDEN'));
    assert.equal(await codeOf(apiKey('lma_d')), 'FORBIDDEN');
    clock.advance(60_000);
    assert.equal(await codeOf(A), 'FORBIDDEN');
  });

  it('reaches one that was admitted before it and watches after it', async () => {
    server.run(RUN, state('running'));
    const [admitted] = [await admit(B), await join(A)];
    source.watch(admitted, new Witness()).stop();
    const other = await join(B);
    server.run(RUN, state('completed'));
    await poll();
    assert.deepEqual(statuses(other.witness), ['completed']);
    const late = new Witness();
    const watch = source.watch(admitted, late);
    assert.deepEqual(late.snapshots, [], 'not during the call');
    await turn();
    assert.deepEqual(statuses(late), ['completed']);
    watch.stop();
  });
});

describe('trouble with upstream', () => {
  it('is logged once, not its end, and not told to those who watch', async () => {
    server.run(RUN, state('running'));
    const { witness } = await join(A);
    server.run(RUN, refused(503, 'RESOURCE_UNAVAILABLE'));
    await poll(4);
    server.run(RUN, state('completed'));
    await poll();
    assert.deepEqual(log.map(({ level }) => level), ['warn']);
    assert.deepEqual([statuses(witness), witness.losses], [['completed'], []]);
    assert.ok(!JSON.stringify(log).includes('lma_'), 'no key in a log');
  });

  it('refuses a newcomer for now, and is not remembered', async () => {
    server.run(RUN, refused(503, 'RESOURCE_UNAVAILABLE', 'Down', { 'retry-after': '9' }));
    const answer = await source.admit(RUN, A);
    assert.equal(answer.kind === 'refused' && answer.refusal.retryAfterMs, 9_000);
    server.run(RUN, state('running'));
    await admit(A);
  });
});

describe('closing the source', () => {
  it('ends every poller, lets waiting joins go, and tells no watcher anything', async () => {
    server.run(RUN, state('running'));
    server.run('run_2', state('running'));
    const joined = [await join(A), await join(B, 'run_2'), await join(C)];
    assert.equal(source.size.pollers, 2);
    server.run('run_3', hang());
    const arrived = server.next('run_3');
    const waiting = source.admit('run_3', A);
    await arrived;
    source.close();
    source.close();
    assert.deepEqual([source.size.pollers, clock.pending], [0, 0]);
    const answer = await within(2_000, 'the join under way at the close', waiting);
    assert.equal(answer.kind, 'refused');
    for (const { witness } of joined) {
      assert.deepEqual([witness.snapshots, witness.losses], [[], []]);
    }
  });
});
