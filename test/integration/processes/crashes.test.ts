/**
 * Processes that die and processes that stand still, with real signals. A worker takes its own
 * sockets with it and nothing else, and is replaced; workers do not outlive their primary; one
 * that is stopped holds nobody up, and catches up when it goes on.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { assertEnded, assertStream, names } from '../../support/gateway.ts';
import {
  ask, clientsOf, isAlive, metric, rssBytes, startProcesses, startProgram, workersOf,
} from '../../support/processes.ts';
import type { Program } from '../../support/processes.ts';
import { openRaw } from '../../support/sse-client.ts';
import type { ReceivedEvent, SseStream } from '../../support/sse-client.ts';
import { delay, startUpstream, state } from '../../support/upstream.ts';
import { until, within } from '../../support/wait.ts';

/** What workers may take when their primary is gone. */
const ORPHAN_MS = 2_000;
const BIG = 'x'.repeat(100_000);

function twoWorkers(program: Program): [number, number] {
  const [a = 0, b = 0, ...more] = program.workers();
  assert.ok(a > 0 && b > 0 && more.length === 0, `two workers: ${program.workers().join(', ')}`);
  return [a, b];
}

const nOf = ({ data }: ReceivedEvent): number => (JSON.parse(data) as { n: number }).n;

const untilGone = (pids: readonly number[], ms: number): Promise<void> =>
  until(`the end of ${pids.join(', ')}`, () => !pids.some(isAlive), ms);

function workerTests(): void {
  it('a worker that is killed costs its own sockets only, and is replaced', async (t) => {
    const program = await startProgram(t, 2);
    const { upstream, port } = program;
    const [a, b] = twoWorkers(program);
    upstream.run('r1', state('running', { n: 1 }));
    const lost = await program.joinOn(a, 'r1');
    const kept = await program.joinOn(b, 'r1');
    const { id } = await lost.next('progress');
    await kept.next('progress');
    await until('both are counted', async () => await metric(port, 'runcast_streams') === 2);
    process.kill(a, 'SIGKILL');
    assert.notEqual(await within(2_000, 'the cut', lost.ended), 'end');

    const back = await program.join('r1', { lastEventId: id });
    assert.equal((await back.next(() => true)).event, 'ping', 'what it has is not sent again');
    await until('its places given back', async () => (await program.stats()).streams === 2);
    await until('a new worker', () => program.workers().length === 2, 10_000);
    const fresh = program.workers().find((pid) => pid !== b) ?? 0;
    await until('it listens', () => program.logged('worker listens').length === 3, 10_000);
    const onFresh = await program.joinOn(fresh, 'r1', { lastEventId: id });
    const first = await onFresh.next(() => true);
    assert.deepEqual([first.event, first.id], ['ping', id], 'nor by the new worker');

    upstream.run('r1', state('running', { n: 2 }));
    const all = [kept, back, onFresh];
    for (const stream of all) assert.equal(nOf(await stream.next('progress')), 2);
    upstream.run('r1', state('completed'));
    for (const stream of all) {
      await stream.next('complete');
      await assertEnded(stream);
    }
    assert.deepEqual(names(kept, 'ping'), ['progress', 'progress', 'complete']);
    assert.deepEqual(names(back, 'ping'), ['progress', 'complete']);
    assert.equal(upstream.maxInFlight('r1'), 1, 'one poller all the time');
    const [death] = program.logged('worker died');
    assert.deepEqual([death?.['level'], death?.['pid'], death?.['why']], ['error', a, 'SIGKILL']);
    assert.equal(await metric(port, 'runcast_worker_deaths_total'), 1);
    assert.equal(await metric(port, 'runcast_streams_closed_total', 'crash'), 1);
    assert.equal(await metric(port, 'runcast_streams_unfinished_total'), 1);
    await program.untilIdle();
    await program.untilUnpolled('r1');
  });

  it('a worker that is killed over a proof takes no other worker\'s answer along', async (t) => {
    const program = await startProgram(t, 2);
    const { upstream } = program;
    const [a, b] = twoWorkers(program);
    upstream.run('slow', delay(1_500, state('running')));
    process.kill(b, 'SIGSTOP');
    const first = program.join('slow').then(() => 'a head', () => 'none');
    await upstream.next('slow');
    process.kill(b, 'SIGCONT');
    process.kill(a, 'SIGSTOP');
    const second = program.join('slow');
    await until('a client of the other one', () => clientsOf(b, program.port).size > 0);
    process.kill(a, 'SIGKILL');
    const stream = await second;
    await stream.next('progress');
    assert.equal(await first, 'none');
    assert.equal(upstream.maxInFlight('slow'), 1, 'one proof for both');
    stream.destroy();
    await program.untilIdle();
    await program.untilUnpolled('slow');
  });

  it('workers that keep dying are replaced ever later, and reported', async (t) => {
    const program = await startProgram(t, 2);
    const { upstream, cli } = program;
    const [a, b] = twoWorkers(program);
    upstream.run('r1', state('running', { n: 0 }));
    const stream = await program.joinOn(b, 'r1');
    let victim = a;
    for (let deaths = 1; deaths <= 5; deaths++) {
      process.kill(victim, 'SIGKILL');
      await until(`death ${deaths}`, () => program.logged('worker died').length === deaths);
      if (deaths === 5) break;
      await until('a successor', () => program.workers().length === 2, 10_000);
      victim = program.workers().find((pid) => pid !== b) ?? 0;
    }
    const delays = program.logged('worker died').map((line) => Number(line['restartMs']));
    assert.deepEqual(delays, [...delays].sort((x, y) => x - y), 'each is waited for longer');
    const [first = 0] = delays;
    const last = delays.at(-1) ?? 0;
    assert.ok(first <= 500 && last >= 4 * first && last <= 30_000, delays.join(', '));
    await until('it is told', () => program.logged('workers keep dying').length > 0);
    assert.equal(program.logged('workers keep dying').length, 1, 'told once');
    upstream.run('r1', state('running', { n: 1 }));
    assert.equal(nOf(await stream.next((event) => event.data.includes('"n":1'))), 1);
    cli.kill('SIGTERM');
    const exit = await within(5_000, 'an exit with a worker due', cli.exited);
    assert.deepEqual(exit, { code: 0, signal: null });
    await assertEnded(stream);
  });
}

