/**
 * Shutting down, with real signals: not ready at once, newcomers sent back in a way that brings
 * them back, streams that run ended cleanly and not all together, everybody else cut, and gone in
 * time. Over restarts under load no run's end is lost.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { KEY, assertEnded, assertRetry, names } from '../../support/gateway.ts';
import { ask, isAlive, metric, startProcesses, startProgram, workersOf }
  from '../../support/processes.ts';
import type { Program } from '../../support/processes.ts';
import { openRaw, openStream } from '../../support/sse-client.ts';
import type { RawSocket, SseStream } from '../../support/sse-client.ts';
import { hang, startUpstream, state } from '../../support/upstream.ts';
import { until, within } from '../../support/wait.ts';

const DONE = { code: 0, signal: null };
const STREAMS = 60;
const DRAIN_MS = 1_500;
/** Processes take this long to be gone on top of what they were given. */
const GRACE_MS = 1_000;

/** Everybody who asks is told so: one may be asked before it has heard of it. */
async function untilUnready({ port }: Program): Promise<void> {
  const statuses = async (): Promise<number[]> =>
    (await Promise.all([1, 2, 3, 4].map(() => ask(port, '/readyz')))).map(({ status }) => status);
  await until('/readyz says no', async () =>
    (await statuses()).every((status) => status === 503), 1_000);
}

function assertSentAway(stream: SseStream): void {
  assert.deepEqual(names(stream).filter((name) => /complete|error|timeout/.test(name)), []);
  const last = stream.events.at(-1);
  assert.equal(last?.event, 'ping');
  assertRetry(last?.retry);
  assert.equal(last?.id, stream.events.find(({ event }) => event === 'progress')?.id);
}

async function untilExit(program: Program, ms: number): Promise<void> {
  const workers = program.workers();
  assert.deepEqual(await within(ms, 'the exit', program.cli.exited), DONE);
  assert.deepEqual(workers.filter(isAlive), [], 'no worker is left');
}

async function silentOnes({ port }: Program): Promise<RawSocket[]> {
  const silent = ['', 'GET /v1/ru', 'GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n']
    .map((bytes) => openRaw(port, bytes));
  await silent[2]?.until('"ok"');
  return silent;
}

