/**
 * Limits on who may join: streams, streams of one key, runs, and connections that are no requests
 * yet. One that is reached turns newcomers away so that they come back, is counted, and harms
 * nothing that is open; a place is given back when its client is gone. Over workers they hold for
 * the machine.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { KEY, STARTERS, assertEnded, assertStream, gatewayFor, names }
  from '../../support/gateway.ts';
import type { JoinOptions, StartGateway, TestGateway } from '../../support/gateway.ts';
import { ask, clientsOf, metric, startProgram } from '../../support/processes.ts';
import { openRaw } from '../../support/sse-client.ts';
import type { RawSocket, SseStream } from '../../support/sse-client.ts';
import { delay, refused, state } from '../../support/upstream.ts';
import { until, within } from '../../support/wait.ts';

const REFUSED = '503 RESOURCE_UNAVAILABLE';

interface Envelope {
  readonly error: string;
  readonly code: string;
  readonly retryable: boolean;
  readonly requestId: string;
}

/** A stream that has begun. */
async function joined(
  gateway: TestGateway, runId: string, options?: JoinOptions,
): Promise<SseStream> {
  const stream = await gateway.join(runId, options);
  await stream.next('progress');
  return stream;
}

/** Turned away in the form of a stream: one ping that says when to come back. */
async function assertTurnedAway(stream: SseStream): Promise<void> {
  assert.equal(stream.response.status, 200);
  assert.equal(stream.response.headers['x-runcast-refused'], REFUSED);
  assert.equal(await within(2_000, 'its end', stream.ended), 'end');
  assert.deepEqual(names(stream), ['ping']);
  const { retry = 0 } = stream.events[0] ?? {};
  assert.ok(retry >= 1_000 && retry <= 60_000, `retry: ${retry}`);
  assert.equal(stream.parser.unfinished, '');
}

/** Turned away in both forms, and counted by the limit's name. */
async function assertFull(
  gateway: TestGateway, limit: string, runId: string, options?: JoinOptions,
): Promise<void> {
  const before = await metric(gateway.port, 'runcast_limit_total', limit);
  const answer = await gateway.ask(runId, options);
  assert.equal(answer.status, 503, answer.text);
  const { code, retryable, error, requestId } = JSON.parse(answer.text) as Envelope;
  assert.deepEqual({ code, retryable }, { code: 'RESOURCE_UNAVAILABLE', retryable: true });
  assert.ok(error.length > 0 && requestId.length > 0, answer.text);
  assert.match(answer.headers['retry-after'] ?? '', /^[1-9]\d?$/);
  await assertTurnedAway(await gateway.join(runId, options));
  await until('both are counted', async () =>
    await metric(gateway.port, 'runcast_limit_total', limit) >= before + 2);
}

let changes = 0;

/** They go on as if nothing had been. */
async function assertUnharmed(
  { upstream }: TestGateway, runId: string, streams: readonly SseStream[],
): Promise<void> {
  const other = `change-${++changes}`;
  upstream.run(runId, state('running', { other }));
  for (const stream of streams) {
    await stream.next(({ data }) => data.includes(`"${other}"`));
    assertStream(stream);
  }
}

const untilStreams = (gateway: TestGateway, n: number): Promise<void> =>
  until(`${n} streams`, async () => (await gateway.stats()).streams === n);