function primaryTests(): void {
  it('workers whose primary is killed end their streams and are gone in 2 s', async (t) => {
    const program = await startProgram(t, 2);
    const { upstream, cli, port } = program;
    const workers = twoWorkers(program);
    upstream.run('r1', state('running'));
    upstream.run('r2', ({ n }) => state('running', { n, pad: BIG }));
    const streams: SseStream[] = [];
    for (const pid of workers) {
      for (let i = 0; i < 5; i++) streams.push(await program.joinOn(pid, 'r1'));
    }
    const stalled = await program.join('r2');
    await stalled.next('progress');
    stalled.pause();
    const skipped = async () => await metric(port, 'runcast_states_skipped_total') > 0;
    await until('a reader that is behind', skipped, 15_000);
    const silent = openRaw(port, '');
    await new Promise((resolve) => silent.socket.once('connect', resolve));

    cli.kill('SIGKILL');
    await untilGone(workers, ORPHAN_MS);
    for (const [i, stream] of streams.entries()) {
      assert.equal(await stream.ended, 'end', `stream ${i} ends, it is not cut`);
      await assertEnded(stream);
      const last = stream.events.at(-1);
      assert.equal(last?.event, 'ping', 'no verdict');
      assert.notEqual(last?.retry, undefined, 'with the time to come back after');
    }
    assert.notEqual(await within(2_000, 'the silent one is cut', silent.closed), 'local');
    stalled.resume();
    assert.notEqual(await within(5_000, 'the stalled one', stalled.ended), 'end');
    const knock = openRaw(port, '');
    assert.equal(await within(2_000, 'the port', knock.closed), 'refused', 'the port is free');
  });

  it('a primary that stands still makes workers unready; who joins is sent back', async (t) => {
    const program = await startProgram(t, 2, { flags: ['--upstream-timeout', '500ms'] });
    const { upstream, pid, port } = program;
    upstream.run('r1', state('running'));
    const stream = await program.join('r1');
    await stream.next('progress');
    process.kill(pid, 'SIGSTOP');
    t.after(() => isAlive(pid) && process.kill(pid, 'SIGCONT'));
    const [late, ready, live, numbers] = await Promise.all([
      program.join('r1'), ...['/readyz', '/livez', '/metrics'].map((path) => ask(port, path)),
    ]);
    assert.equal(late.response.headers['x-runcast-refused'], '503 RESOURCE_UNAVAILABLE');
    assert.deepEqual([ready?.status, live?.status, numbers?.status], [503, 200, 503]);
    const now = performance.now();
    await stream.next(({ event, at }) => event === 'ping' && at > now);
    process.kill(pid, 'SIGCONT');
    await until('ready again', async () => (await ask(port, '/readyz')).status === 200);
    upstream.run('r1', state('completed'));
    await stream.next('complete');
    await assertEnded(stream);
  });

  it('workers that have yet to start do not outlive their primary either', async (t) => {
    const upstream = await startUpstream();
    t.after(() => upstream.close());
    const cli = startProcesses(t, 2, ['--upstream', upstream.origin, '--port', '0']);
    const pid = cli.pid ?? 0;
    await until('two processes', () => workersOf(pid).length === 2, 10_000);
    const workers = workersOf(pid);
    cli.kill('SIGKILL');
    // They see it when they have loaded.
    await untilGone(workers, 5_000);
  });
}

