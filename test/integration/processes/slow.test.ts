/**
 * Readers that take little, late or nothing, while a large state changes. Each costs one state
 * and nobody's time; it gets the newest when it wakes and the end in any case; it is cut when it
 * takes nothing for too long, and only then.
 */

import assert from 'node:assert/strict';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import {
  KEY, STARTERS, assertEnded, assertStream, names, useGateway,
} from '../../support/gateway.ts';
import type { StartGateway, TestGateway } from '../../support/gateway.ts';
import { metric, startProgram } from '../../support/processes.ts';
import type { ReceivedEvent, SseStream } from '../../support/sse-client.ts';
import { state } from '../../support/upstream.ts';
import type { Answer } from '../../support/upstream.ts';
import { until, within } from '../../support/wait.ts';

const PAD = 'x'.repeat(200_000);
const SLOW_TIMEOUT_MS = 800;
/** So much at once is more than the kernel takes for a reader that takes nothing. */
const HUGE = 'x'.repeat(16_000_000);
/** So much a reader that sips has in some seconds. */
const LARGE = HUGE.slice(0, 4_000_000);
const HUGE_BODY_BYTES = 20_000_000;
/** 1 MB a second. */
const SIP_BYTES = 60_000;
const SIP_EVERY_MS = 60;

const nOf = ({ data }: ReceivedEvent): number => (JSON.parse(data) as { n: number }).n;

/** 200 KB, another state with every poll. */
const changing: Answer = ({ n }) => state('running', { n, pad: PAD });

/** 200 KB, another state every `everyMs`; its `n` is when that was made. */
class Clockwork {
  everyMs = 500;
  #n = 0;