function drainTests(workers: number): void {
  it('turns newcomers away, ends streams one by one, cuts the silent, and exits 0', async (t) => {
    const program = await startProgram(t, workers, {
      flags: ['--drain-timeout', `${DRAIN_MS}ms`, '--poll-interval', '100ms'],
    });
    program.upstream.run('r1', state('running'));
    const streams = await Promise.all(Array.from({ length: STREAMS }, (_, i) =>
      program.join('r1', { key: `lma_${i % 3}` })));
    for (const stream of streams) await stream.next('progress');
    const silent = await silentOnes(program);
    assert.equal((await ask(program.port, '/readyz')).status, 200);

    const from = performance.now();
    const ends = streams.map((stream) => stream.ended.then(() => performance.now() - from));
    program.cli.kill('SIGTERM');
    await untilUnready(program);
    const answer = await program.ask('r1');
    assert.equal(answer.status, 503, answer.text);
    assert.match(answer.text, /"code":"RESOURCE_UNAVAILABLE","retryable":true/);
    assert.match(answer.headers['retry-after'] ?? '', /^[1-9]\d?$/);
    const away = await program.join('r1');
    assert.equal(away.response.headers['x-runcast-refused'], '503 RESOURCE_UNAVAILABLE');
    assert.equal(await within(1_000, 'its end', away.ended), 'end');
    assert.deepEqual(names(away), ['ping']);
    assert.equal((await ask(program.port, '/livez')).status, 200, 'alive all the same');

    await untilExit(program, DRAIN_MS + GRACE_MS);
    for (const stream of streams) {
      await assertEnded(stream);
      assertSentAway(stream);
    }
    const retries = new Set(streams.map(({ events }) => events.at(-1)?.retry));
    assert.ok(retries.size > STREAMS / 2, `${retries.size} different times to come back`);
    const times = (await Promise.all(ends)).sort((a, b) => a - b);
    const span = (times.at(-1) ?? 0) - (times[0] ?? 0);
    assert.ok(span > DRAIN_MS * 0.4 && span <= DRAIN_MS, `spread over ${span} ms`);
    const most = Math.max(...times.map((time) =>
      times.filter((other) => other >= time && other < time + DRAIN_MS / 10).length));
    assert.ok(most < STREAMS / 2, `${most} of ${STREAMS} in a tenth of the time`);
    for (const { closed } of silent) {
      assert.notEqual(await within(1_000, 'a silent one is cut', closed), 'local');
    }
  });

  it('a stream whose run ends meanwhile gets that, and not a ping in its place', async (t) => {
    const program = await startProgram(t, workers, { flags: ['--drain-timeout', '2s'] });
    program.upstream.run('r1', state('running'));
    const streams = await Promise.all(Array.from({ length: STREAMS }, () => program.join('r1')));
    for (const stream of streams) await stream.next('progress');
    program.cli.kill('SIGTERM');
    await untilUnready(program);
    program.upstream.run('r1', state('completed'));
    await untilExit(program, 2_000 + GRACE_MS);
    let completed = 0;
    for (const stream of streams) {
      await assertEnded(stream);
      if (names(stream).includes('complete')) completed++;
      else assertSentAway(stream);
    }
    assert.ok(completed > 0, 'the poller goes on to the last');
  });

  it('a request whose proof is under way is sent back, and not cut', async (t) => {
    const program = await startProgram(t, workers, { flags: ['--drain-timeout', '1s'] });
    program.upstream.run('slow', hang());
    const pending = Array.from({ length: 6 }, () => program.join('slow'));
    const asked = Array.from({ length: 6 }, () => program.ask('slow'));
    await program.upstream.next('slow');
    await until('all are in', async () => {
      const { body } = await ask(program.port, '/livez');
      return body.includes('ok') && program.upstream.count('slow') === 1;
    });
    program.cli.kill('SIGTERM');
    for (const joining of pending) {
      const stream = await joining;
      assert.equal(stream.response.headers['x-runcast-refused'], '503 RESOURCE_UNAVAILABLE');
      assert.equal(await within(1_000, 'its end', stream.ended), 'end');
      assert.deepEqual(names(stream), ['ping']);
    }
    for (const answered of asked) {
      const { status, text } = await answered;
      assert.equal(status, 503, text);
      assert.match(text, /"code":"RESOURCE_UNAVAILABLE","retryable":true/);
    }
    await untilExit(program, 1_000 + GRACE_MS);
  });

  it('a reader that is far behind does not hold it up', async (t) => {
    const program = await startProgram(t, workers, { flags: ['--drain-timeout', '700ms'] });
    const pad = 'x'.repeat(200_000);
    program.upstream.run('big', ({ n }) => state('running', { n, pad }));
    const stalled = await program.join('big');
    await stalled.next('progress');
    stalled.pause();
    await until('it is behind', async () =>
      await metric(program.port, 'runcast_states_skipped_total') > 0, 10_000);
    program.cli.kill('SIGTERM');
    await untilExit(program, 700 + GRACE_MS);
    stalled.resume();
    assert.notEqual(await within(5_000, 'the cut', stalled.ended), 'end');
  });
}