function standstillTests(): void {
  it('a worker that stands still holds up nobody else, and nothing piles up', async (t) => {
    const program = await startProgram(t, 2);
    const { upstream, pid } = program;
    const [a, b] = twoWorkers(program);
    t.after(() => isAlive(a) && process.kill(a, 'SIGCONT'));
    upstream.run('busy', ({ n }) => state('running', { n, pad: BIG }));
    upstream.run('ends', state('running'));
    const still = await program.joinOn(a, 'busy');
    const stillEnds = await program.joinOn(a, 'ends');
    const goes = await program.joinOn(b, 'busy');
    const goesEnds = await program.joinOn(b, 'ends');
    for (const stream of [still, stillEnds, goes, goesEnds]) await stream.next('progress');

    process.kill(a, 'SIGSTOP');
    const rss = rssBytes(pid);
    for (let i = 0; i < 30; i++) await goes.next('progress', 1_000);
    upstream.run('ends', state('completed'));
    await goesEnds.next('complete', 1_000);
    await assertEnded(goesEnds);
    for (let i = 0; i < 12; i++) {
      const runId = i % 2 === 0 ? 'busy' : `new-${i}`;
      upstream.run(`new-${i}`, state('running'));
      const stream = await within(1_000, 'a new stream', program.join(runId));
      await stream.next('progress', 1_000);
      stream.destroy();
    }
    for (let i = 0; i < 30; i++) await goes.next('progress', 1_000);
    const more = (rssBytes(pid) - rss) / 1e6;
    assert.ok(more < 80, `the primary has ${more} MB more`);

    const stopped = still.events.length;
    await upstream.next('busy');
    const n = upstream.count('busy');
    process.kill(a, 'SIGCONT');
    await stillEnds.next('complete');
    await assertEnded(stillEnds);
    assert.deepEqual(names(stillEnds, 'ping'), ['progress', 'complete']);
    await still.next((event) => event.event === 'progress' && nOf(event) >= n);
    const states = still.events.filter(({ event }) => event === 'progress').map(nOf);
    assert.deepEqual(states, [...states].sort((x, y) => x - y), 'in their order');
    const caughtUp = still.events.length - stopped;
    assert.ok(caughtUp < 30, `${caughtUp} events for one that slept through 60 states`);
    assertStream(still);
  });

  it('a worker that sleeps again and again is told of the end', async (t) => {
    const program = await startProgram(t, 2);
    const { upstream } = program;
    const [a] = twoWorkers(program);
    t.after(() => isAlive(a) && process.kill(a, 'SIGCONT'));
    upstream.run('r1', state('running'));
    const stream = await program.joinOn(a, 'r1');
    await stream.next('progress');
    process.kill(a, 'SIGSTOP');
    upstream.run('r1', ({ n }) => state('running', { n }));
    await program.polls('r1', 5);
    process.kill(a, 'SIGCONT');
    await stream.next('progress');
    process.kill(a, 'SIGSTOP');
    upstream.run('r1', state('failed'));
    await program.polls('r1', 0);
    await program.ticks(3);
    process.kill(a, 'SIGCONT');
    await stream.next('error');
    await assertEnded(stream);
  });
}

describe('crashes over two workers', { concurrency: true }, () => {
  describe('of a worker', () => workerTests());
  describe('of the primary', () => primaryTests());
  describe('and a worker that stands still', () => standstillTests());
});