  readonly answer: Answer = () => {
    const at = Math.floor(performance.now() / this.everyMs) * this.everyMs;
    this.#n = Math.max(this.#n, at);
    return state('running', { n: this.#n, pad: PAD });
  };
}

const skipped = (gateway: TestGateway): Promise<number> =>
  metric(gateway.port, 'runcast_states_skipped_total');

const cutAsSlow = (gateway: TestGateway): Promise<number> =>
  metric(gateway.port, 'runcast_streams_closed_total', 'slow');

/** A reader that has stopped, for so long that the gateway feels it. */
async function stalledReader(gateway: TestGateway, runId: string): Promise<SseStream> {
  const before = await skipped(gateway);
  const stream = await gateway.join(runId);
  await stream.next('progress');
  stream.pause();
  await until('a state that is skipped', async () => await skipped(gateway) > before, 20_000);
  return stream;
}

/** States and their order, of a reader that slept: the newest wins, none is told late. */
function assertStates(stream: SseStream): number[] {
  const states = stream.events.filter(({ event }) => event === 'progress').map(nOf);
  const sorted = [...new Set(states)].sort((a, b) => a - b);
  assert.deepEqual(states, sorted, 'each later than the one before');
  return states;
}

export function wakeTests(start: StartGateway): void {
  const gateway = useGateway(start);

  it('a reader that stalls and wakes goes on with the newest state', async () => {
    const { upstream } = gateway();
    upstream.run('big', changing);
    const healthy = await gateway().join('big');
    const stalled = await stalledReader(gateway(), 'big');
    await gateway().polls('big', 5);
    const n = upstream.count('big');
    // What is current when it wakes, at the latest; from then on it stands still.
    upstream.run('big', state('running', { n: n + 1, pad: PAD }));
    await healthy.next((event) => event.event === 'progress' && nOf(event) === n + 1);
    stalled.resume();
    await stalled.next((event) => event.event === 'progress' && nOf(event) === n + 1, 10_000);
    const states = assertStates(stalled);
    assert.ok(states.length < n, `${states.length} of ${n} states: some were skipped`);
    upstream.run('big', state('running', { n: n + 2 }));
    assert.equal(nOf(await stalled.next('progress')), n + 2, 'and then as ever');
    stalled.destroy();
    healthy.destroy();
    assertStates(healthy);
    await gateway().untilIdle();
  });

  it('readers that sleep through the end get it when they wake', async () => {
    const { upstream } = gateway();
    const ends = [['completed', 'complete'], ['failed', 'error']] as const;
    for (const [status] of ends) upstream.run(status, changing);
    const healthy = await Promise.all(ends.map(([status]) => gateway().join(status)));
    const stalled = await Promise.all(ends.map(([status]) => stalledReader(gateway(), status)));
    for (const [status] of ends) upstream.run(status, state(status));
    for (const [i, [, last]] of ends.entries()) {
      await healthy[i]?.next(last);
      const stream = stalled[i];
      assert.ok(stream !== undefined, 'one each');
      stream.resume();
      await stream.next(last, 10_000);
      await assertEnded(stream);
      assert.equal(names(stream).filter((name) => name === last).length, 1);
    }
    await gateway().untilIdle();
  });
}

export function cutTests(start: StartGateway): void {
  const gateway = useGateway(start, {
    slowTimeoutMs: SLOW_TIMEOUT_MS, maxBodyBytes: HUGE_BODY_BYTES,
  });
  let cut = 0;
  beforeEach(async () => (cut = await cutAsSlow(gateway())));
  afterEach(() => gateway().untilIdle());
  const untilCut = (n: number): Promise<void> =>
    until(`${n} counted as slow`, async () => await cutAsSlow(gateway()) === cut + n, 10_000);

  it('a reader that takes nothing for too long is cut, and no one else', async () => {
    const { upstream, stats } = gateway();
    upstream.run('big', changing);
    const healthy = await gateway().join('big');
    const stalled = await stalledReader(gateway(), 'big');
    await until('it is cut', async () => (await stats()).streams === 1, 3_000);
    await untilCut(1);
    upstream.run('big', state('completed'));
    await healthy.next('complete');
    await assertEnded(healthy);
    stalled.resume();
    assert.notEqual(await within(5_000, 'the cut', stalled.ended), 'end');
    assert.ok(!names(stalled).includes('complete'), 'it was gone by then');
  });

  it('after the end a reader that takes nothing is cut', async (t) => {
    const { upstream } = gateway();
    upstream.run('over', state('completed', { pad: HUGE }));
    upstream.run('ends', state('running'));
    const before = await gateway().join('ends');
    await before.next('progress');
    before.pause();
    const late = silentReader(t, gateway(), 'over');
    await upstream.next('over');
    upstream.run('ends', state('completed', { pad: HUGE + PAD }));
    await upstream.next('ends');
    await gateway().untilIdle();
    await untilCut(2);
    late.resume();
    before.resume();
    assert.notEqual(await within(5_000, 'the cut', before.ended), 'end');
  });

  it('a reader that takes a little all the time is not cut', async (t) => {
    gateway().upstream.run('huge', state('completed', { pad: LARGE }));
    const socket = silentReader(t, gateway(), 'huge');
    const ended = new Promise((resolve) => {
      for (const event of ['end', 'error', 'close']) socket.once(event, () => resolve(event));
    });
    let taken = 0;
    let tail = '';
    let longest = 0;
    let last = performance.now();
    // Not more than there is: the socket reads on by itself as this makes room.
    socket.on('readable', () => undefined);
    const sips = setInterval(() => {
      const bytes = (socket.read(Math.min(SIP_BYTES, socket.readableLength)) ?? '') as Buffer;
      if (bytes.length === 0) return;
      taken += bytes.length;
      tail = (tail + bytes.toString('latin1')).slice(-100);
      longest = Math.max(longest, performance.now() - last);
      last = performance.now();
    }, SIP_EVERY_MS);
    t.after(() => clearInterval(sips));
    const how = await within(20_000, 'the end of a slow reader', ended);
    t.diagnostic(`${taken} bytes, ${longest.toFixed()} ms without one at the most`);
    const inTime = await cutAsSlow(gateway()) === cut;
    assert.ok(inTime && how === 'end', `${how} after ${taken} bytes; cut as slow: ${!inTime}`);
    assert.match(tail, /\r\n0\r\n\r\n$/, `a clean end after ${taken} bytes`);
    assert.ok(longest < SLOW_TIMEOUT_MS, `${longest} ms without a byte: this shows nothing`);
  });
}

/** Asks for a stream and never reads a byte. */
function silentReader(t: TestContext, { port }: TestGateway, runId: string): Socket {
  const socket = connect({ port, host: '127.0.0.1' });
  socket.pause();
  socket.on('error', () => undefined);
  socket.write(`GET /v1/runs/${runId}/stream HTTP/1.1\r\nhost: x\r\nx-api-key: ${KEY}\r\n\r\n`);
  t.after(() => socket.destroy());
  return socket;
}

const STALLED = 150;
const MAX_MORE_BYTES = 100e6;
/** What is twice a second is not yet late with the next but one. */
const MAX_DELAY_MS = 1_000;

export function crowdTests(name: string, workers: number): void {
  it(`${STALLED} stalled readers cost little memory and nobody's time over ${name}`, async (t) => {
    const program = await startProgram(t, workers, {
      flags: ['--poll-interval', '50ms', '--max-streams', '1000'],
    });
    const clockwork = new Clockwork();
    program.upstream.run('big', clockwork.answer);
    const healthy = await Promise.all([1, 2, 3, 4].map(() => program.join('big')));
    for (const stream of healthy) for (let i = 0; i < 3; i++) await stream.next('progress');
    const baseline = program.rssBytes();
    let most = baseline;
    const looks = setInterval(() => (most = Math.max(most, program.rssBytes())), 100);
    t.after(() => clearInterval(looks));
    for (let i = 0; i < STALLED; i++) silentReader(t, program, 'big');
    await until('all are there', async () =>
      (await program.stats()).streams === STALLED + healthy.length, 10_000);
    clockwork.everyMs = 50; // until the kernel takes no more for them
    await until('all are behind', async () => await skipped(program) >= STALLED, 20_000);
    clockwork.everyMs = 500;
    const crowdedAt = performance.now();
    for (const stream of healthy) {
      await stream.next(({ event, at }) => event === 'progress' && at > crowdedAt + 2_000);
    }
    const delays = healthy.flatMap(({ events }) => events)
      .filter(({ event, at }) => event === 'progress' && at > crowdedAt + 200)
      .map((event) => event.at - nOf(event)).sort((a, b) => a - b);
    const median = delays[delays.length >> 1] ?? Infinity;
    const longest = delays.at(-1) ?? Infinity;
    const more = (most - baseline) / 1e6;
    t.diagnostic(`${more.toFixed(1)} MB over ${(baseline / 1e6).toFixed(1)} MB`);
    t.diagnostic(`healthy: median ${median.toFixed()} ms, longest ${longest.toFixed()} ms`);
    assert.ok(most - baseline < MAX_MORE_BYTES, `${more} MB more`);
    assert.ok(median < MAX_DELAY_MS / 2, `a healthy reader's median: ${median} ms`);
    assert.ok(longest < MAX_DELAY_MS, `a healthy reader's longest delay: ${longest} ms`);
    program.upstream.run('big', state('completed'));
    for (const stream of healthy) {
      await stream.next('complete');
      await assertEnded(stream);
      assertStates(stream);
      assertStream(stream);
    }
  });
}

describe('slow readers', () => {
  for (const [name, start] of STARTERS) {
    describe(`that wake over ${name}`, () => wakeTests(start));
    describe(`that do not, or hardly, over ${name}`, () => cutTests(start));
  }
});

// A worker is the same hub, and what crosses to it is in the sum: over one process it says no more.
describe('slow readers in a crowd', () => crowdTests('two workers', 2));
