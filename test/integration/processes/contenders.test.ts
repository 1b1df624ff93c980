/**
 * Every contender sends what the others send: one raw client reads its head, the state at once
 * and the next ones when they are due, checks every byte of the framing, and sees it end.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { CONTENDERS } from '../../../bench/contenders/all.ts';
import { isBetterSseInstalled } from '../../../bench/contenders/better-sse.ts';
import { polling, startUpstream } from '../../../bench/contenders/polling.ts';
import { runcast } from '../../../bench/contenders/runcast.ts';
import { idOf, nowUs, States } from '../../../bench/contenders/states.ts';
import type { Contender, Running, Workload } from '../../../bench/support/contender.ts';
import { isAlive } from '../../../bench/support/usage.ts';
import { openRaw } from '../../support/raw-client.ts';
import { until } from '../../support/wait.ts';

const WORKLOAD: Workload = { stateBytes: 1024, changeEveryMs: 150, runs: 3, compress: false };
const EVERY_US = WORKLOAD.changeEveryMs * 1000;
/** A machine that is busy is late; what is due must come before the next change does. */
const LATE_US = EVERY_US - 10_000;

interface Seen {
  readonly event: string;
  readonly id: string;
  readonly data: string;
  /** Of the piece that completed it. */
  readonly seenUs: number;
}

for (const contender of [...CONTENDERS, runcast({ workers: 2 })]) {
  test(`${contender.name} sends each state when it is due, and leaves no process`, async (t) => {
    const reason = await whyNot(contender);
    if (reason !== undefined) return t.skip(reason);
    const running = await contender.start(WORKLOAD);
    t.after(() => running.stop());
    const pids = running.pids();
    assert.ok(pids.length > 0 && pids.every(isAlive));
    for (const run of ['bench-0', 'bench-2']) await checkStream(t, contender, running, run);
    assert.deepEqual(running.pids(), pids, 'the same processes still');
    await running.stop();
    assert.deepEqual(pids.filter(isAlive), []);
    assert.deepEqual(running.pids(), []);
  });
}

async function whyNot(contender: Contender): Promise<string | undefined> {
  // A test does not go to the network unless it is told to.
  const mayInstall = process.env['RUNCAST_BENCH_INSTALL'] !== undefined;
  if (contender.name === 'better-sse' && !isBetterSseInstalled() && !mayInstall) {
    return 'better-sse is not installed yet; with RUNCAST_BENCH_INSTALL=1 this test does it';
  }
  return contender.unavailable();
}

async function checkStream(
  t: TestContext, contender: Contender, running: Running, run: string,
): Promise<void> {
  const states = new States(WORKLOAD);
  // Between a change and the timer that tells of it, the one before is still shown.
  const earliest = states.currentAt() - EVERY_US;
  const { head, events } = await watch(t, running, run, 4);
  assert.match(head, /^HTTP\/1\.1 200 OK\r\n/);
  const isChunked = /\r\ntransfer-encoding: chunked/i.test(head);
  assert.equal(isChunked, contender.name !== 'nchan');
  assert.match(head, /\r\ncontent-type: text\/event-stream/i);
  const ats = events.map(({ data }) => (JSON.parse(data) as { at: number }).at);
  const [first = 0] = ats;
  t.diagnostic(`${run}: late by ${ats.slice(1).map((at, i) => seenAt(events, i + 1) - at)} us`);
  assert.ok(first >= earliest && first <= seenAt(events, 0), 'the state of now comes first');
  events.forEach(({ event, id, data }, i) => {
    const at = ats[i] ?? 0;
    assert.equal(at, first + i * EVERY_US, 'none is skipped');
    assert.equal(data, states.json(run, at));
    assert.equal(Buffer.byteLength(data), WORKLOAD.stateBytes);
    assert.equal(event, 'progress');
    // nchan's and runcast's ids are their own; all name the state.
    const isOurs = !/nchan|runcast/.test(contender.name);
    if (isOurs) assert.equal(id, idOf(at));
    else assert.match(id, /^[\w:-]{8,32}$/);
    if (i === 0) return;
    const lateUs = seenAt(events, i) - at;
    assert.ok(lateUs >= 0 && lateUs < LATE_US, `${lateUs} us after it was due`);
  });
}

const seenAt = (events: readonly Seen[], index: number): number => events[index]?.seenUs ?? 0;

async function watch(t: TestContext, running: Running, run: string, count: number) {
  const { port, pathname } = new URL(running.url.replace('{run}', run));
  const lines = Object.entries({ host: '127.0.0.1', ...running.headers })
    .map(([name, value]) => `${name}: ${value}\r\n`).join('');
  const raw = openRaw(Number(port), `GET ${pathname} HTTP/1.1\r\n${lines}\r\n`);
  t.after(() => raw.socket.destroy());
  const events: Seen[] = [];
  raw.socket.on('data', () => {
    const seenUs = nowUs();
    for (const each of eventsIn(raw.received()).slice(events.length)) {
      events.push({ ...each, seenUs });
    }
  });
  await until(`${count} states of ${run}`, () => events.length >= count);
  raw.socket.destroy();
  const [head = ''] = raw.received().toString('latin1').split('\r\n\r\n', 1);
  return { head, events: events.slice(0, count) };
}