export function limitTests(start: StartGateway): void {
  it('no more than maxStreams are open, until one leaves', async (t) => {
    const gateway = await gatewayFor(t, start, { maxStreams: 3 });
    const { upstream } = gateway;
    for (const runId of ['r1', 'r2']) upstream.run(runId, state('running'));
    const open = [
      await joined(gateway, 'r1'), await joined(gateway, 'r1', { key: 'lma_b' }),
      await joined(gateway, 'r1'),
    ];
    await assertFull(gateway, 'maxStreams', 'r1');
    await assertFull(gateway, 'maxStreams', 'r2', { key: 'lma_c' });
    assert.equal(upstream.count('r2'), 0, 'upstream is not asked in vain');
    await assertUnharmed(gateway, 'r1', open);
    open.pop()?.destroy();
    await untilStreams(gateway, 2);
    open.push(await joined(gateway, 'r2'));
    await assertFull(gateway, 'maxStreams', 'r1');
    upstream.run('r1', state('completed'));
    for (const stream of open.slice(0, 2)) {
      await stream.next('complete');
      await assertEnded(stream);
    }
    await untilStreams(gateway, 1);
    for (let i = 0; i < 2; i++) await joined(gateway, 'r2');
  });

  it('one key has no more than maxStreamsPerKey, and does not take those of others', async (t) => {
    const gateway = await gatewayFor(t, start, { maxStreamsPerKey: 2 });
    for (const runId of ['r1', 'r2']) gateway.upstream.run(runId, state('running'));
    const open = [await joined(gateway, 'r1'), await joined(gateway, 'r2')];
    await assertFull(gateway, 'maxStreamsPerKey', 'r1');
    const bearer = { headers: { authorization: `Bearer ${KEY}` } };
    assert.equal((await gateway.ask('r1', bearer)).status, 503, 'however it is sent');
    const other = [
      await joined(gateway, 'r1', { key: 'lma_b' }), await joined(gateway, 'r1', { key: 'lma_b' }),
    ];
    await assertFull(gateway, 'maxStreamsPerKey', 'r2', { key: 'lma_b' });
    await assertUnharmed(gateway, 'r1', [...open.slice(0, 1), ...other]);
    open.pop()?.destroy();
    await untilStreams(gateway, 3);
    await joined(gateway, 'r2');
  });

  it('no more than maxRuns are followed, and those that are stay open to all', async (t) => {
    const gateway = await gatewayFor(t, start, { maxRuns: 2 });
    const { upstream } = gateway;
    for (const runId of ['r1', 'r2', 'r3']) upstream.run(runId, state('running'));
    const first = await joined(gateway, 'r1');
    await joined(gateway, 'r2');
    await assertFull(gateway, 'maxRuns', 'r3');
    assert.equal(upstream.count('r3'), 0);
    const second = await joined(gateway, 'r1', { key: 'lma_b' });
    await assertUnharmed(gateway, 'r1', [first, second]);
    first.destroy();
    await untilStreams(gateway, 2);
    await assertFull(gateway, 'maxRuns', 'r3');
    second.destroy();
    await untilStreams(gateway, 1);
    await joined(gateway, 'r3');
  });

  it('a place goes with its client, in whichever way that comes to nothing', async (t) => {
    const gateway = await gatewayFor(t, start, { maxStreams: 1, maxRuns: 1, maxStreamsPerKey: 1 });
    const { upstream } = gateway;
    upstream.run('secret', refused(403, 'FORBIDDEN'));
    upstream.run('down', refused(503, 'RESOURCE_UNAVAILABLE'));
    upstream.run('over', state('completed'));
    upstream.run('slow', delay(300, state('running')));
    upstream.run('r1', state('running'));
    let lastEventId = '';
    for (let i = 0; i < 3; i++) {
      assert.equal((await gateway.ask('secret')).status, 403);
      assert.equal((await gateway.ask('down')).headers['retry-after'] !== undefined, true);
      const over = await gateway.join('over');
      lastEventId = (await over.next('complete')).id;
      await assertEnded(over);
      await untilStreams(gateway, 0);
      const seen = await gateway.join('over', { lastEventId });
      assert.equal(seen.response.status, 204);
      await untilStreams(gateway, 0);
    }
    const impatient = openRaw(gateway.port,
      `GET /v1/runs/slow/stream HTTP/1.1\r\nhost: x\r\nx-api-key: ${KEY}\r\n\r\n`);
    await upstream.next('slow');
    impatient.socket.destroy();
    await untilStreams(gateway, 0);
    const stream = await joined(gateway, 'r1');
    await assertFull(gateway, 'maxStreams', 'r1');
    stream.destroy();
  });

  it('of many who come at once as many get in as there are places', async (t) => {
    const gateway = await gatewayFor(t, start, { maxStreams: 7 });
    gateway.upstream.run('rush', delay(200, state('running')));
    const all = await Promise.all(Array.from({ length: 40 }, (_, i) =>
      gateway.join('rush', { key: `lma_${i % 4}` })));
    const away = all.filter(({ response }) => 'x-runcast-refused' in response.headers);
    for (const stream of away) await assertTurnedAway(stream);
    const open = all.filter((stream) => !away.includes(stream));
    assert.equal(open.length, 7);
    for (const stream of open) await stream.next('progress');
    await untilStreams(gateway, 7);
    await assertUnharmed(gateway, 'rush', open);
    assert.equal(await metric(gateway.port, 'runcast_limit_total', 'maxStreams'), 33);
  });
}

