/**
 * The configurations of `test/fleet` as they lie there, run by the real HAProxy, nginx and Caddy in
 * front of three replicas with nothing shared: one poller for each run in the whole fleet, a
 * replica that is killed and comes back, a rolling restart; nothing is lost and nothing repeated.
 */

import assert from 'node:assert/strict';
import { setMaxListeners } from 'node:events';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';

import { watchRun } from '../../src/client/index.ts';
import type { RunEvent } from '../../src/client/index.ts';
import { BALANCERS, startBalancer } from '../support/balancers.ts';
import type { Balancer } from '../support/balancers.ts';
import { startProgram } from '../support/processes.ts';
import type { Program } from '../support/processes.ts';
import { without } from '../support/programs.ts';
import { Signer, jwksFile } from '../support/signing.ts';
import { openStream } from '../support/sse-client.ts';
import { execution, startUpstream, state } from '../support/upstream.ts';
import type { Upstream } from '../support/upstream.ts';
import { until, within } from '../support/wait.ts';

const MS = 60_000;
const REPLICAS = 3;
const RUNS = Array.from({ length: 24 }, (_, i) => `fleet-${i}`);
const WATCHERS = 2;
const POLL_MS = 200;
/** Of each run, while they are counted. */
const POLLS = 8;
const KEY = 'lma_a';
const SIGNER = new Signer();
const FLAGS = ['--poll-interval', `${POLL_MS}ms`, '--ping-interval', '1s', '--drain-timeout', '1s',
  '--webhook-jwks', jwksFile(SIGNER)];
/** As many that a hash which ignores the run is right about all of them once in 729 times. */
const PUSHED = Array.from({ length: 6 }, (_, i) => `pushed-${i}`);

/** One watcher of a run, with all that it is told. */
class Watcher {
  readonly events: RunEvent[] = [];
  readonly ended: Promise<void>;

  constructor(origin: string, runId: string, signal: AbortSignal) {
    this.ended = this.#watch(`${origin}/v1/runs/${runId}/stream`, signal);
  }

  get step(): unknown {
    const last = this.events.at(-1);
    return last === undefined || last.type === 'lost' ? last : last.data['step'];
  }

  async #watch(url: string, signal: AbortSignal): Promise<void> {
    for await (const event of watchRun(url, { apiKey: KEY, signal })) this.events.push(event);
  }
}

class Fleet {
  readonly upstream: Upstream;
  readonly replicas: Program[];
  readonly watchers: readonly Watcher[];
  readonly #t: TestContext;

  constructor(t: TestContext, upstream: Upstream, replicas: Program[], origin: string) {
    const abort = new AbortController();
    setMaxListeners(0, abort.signal);
    t.after(() => abort.abort());
    this.#t = t;
    this.upstream = upstream;
    this.replicas = replicas;
    this.watchers = RUNS.flatMap((runId) => Array.from({ length: WATCHERS }, () =>
      new Watcher(origin, runId, abort.signal)));
  }

  /** Every run is now at `step`, and every watcher hears of it. */
  async toStep(step: number): Promise<void> {
    for (const runId of RUNS) this.upstream.run(runId, state('running', { step }));
    await until(`step ${step}`, () => this.watchers.every((each) => each.step === step), MS);
  }

  /** Ends a replica with this signal; another one takes its place. */
  async replace(index: number, signal: 'SIGKILL' | 'SIGTERM', away = 0): Promise<void> {
    const old = this.replicas[index] ?? assert.fail();
    process.kill(old.pid, signal);
    await within(MS, `the end of replica ${index}`, old.cli.exited);
    if (away > 0) await this.toStep(away);
    this.replicas[index] = await startProgram(this.#t, 1, {
      upstream: this.upstream, port: old.port, flags: FLAGS,
    });
  }
}