/** Of whole chunks, with every byte of them accounted for. */
function eventsIn(received: Buffer): Omit<Seen, 'seenUs'>[] {
  const text = received.toString('latin1');
  const start = text.indexOf('\r\n\r\n');
  if (start < 0) return [];
  // nchan, alone, sends its streams without chunks: their end is that of the connection.
  const isChunked = /\r\ntransfer-encoding: chunked\r\n/i.test(text.slice(0, start + 2));
  const body = text.slice(start + 4);
  const events = (isChunked ? unchunked(body) : body).split('\n\n').slice(0, -1);
  return events.flatMap((event) => {
    const fields = event.split('\n').map((line) => /^(\w*): ?(.*)$/.exec(line)?.slice(1));
    assert.ok(fields.every((field) => field !== undefined), `lines are fields: ${event}`);
    const value = (name: string): string => fields.find((field) => field?.[0] === name)?.[1] ?? '';
    // A library's greeting: a retry or a comment on its own.
    if (value('data') === '') return [];
    return [{ event: value('event'), id: value('id'), data: value('data') }];
  });
}

function unchunked(body: string): string {
  let text = '';
  for (let at = 0; ;) {
    const [line, hex = ''] = /^([0-9a-f]+)\r\n/i.exec(body.slice(at)) ?? [''];
    const size = parseInt(hex, 16);
    const end = at + (line?.length ?? 0) + size;
    if (line === '' || body.length < end + 2) {
      assert.match(body.slice(at), /^([0-9a-f]*\r?$|[0-9a-f]+\r\n)/i);
      return text;
    }
    assert.equal(body.slice(end, end + 2), '\r\n', 'a chunk ends where it says');
    text += body.slice(end - size, end);
    at = end + 2;
  }
}

test('states fill their size exactly, whatever the length of name and time', () => {
  for (const stateBytes of [200, 201, 333, 1024, 16_384]) {
    const states = new States({ stateBytes, changeEveryMs: 100 });
    for (const run of ['bench-0', 'bench-12345']) {
      for (const at of [100_000, 9_999_900_000, 1_234_567_800_000_000]) {
        const json = states.json(run, at);
        assert.equal(json.length, stateBytes);
        const parsed = JSON.parse(json) as { runId: string; at: number; outputs: unknown[] };
        assert.deepEqual([parsed.runId, parsed.at], [run, at]);
        assert.ok(stateBytes < 1024 || parsed.outputs.length > 2, 'mostly outputs');
        assert.match(idOf(at), /^\d{16}$/);
      }
    }
  }
});

test('upstream holds a second answer until the next change, and counts requests', async (t) => {
  const upstream = await startUpstream(WORKLOAD, { hold: true });
  t.after(() => upstream.stop());
  const ask = async (run: string) => {
    const response = await fetch(upstream.url.replace('{run}', run));
    const seenUs = nowUs();
    const { data } = await response.json() as { data: { at: number; runId: string } };
    assert.equal(data.runId, run);
    return { at: data.at, lateUs: seenUs - data.at };
  };
  const first = await ask('bench-0');
  const [second, another] = await Promise.all([ask('bench-0'), ask('bench-0')]);
  // On a busy machine one of the two may have been asked a change later.
  for (const { at, lateUs } of [second, another]) {
    assert.ok(at > first.at && (at - first.at) % EVERY_US === 0);
    assert.ok(lateUs >= 0 && lateUs < LATE_US);
  }
  // Not asked in time: the state that was due meanwhile comes at once, and says when it was due.
  await until('the next change', () => nowUs() > second.at + EVERY_US + 20_000);
  const late = await ask('bench-0');
  assert.ok(late.at > second.at);
  assert.ok(late.lateUs >= 20_000, 'who is late is charged');
  assert.equal(await upstream.requests(), 4);
  assert.equal((await fetch(`${upstream.origin}/v1/apps`)).status, 404);
  assert.equal(await upstream.requests(), 4);
});

test('polled without a gateway, upstream answers at once with what is current', async (t) => {
  const running = await polling.start({ ...WORKLOAD, changeEveryMs: 60_000 });
  t.after(() => running.stop());
  const states = new States({ ...WORKLOAD, changeEveryMs: 60_000 });
  for (let i = 0; i < 2; i++) {
    const before = states.currentAt();
    const response = await fetch(running.url.replace('{run}', 'bench-1'));
    const { data } = await response.json() as { data: { at: number } };
    assert.ok(data.at >= before && data.at <= states.currentAt());
  }
});