function machineTests(): void {
  it('a limit is the machine\'s and not each worker\'s', async (t) => {
    const program = await startProgram(t, 2, {
      flags: ['--max-streams', '4', '--max-streams-per-key', '2', '--max-runs', '2'],
    });
    const { upstream } = program;
    const [a = 0, b = 0] = program.workers();
    for (const runId of ['r1', 'r2', 'r3']) upstream.run(runId, state('running'));
    const key = 'lma_b';
    const open = [await program.joinOn(a, 'r1'), await program.joinOn(b, 'r1')];
    for (const pid of [a, b]) await assertTurnedAway(await program.joinOn(pid, 'r1'));
    open.push(await program.joinOn(a, 'r2', { key }));
    for (const pid of [a, b]) await assertTurnedAway(await program.joinOn(pid, 'r3', { key }));
    open.push(await program.joinOn(b, 'r2', { key }));
    for (const pid of [a, b]) {
      await assertTurnedAway(await program.joinOn(pid, 'r1', { key: 'lma_c' }));
    }
    for (const limit of ['maxStreamsPerKey', 'maxRuns', 'maxStreams']) {
      assert.equal(await metric(program.port, 'runcast_limit_total', limit), 2, limit);
    }
    await assertUnharmed(program, 'r1', open.slice(0, 2));
    await assertUnharmed(program, 'r2', open.slice(2));
    open[0]?.destroy();
    await untilStreams(program, 3);
    await (await program.joinOn(b, 'r1')).next('progress');
  });

  it('a worker that dies gives the places of its clients back', async (t) => {
    const program = await startProgram(t, 2, { flags: ['--max-streams', '2'] });
    const [a = 0, b = 0] = program.workers();
    program.upstream.run('r1', state('running'));
    const lost = [await program.joinOn(a, 'r1'), await program.joinOn(a, 'r1')];
    await assertTurnedAway(await program.joinOn(b, 'r1'));
    process.kill(a, 'SIGKILL');
    for (const stream of lost) await stream.ended;
    await untilStreams(program, 0);
    for (let i = 0; i < 2; i++) await joined(program, 'r1');
    await assertFull(program, 'maxStreams', 'r1');
  });
}

/** Open files of a process. It keeps 64 for other things; at 97 % of the rest it is nearly full. */
const OPEN_FILES = 300;
const NEARLY_FULL = 229;

function roomTests(): void {
  it('a worker that is nearly full leaves newcomers to another, until it has room', async (t) => {
    const program = await startProgram(t, 2, {
      openFiles: OPEN_FILES, flags: ['--drain-timeout', '1s'],
    });
    const [a = 0, b = 0] = program.workers();
    program.upstream.run('r1', state('running'));
    const join = (count: number): Promise<SseStream[]> =>
      Promise.all(Array.from({ length: count }, () => joined(program, 'r1')));
    process.kill(b, 'SIGSTOP');
    const atFirst = await join(NEARLY_FULL).finally(() => process.kill(b, 'SIGCONT'));
    assert.equal(clientsOf(a, program.port).size, NEARLY_FULL);
    // None of them is turned away, though one worker has room for seven and one for all.
    const more = await join(150);
    assert.equal(clientsOf(b, program.port).size, 150);
    for (const stream of atFirst.splice(0, 40)) stream.destroy();
    await until('room', () => clientsOf(a, program.port).size < NEARLY_FULL * 0.94);
    process.kill(b, 'SIGSTOP');
    const again = await join(10).finally(() => process.kill(b, 'SIGCONT'));
    await assertUnharmed(program, 'r1', [...atFirst, ...more, ...again]);
  });
}

/** As many as one process takes without a finished request, and some. */
const SILENT = 4_096;
const MORE = 128;

function silentTests(): void {
  it('of silent connections a process takes so many, and streams go on', async (t) => {
    const program = await startProgram(t, 1, { flags: ['--max-streams', '100'] });
    const { port, pid } = program;
    program.upstream.run('r1', state('running'));
    const open = [await joined(program, 'r1'), await joined(program, 'r1')];
    const silent: RawSocket[] = [];
    t.after(() => silent.forEach(({ socket }) => socket.destroy()));
    let cut = 0;
    const from = performance.now();
    while (silent.length < SILENT + MORE) {
      const batch = Array.from({ length: MORE }, () => openRaw(port, 'GET /v1/ru'));
      silent.push(...batch);
      for (const { closed } of batch) void closed.then(() => cut++);
      await Promise.all(batch.map(({ socket }) =>
        new Promise((resolve) => socket.once('connect', resolve).once('close', resolve))));
    }
    await until('some are cut', () => cut >= MORE);
    const tookMs = performance.now() - from;
    assert.ok(tookMs < 9_000, `${tookMs} ms: at 10 s all are cut for their silence`);
    const held = clientsOf(pid, port).size;
    assert.ok(held <= SILENT + open.length, `${held} connections are held`);
    await assertUnharmed(program, 'r1', open);
    for (const { socket } of silent.splice(0, SILENT / 2)) socket.destroy();
    await until('those are gone', () => clientsOf(pid, port).size < SILENT * 0.75);
    open.push(await joined(program, 'r1'));
    assert.ok(await metric(port, 'runcast_limit_total', 'sockets') >= MORE, 'it is counted');
    assert.equal((await ask(port, '/readyz')).status, 200);
    const told = program.logged('too many connections: silent ones are cut, or else new ones');
    assert.equal(told.length, 1, 'told once');
    await assertUnharmed(program, 'r1', open);
  });
}

describe('limits', { concurrency: true }, () => {
  for (const [name, start] of STARTERS) describe(`over ${name}`, () => limitTests(start));
  describe('over workers', () => machineTests());
  describe('on room', () => roomTests());
  describe('on connections', () => silentTests());
});