function signalTests(workers: number): void {
  for (const [signal, code] of [['SIGTERM', 143], ['SIGINT', 130]] as const) {
    it(`a second ${signal} ends it now`, async (t) => {
      const program = await startProgram(t, workers, { flags: ['--drain-timeout', '1m'] });
      program.upstream.run('r1', state('running'));
      const streams = await Promise.all(Array.from({ length: STREAMS }, () => program.join('r1')));
      const pids = program.workers();
      program.cli.kill(signal);
      await untilUnready(program);
      const from = performance.now();
      program.cli.kill(signal);
      assert.deepEqual(await within(2_000, 'the exit', program.cli.exited), { code, signal: null });
      const tookMs = performance.now() - from;
      assert.ok(tookMs < GRACE_MS, `it took ${tookMs} ms`);
      await until('no worker left', () => !pids.some(isAlive), GRACE_MS);
      for (const stream of streams) await within(1_000, 'the end of a stream', stream.ended);
    });
  }

  it('a signal while it starts ends it, and leaves nothing behind', async (t) => {
    const upstream = await startUpstream();
    t.after(() => upstream.close());
    const moments: readonly ((pid: number) => boolean)[] = [
      () => true,
      ...workers === 1 ? [] : [1, workers].map((n) => (pid: number) =>
        workersOf(pid).length >= n),
    ];
    for (const [i, isNow] of moments.entries()) {
      const cli = startProcesses(t, workers, ['--upstream', upstream.origin, '--port', '0']);
      const pid = cli.pid ?? 0;
      await until(`moment ${i}`, () => isNow(pid), 10_000);
      const pids = workersOf(pid);
      cli.kill('SIGTERM');
      const { code, signal } = await within(5_000, `the exit at moment ${i}`, cli.exited);
      // Before there is a handler the signal does it by itself.
      assert.ok(code === 0 || signal === 'SIGTERM', `moment ${i}: ${code} ${signal}`);
      await until('no worker left', () => !pids.some(isAlive), GRACE_MS);
      assert.doesNotMatch(cli.stderr, /"level":"error"/);
    }
  });
}

function standstillTests(): void {
  it('a worker that stands still does not hold up the end', async (t) => {
    const program = await startProgram(t, 2, { flags: ['--drain-timeout', '500ms'] });
    const [a = 0] = program.workers();
    program.upstream.run('r1', state('running'));
    const stream = await program.joinOn(a, 'r1');
    await stream.next('progress');
    process.kill(a, 'SIGSTOP');
    program.cli.kill('SIGTERM');
    await untilExit(program, 500 + 2 * GRACE_MS);
    assert.ok(!isAlive(a), 'nor does it stay');
    assert.notEqual(await within(1_000, 'the cut', stream.ended), 'end');
  });

  it('a terminal\'s Ctrl-C, which all processes get, is a drain like any other', async (t) => {
    const program = await startProgram(t, 2, { flags: ['--drain-timeout', '500ms'] });
    program.upstream.run('r1', state('running'));
    const streams = await Promise.all(Array.from({ length: 10 }, () => program.join('r1')));
    for (const stream of streams) await stream.next('progress');
    for (const pid of [...program.workers(), program.pid]) process.kill(pid, 'SIGINT');
    await untilExit(program, 500 + GRACE_MS);
    for (const stream of streams) {
      await assertEnded(stream);
      assertSentAway(stream);
    }
  });
}

/** A client as they are: it comes back with its position after its `retry:`, here much sooner. */
class Follower {
  readonly runId: string;
  /** Of each connection, the last events of its run. */
  readonly verdicts: string[][] = [];
  readonly problems: string[] = [];
  readonly done: Promise<void>;
  readonly #url: string;
  #lastEventId = '';
  #retryMs = 2_000;

  constructor(origin: string, runId: string, deadlineMs: number) {
    this.#url = `${origin}/v1/runs/${runId}/stream`;
    this.runId = runId;
    this.done = within(deadlineMs, `the end of ${runId}`, this.#follow());
  }

  get hasSeenTheEnd(): boolean {
    return this.verdicts.some((each) => each.length > 0);
  }

  /** Until it is told to stop: by a 204, once it has come back with the id of the end. */
  async #follow(): Promise<void> {
    for (;;) {
      const stream = await this.#open();
      if (stream?.response.status === 204) return;
      if (stream !== undefined) await this.#take(stream);
      const waitMs = this.hasSeenTheEnd ? 0 : this.#retryMs / 50;
      await new Promise((resolve) => setTimeout(resolve, waitMs));
    }
  }

