/** Conditional requests over real HTTP: a tag goes back with the key that got it, and only then. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';

import { systemClock } from '../../src/core/clock.ts';
import type { Snapshot } from '../../src/core/execution.ts';
import { silentLogger } from '../../src/core/log.ts';
import { Upstream } from '../../src/source/upstream.ts';
import { execution } from '../support/answers.ts';
import { perKey, raw, startUpstream, state } from '../support/upstream.ts';
import type { Answer, Upstream as Server } from '../support/upstream.ts';
import { until } from '../support/wait.ts';
import { A, B, RUN, Witness, sourceOver } from './harness.ts';
import type { PollingSource } from '../../src/source/polling-source.ts';

const ETAG = '"v1"';
const body = JSON.stringify({ data: execution(RUN, 'running') });

/** 304 to whoever sends the tag, and notes down what each request sent. */
const tagged = (sent: (string | undefined)[], etag = ETAG): Answer => ({ headers }) => {
  sent.push(headers['if-none-match']);
  return headers['if-none-match'] === etag
    ? raw('', { status: 304, headers: { etag } })
    : raw(body, { headers: { etag } });
};

async function start(t: TestContext): Promise<[PollingSource, Server]> {
  const server = await startUpstream();
  const upstream = new Upstream({
    url: new URL(server.origin), path: '/v1/runs/{runId}', timeoutMs: 10_000, maxBodyBytes: 100_000,
  }, systemClock);
  const source = sourceOver(upstream, {
    clock: systemClock, log: silentLogger, pollIntervalMs: 20,
  });
  t.after(async () => {
    source.close();
    await server.close();
  });
  return [source, server];
}

/** The states that it is told. */
async function watch(source: PollingSource, key = A): Promise<readonly Snapshot[]> {
  const admission = await source.admit(RUN, key);
  if (admission.kind === 'refused') return assert.fail(admission.refusal.code);
  const witness = new Witness();
  source.watch(admission, witness);
  return witness.snapshots;
}

describe('a tag of upstream', () => {
  it('goes back with the next poll; 304 is unchanged, and a change is told', async (t) => {
    const [source, server] = await start(t);
    const sent: (string | undefined)[] = [];
    server.run(RUN, tagged(sent));
    const told = await watch(source);
    await until('five polls', () => sent.length >= 6);
    assert.equal(sent[0], undefined);
    assert.ok(sent.slice(1).every((tag) => tag === ETAG), sent.join());
    assert.equal(told.length, 0);
    server.run(RUN, state('completed'));
    await until('the end', () => told.length === 1);
    assert.equal(told[0]?.terminal, 'complete');
  });

  it('never goes with another key: its run may be another one under the same tag', async (t) => {
    const [source, server] = await start(t);
    const [ofA, ofB]: (string | undefined)[][] = [[], []];
    server.run(RUN, perKey({
      [A.value]: tagged(ofA ?? []), [B.value]: tagged(ofB ?? [], '"v1-of-b"'),
    }, state('running')));
    await watch(source, A);
    await watch(source, B);
    await until('polls with both', () => (ofA?.length ?? 0) > 4 && (ofB?.length ?? 0) > 4);
    assert.ok(ofA?.every((tag) => tag === undefined || tag === ETAG), ofA?.join());
    assert.ok(ofB?.every((tag) => tag === undefined || tag === '"v1-of-b"'), ofB?.join());
  });

  it('that is no tag is not sent back, and a 304 that nobody asked for is trouble', async (t) => {
    const [source, server] = await start(t);
    const sent: (string | undefined)[] = [];
    server.run(RUN, ({ headers, n }) => {
      sent.push(headers['if-none-match']);
      return n % 2 === 0 ? raw('', { status: 304 }) : raw(body, { headers: { etag: 'v1' } });
    });
    const told = await watch(source);
    await until('three requests', () => sent.length >= 2, 20_000);
    server.run(RUN, state('completed'));
    await until('the end', () => told.length === 1, 20_000);
    assert.ok(sent.every((tag) => tag === undefined), sent.join());
  });
});