async function fleetTest(t: TestContext, proxy: Balancer): Promise<void> {
  const upstream = await startUpstream();
  t.after(() => upstream.close());
  for (const runId of RUNS) upstream.run(runId, state('running', { step: 0 }));
  const replicas = await Promise.all(Array.from({ length: REPLICAS }, () =>
    startProgram(t, 1, { upstream, flags: FLAGS })));
  const origin = await startBalancer(t, proxy, replicas.map(({ port }) => port));
  const fleet = new Fleet(t, upstream, replicas, origin);
  await fleet.toStep(1);
  const { waits } = await lookAndWait(origin);
  await assertOnePoller(fleet);
  await assertPushed(fleet, origin);

  // Without one of them what its runs do is told by the others, then it is back.
  await fleet.replace(0, 'SIGKILL', 2);
  await fleet.toStep(3);

  // Whoever comes to another replica with its id is not sent what it has.
  const [runId = ''] = RUNS;
  const { id = '' } = fleet.watchers[0]?.events.at(-1) ?? {};
  const stream = await openStream(urlOf(origin, runId), {
    headers: { 'x-api-key': KEY, 'last-event-id': id },
  });
  assert.equal((await stream.next(() => true)).event, 'ping');
  stream.destroy();

  // All of them, one after the other, while half of the runs end.
  const [early, late] = [RUNS.slice(0, RUNS.length / 2), RUNS.slice(RUNS.length / 2)];
  for (const index of replicas.keys()) {
    for (const each of early.splice(0, 2)) upstream.run(each, state('completed', { step: 4 }));
    await fleet.replace(index, 'SIGTERM');
  }
  for (const each of [...early, ...late]) upstream.run(each, state('completed', { step: 4 }));
  await within(MS, 'the ends of all', Promise.all(fleet.watchers.map(({ ended }) => ended)));
  for (const { events } of fleet.watchers) {
    assert.deepEqual(events.map(({ type }) => type).filter((type) => type !== 'progress'),
      ['complete']);
    const ids = events.map((event) => event.id);
    assert.equal(new Set(ids).size, ids.length, 'each state once');
  }
  await within(MS, 'answers to all waits', waits);
  await assertToldToComeBack(fleet, origin, id);
}

const urlOf = (origin: string, runId: string): string => `${origin}/v1/runs/${runId}/stream`;

/** The other ways to ask for a run. The waits go on; whatever they are told ends them. */
async function lookAndWait(origin: string): Promise<{ readonly waits: Promise<unknown> }> {
  const headers = { 'x-api-key': KEY };
  const waits = RUNS.map(async (runId) =>
    (await fetch(`${origin}/v1/runs/${runId}/wait?timeout=120`, { headers })).text());
  for (const runId of RUNS) {
    const look = await fetch(`${origin}/v1/runs/${runId}?of=it`, { headers });
    assert.equal(look.status, 200, await look.text());
  }
  return { waits: Promise.allSettled(waits) };
}

/** One poller for each run in the fleet, whoever asks and however, and the runs are spread. */
async function assertOnePoller({ upstream, replicas }: Fleet): Promise<void> {
  const before = RUNS.map((runId) => upstream.count(runId));
  const polls = (): number[] => RUNS.map((runId, i) => upstream.count(runId) - (before[i] ?? 0));
  await until(`${POLLS} polls of each run`, () => Math.min(...polls()) >= POLLS, MS);
  // A second poller would double them.
  for (const [i, each] of polls().entries()) assert.ok(each < 2 * POLLS, `${RUNS[i]}: ${each}`);
  const runs = await Promise.all(replicas.map(async (each) => (await each.stats()).runs));
  assert.equal(runs.reduce((sum, each) => sum + each, 0), RUNS.length);
  assert.ok(runs.every((each) => each > 0), `runs of the replicas: ${runs.join()}`);
}

/** Polls never tell of these ends: only the replica that has the streams can do so. */
async function assertPushed({ upstream }: Fleet, origin: string): Promise<void> {
  for (const runId of PUSHED) {
    upstream.run(runId, state('running'));
    const stream = await openStream(urlOf(origin, runId), { headers: { 'x-api-key': KEY } });
    await stream.next('progress');
    const { headers, body } = SIGNER.deliver(execution(runId, 'completed'));
    const response = await fetch(`${origin}/v1/webhooks/runs`, {
      method: 'POST', headers, body: new Uint8Array(body),
    });
    assert.equal(response.status, 200, await response.text());
    await stream.next('complete');
    assert.equal(await stream.ended, 'end');
  }
}

/** An EventSource would never come back from the status that anybody else gets. */
async function assertToldToComeBack(fleet: Fleet, origin: string, id: string): Promise<void> {
  for (const { cli } of fleet.replicas) cli.kill('SIGKILL');
  const [runId = ''] = RUNS;
  const headers = { 'x-api-key': KEY, 'last-event-id': id };
  await until('nobody answers', async () =>
    (await fetch(urlOf(origin, runId), { headers })).status === 503, MS);
  const stream = await openStream(urlOf(origin, runId), { headers });
  const told = await stream.next('ping');
  assert.equal(told.id, id);
  assert.ok(told.retry !== undefined && told.retry >= 2_000 && told.retry <= 5_000);
  assert.equal(await stream.ended, 'end');
  assert.deepEqual([stream.response.status, stream.events.length], [200, 1]);
}

describe('a fleet of three replicas', { concurrency: true }, () => {
  for (const [name, proxy] of Object.entries(BALANCERS)) {
    const skip = without([proxy.program], proxy.program);
    it(`behind ${name} has one poller a run, and loses and repeats nothing`,
      { skip, timeout: 4 * MS }, (t) => fleetTest(t, proxy));
  }
});