  async #open(): Promise<SseStream | undefined> {
    const position = this.#lastEventId === '' ? {} : { 'last-event-id': this.#lastEventId };
    const headers = { 'x-api-key': KEY, ...position };
    return openStream(this.#url, { headers }).catch(() => undefined);
  }

  async #take(stream: SseStream): Promise<void> {
    const end = await stream.ended;
    const verdicts = names(stream).filter((name) => /complete|error|timeout/.test(name));
    if (stream.response.headers['x-runcast-refused'] === undefined) this.verdicts.push(verdicts);
    else if (verdicts.length > 0) this.problems.push('a verdict in a refusal');
    if (verdicts.length > 1) this.problems.push(`${verdicts.join(', ')} on one connection`);
    const story = stream.events.map(({ event, retry = '' }) => `${event} ${retry}`).join(', ');
    if (end !== 'end') this.problems.push(`cut (${end}) after ${story}`);
    this.#lastEventId = stream.parser.lastEventId || this.#lastEventId;
    this.#retryMs = stream.parser.retryMs ?? this.#retryMs;
  }
}

const FOLLOWERS = 4;
const RUNS = 30;

function restartTests(workers: number): void {
  it('over two restarts under load each client gets the end of its run', async (t) => {
    const upstream = await startUpstream();
    t.after(() => upstream.close());
    const runs = Array.from({ length: RUNS }, (_, i) => `roll-${i}`);
    for (const runId of runs) upstream.run(runId, state('running'));
    const flags = ['--drain-timeout', '600ms'];
    let program = await startProgram(t, workers, { upstream, flags });
    const { origin, port } = program;
    const followers = runs.flatMap((runId) =>
      Array.from({ length: FOLLOWERS }, () => new Follower(origin, runId, 40_000)));
    const left = [...runs];
    const endSome = (n: number): void => {
      for (const runId of left.splice(0, n)) upstream.run(runId, state('completed'));
    };
    const untilFollowed = (): Promise<void> => until('all who wait are back', async () =>
      (await program.stats()).runs >= left.length, 15_000);
    const allDone = Promise.all(followers.map(({ done }) => done));
    for (let round = 0; round < 2; round++) {
      await untilFollowed();
      endSome(2); // just before
      await restart(t, round);
      await untilFollowed();
      endSome(2);
    }
    endSome(RUNS);
    await allDone;
    for (const { runId, verdicts, problems, hasSeenTheEnd } of followers) {
      assert.deepEqual(problems, [], runId);
      assert.ok(hasSeenTheEnd, `${runId} ends for each client`);
      assert.equal(verdicts.flat().length, 1, `${runId}, over all connections of a client`);
    }
    const returns = followers.filter(({ verdicts }) => verdicts.length > 1).length;
    assert.ok(returns > followers.length / 3, `${returns} came back, or this shows nothing`);

    async function restart(of: TestContext, round: number): Promise<void> {
      program.cli.kill('SIGTERM');
      for (let i = 0; i < 4; i++) {
        // In the middle of it: one after the other, as the clock of upstream has it.
        endSome(1);
        await until('a little later', later(100), 1_000);
      }
      assert.deepEqual(await within(5_000, `exit ${round}`, program.cli.exited), DONE);
      endSome(3); // while nobody looks
      program = await startProgram(of, workers, { upstream, flags, port });
    }
  });
}

function later(ms: number): () => boolean {
  const at = performance.now() + ms;
  return () => performance.now() >= at;
}

describe('drain', { concurrency: 3 }, () => {
  for (const [name, workers] of [['one process', 1], ['two workers', 2]] as const) {
    describe(`of ${name}`, () => drainTests(workers));
    describe(`by signals to ${name}`, () => signalTests(workers));
    describe(`and restarts of ${name}`, () => restartTests(workers));
  }
  describe('of workers', () => standstillTests());
});
