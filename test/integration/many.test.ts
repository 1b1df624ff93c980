/** Many runs on one connection: what a client of the whole gateway gets, and what upstream sees. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { gunzipSync } from 'node:zlib';
import {
  KEY, STARTERS, TERMINAL_RETRY_MS, assertRetry, gatewayFor, names, useGateway,
} from '../support/gateway.ts';
import type { JoinOptions, StartGateway, TestGateway } from '../support/gateway.ts';
import { openRaw } from '../support/raw-client.ts';
import { openStream } from '../support/sse-client.ts';
import type { ReceivedEvent, SseStream } from '../support/sse-client.ts';
import { assertEventForm, assertStreamForm } from '../support/sse-parser.ts';
import { hang, perKey, refused, reset, state } from '../support/upstream.ts';
import { until, within } from '../support/wait.ts';

const pathOf = (runIds: readonly string[]): string =>
  `/v1/runs/stream?${runIds.map((runId) => `runId=${runId}`).join('&')}`;

async function follow(
  gateway: TestGateway, runIds: readonly string[], options: JoinOptions = {},
): Promise<SseStream> {
  const { key = KEY, headers, lastEventId } = options;
  const position = lastEventId === undefined ? {} : { 'last-event-id': lastEventId };
  return openStream(gateway.origin + pathOf(runIds), {
    headers: { 'x-api-key': key, ...position, ...headers }, headMs: 30_000,
  });
}

const runOf = ({ data }: { data: string }): string | undefined =>
  (JSON.parse(data) as { runId?: string }).runId;

const isOf = (runId: string, name: string) => (event: ReceivedEvent): boolean =>
  event.event === name && runOf(event) === runId;

/** Sees it to a clean end, and holds it against what the contract says of streams. */
async function assertEnded(stream: SseStream): Promise<void> {
  assert.equal(await within(20_000, 'the end of a stream', stream.ended), 'end');
  assertStreamForm(stream.parser);
  const last = stream.events.length - 1;
  stream.events.forEach((event, i) => {
    assertEventForm(event);
    if (i < last && i > 0) assert.equal(event.retry, undefined, `retry at ${i}`);
    else if (i === 0 && last > 0) assertRetry(event.retry);
  });
}

function streamTests(start: StartGateway): void {
  const gateway = useGateway(start);

  it('follows each run to its end, and ends with the last', async () => {
    const { upstream } = gateway();
    const runIds = ['one', 'two', 'three'];
    for (const runId of runIds) upstream.run(runId, state('queued'));
    const stream = await follow(gateway(), runIds);
    assert.equal(stream.response.status, 200);
    for (const runId of runIds) await stream.next(isOf(runId, 'progress'));
    upstream.run('two', state('running'));
    await stream.next(isOf('two', 'progress'));
    upstream.run('three', state('failed'));
    await stream.next(isOf('three', 'error'));
    upstream.run('one', state('completed'));
    await stream.next(isOf('one', 'complete'));
    upstream.run('two', state('running', { step: 2 }));
    await stream.next(isOf('two', 'progress'));
    upstream.run('two', state('completed'));
    await stream.next(isOf('two', 'complete'));
    await assertEnded(stream);
    assert.equal(stream.events.at(-1)?.retry, TERMINAL_RETRY_MS);
    assert.equal(stream.events.at(-1)?.id.split('.').length, 3);
    await gateway().untilIdle();

    const lastEventId = stream.events.at(-1)?.id ?? '';
    const again = await follow(gateway(), runIds, { lastEventId });
    assert.equal(again.response.status, 204, 'all over, and known');
    const more = await follow(gateway(), [...runIds].reverse(), { lastEventId });
    await assertEnded(more);
    assert.deepEqual(names(more).length, 2, 'each id counts in its own place');
  });

  it('goes on where a client left off', async () => {
    const { upstream } = gateway();
    for (const runId of ['ra', 'rb']) upstream.run(runId, state('queued'));
    const first = await follow(gateway(), ['ra', 'rb']);
    const { id } = await first.next(({ id: each }) => !each.includes('none'));
    first.destroy();
    await gateway().untilIdle();
    upstream.run('rb', state('running'));
    const second = await follow(gateway(), ['ra', 'rb'], { lastEventId: id });
    assert.equal(runOf(await second.next('progress')), 'rb');
    assert.deepEqual(names(second, 'ping'), ['progress']);
    const third = await follow(gateway(), ['ra', 'rb'], {
      lastEventId: second.events.at(-1)?.id ?? '',
    });
    assert.equal((await third.next(() => true)).event, 'ping', 'a sign of life');
    second.destroy();
    third.destroy();
  });

  it('has one poller a run, whoever else follows it', async () => {
    const { upstream } = gateway();
    for (const runId of ['p1', 'p2']) upstream.run(runId, state('running'));
    const single = await gateway().join('p1');
    const streams = await Promise.all(Array.from({ length: 5 }, () =>
      follow(gateway(), ['p1', 'p2'])));
    for (const stream of streams) await stream.next(isOf('p2', 'progress'));
    const before = upstream.count('p1');
    await gateway().polls('p2', 10);
    assert.ok(upstream.count('p1') - before < 20, 'no more than one poller asks');
    assert.deepEqual([upstream.maxInFlight('p1'), upstream.maxInFlight('p2')], [1, 1]);
    assert.deepEqual(await gateway().stats().then(({ streams: open }) => open), 11);
    for (const runId of ['p1', 'p2']) upstream.run(runId, state('completed'));
    for (const stream of streams) await assertEnded(stream);
    await single.next('complete');
    await gateway().untilIdle();
    await gateway().untilUnpolled('p1');
  });

  it('takes fifty runs, in plain form and in gzip', async () => {
    const { upstream } = gateway();
    const runIds = Array.from({ length: 50 }, (_, i) => `fifty_${i}`);
    for (const runId of runIds) upstream.run(runId, state('running', { pad: 'x'.repeat(3_000) }));
    const plain = await follow(gateway(), runIds);
    const packed = await follow(gateway(), runIds, { headers: { 'accept-encoding': 'gzip' } });
    for (const runId of runIds) await plain.next(isOf(runId, 'progress'));
    const { id } = plain.events[49] ?? assert.fail('fifty events');
    assert.ok(id.length === 849 && !id.includes('none'), id);
    for (const runId of runIds) upstream.run(runId, state('completed'));
    await assertEnded(plain);
    assert.equal(await within(20_000, 'the end in gzip', packed.ended), 'end');
    assert.equal(packed.response.headers['content-encoding'], 'gzip');
    const events = gunzipSync(packed.raw).toString().split('\n\n').slice(0, -1);
    assert.equal(events.filter((event) => /^event: complete$/m.test(event)).length, 50);
    assert.match(events.at(-1) ?? '',
      /^event: complete\nid: [\w.-]{849}\ndata: .*\nretry: 86400000$/);
    assert.ok(packed.rawBytes < plain.rawBytes / 2, 'and smaller');
    const again = await follow(gateway(), runIds, { lastEventId: plain.events.at(-1)?.id ?? '' });
    assert.equal(again.response.status, 204);
  });

  it('speaks HTTP/1.0', async () => {
    gateway().upstream.run('old', state('completed'));
    gateway().upstream.run('older', state('failed'));
    const raw = openRaw(gateway().port,
      `GET ${pathOf(['old', 'older'])} HTTP/1.0\r\nx-api-key: lma_a\r\n\r\n`);
    await raw.closed;
    const body = raw.received().toString().split('\r\n\r\n')[1] ?? '';
    assert.match(body,
      /^retry: \d+\nid: \S+\nevent: \w+\ndata: \{.*\}\n\n[^]*\nretry: 86400000\n\n$/);
  });

  it('refuses nonsense', async () => {
    for (const [path, status] of [
      ['/v1/runs/stream', 400], ['/v1/runs/stream?runId=a%20b', 400],
      [pathOf(Array.from({ length: 51 }, (_, i) => `r${i}`)), 400],
    ] as const) {
      const { status: got } = await gateway().call('GET', path, { 'x-api-key': KEY });
      assert.equal(got, status, path);
    }
    assert.equal((await gateway().call('GET', pathOf(['a']))).status, 401);
    assert.equal((await gateway().call('POST', pathOf(['a']))).status, 405);
  });
}

function refusalTests(start: StartGateway): void {
  const gateway = useGateway(start);

  it('tells of a run that may not be seen, and goes on with the others', async () => {
    const { upstream } = gateway();
    upstream.run('seen', state('running'));
    upstream.run('unseen', refused(403, 'FORBIDDEN', 'Not yours'));
    const stream = await follow(gateway(), ['unseen', 'seen', 'nowhere']);
    const { data, id } = await stream.next(isOf('unseen', 'error'));
    const { requestId, ...facts } = JSON.parse(data) as Record<string, unknown>;
    assert.deepEqual(facts, {
      runId: 'unseen', errorMessage: 'Not yours', error: 'Not yours', code: 'FORBIDDEN',
      retryable: false,
    });
    assert.equal(requestId, stream.response.headers['x-request-id']);
    assert.match(id, /^refused\./);
    await until('the other two', () => stream.events.length >= 3);
    assert.deepEqual(stream.events.slice(0, 3).map((event) => `${event.event} ${runOf(event)}`),
      ['error unseen', 'progress seen', 'error nowhere']);
    upstream.run('seen', state('completed'));
    await stream.next(isOf('seen', 'complete'));
    await assertEnded(stream);
    const again = await follow(gateway(), ['unseen', 'seen', 'nowhere'], {
      lastEventId: stream.events.at(-1)?.id ?? '',
    });
    assert.equal(again.response.status, 204);
  });

  it('is a status where all runs are refused alike', async () => {
    gateway().upstream.run('no1', refused(403, 'FORBIDDEN'));
    gateway().upstream.run('no2', refused(403, 'FORBIDDEN'));
    const stream = await follow(gateway(), ['no1', 'no2']);
    assert.equal(stream.response.status, 403);
    const mixed = await follow(gateway(), ['no1', 'lost']);
    await assertEnded(mixed);
    assert.deepEqual(names(mixed), ['error', 'error']);
    assert.equal(mixed.events[1]?.retry, TERMINAL_RETRY_MS);
  });

  it('loses one run with its key, and keeps the other', async () => {
    const { upstream } = gateway();
    upstream.run('kept', state('running'));
    upstream.run('taken', state('running'));
    const [a, b] = [await follow(gateway(), ['taken', 'kept']),
      await follow(gateway(), ['taken', 'kept'], { key: 'lma_b' })];
    for (const stream of [a, b]) await stream.next(isOf('kept', 'progress'));
    upstream.run('taken', perKey({ lma_b: state('running') }, refused(403, 'FORBIDDEN')));
    await a.next(isOf('taken', 'error'));
    for (const runId of ['taken', 'kept']) upstream.run(runId, state('completed'));
    await b.next(isOf('taken', 'complete'));
    for (const stream of [a, b]) await assertEnded(stream);
    assert.deepEqual(a.events.filter((event) => runOf(event) === 'taken').map((e) => e.event),
      ['progress', 'error']);
  });

  it('waits for a run that cannot be had now, and brings it when it can', async () => {
    const { upstream } = gateway();
    upstream.run('fine', state('running'));
    upstream.run('ill', reset());
    upstream.run('slow', hang());
    const stream = await follow(gateway(), ['ill', 'fine', 'slow']);
    await stream.next(isOf('fine', 'progress'));
    assert.deepEqual(names(stream, 'ping'), ['progress']);
    upstream.run('ill', state('running'));
    await stream.next(isOf('ill', 'progress'));
    for (const runId of ['ill', 'fine', 'slow']) upstream.run(runId, state('completed'));
    await stream.next(isOf('slow', 'complete'), 40_000);
    await assertEnded(stream);
  });

  it('comes back later where none can be had now', async () => {
    gateway().upstream.run('ill1', reset());
    gateway().upstream.run('ill2', reset());
    const stream = await follow(gateway(), ['ill1', 'ill2'], { lastEventId: 'a.b' });
    await within(20_000, 'the end', stream.ended);
    assert.equal(stream.response.headers['x-runcast-refused'], '502 UPSTREAM_UNAVAILABLE');
    assert.deepEqual([names(stream), stream.events[0]?.id], [['ping'], 'a.b']);
    const { status } = await gateway().call('GET', pathOf(['ill1', 'ill2']), { 'x-api-key': KEY });
    assert.equal(status, 502);
  });
}

function endTests(start: StartGateway): void {
  it('takes a place for each run, and a run without one joins when one is free', async (t) => {
    const gateway = await gatewayFor(t, start, { maxStreamsPerKey: 2 });
    const runIds = ['l1', 'l2', 'l3'];
    for (const runId of runIds) gateway.upstream.run(runId, state('running'));
    const stream = await follow(gateway, runIds);
    await until('two of three', () => names(stream, 'ping').length === 2);
    const had = new Set(stream.events.map((event) => runOf(event)));
    const [free] = [...had].filter((runId) => runId !== undefined);
    gateway.upstream.run(free ?? '', state('completed'));
    await stream.next(isOf(free ?? '', 'complete'));
    const late = runIds.find((runId) => !had.has(runId)) ?? assert.fail('one is late');
    await stream.next(isOf(late, 'progress'), 40_000);
    for (const runId of runIds) gateway.upstream.run(runId, state('completed'));
    await assertEnded(stream);
  });

  it('times out as a whole, and is sent away as a whole', async (t) => {
    const gateway = await gatewayFor(t, start, { streamTimeoutMs: 4_000 });
    for (const runId of ['t1', 't2']) gateway.upstream.run(runId, state('running'));
    const first = await follow(gateway, ['t1', 't2']);
    const { id } = await first.next('timeout', 40_000);
    await assertEnded(first);
    assert.equal(names(first, 'ping').at(-1), 'timeout');
    const second = await follow(gateway, ['t1', 't2'], { lastEventId: id });
    await second.next('ping');
    const closed = gateway.close();
    await within(20_000, 'the end', second.ended);
    assert.equal(second.endedCleanly, true);
    const last = second.events.at(-1);
    assert.deepEqual([last?.event, last?.id], ['ping', id]);
    assertRetry(last?.retry);
    await closed;
  });

  it('skips states of a slow reader, run by run, and never an end', async (t) => {
    const gateway = await gatewayFor(t, start);
    const pad = 'x'.repeat(400_000);
    for (const runId of ['s1', 's2']) gateway.upstream.run(runId, ({ n }) =>
      state('running', { n, pad }));
    const stream = await follow(gateway, ['s1', 's2']);
    await stream.next(isOf('s2', 'progress'));
    stream.pause();
    await until('states that are skipped', async () => {
      const { text } = await gateway.call('GET', '/metrics');
      return Number(/^runcast_states_skipped_total (\d+)$/m.exec(text)?.[1]) >= 10;
    }, 40_000);
    for (const runId of ['s1', 's2']) gateway.upstream.run(runId, state('completed'));
    await gateway.untilUnpolled('s1');
    stream.resume();
    await assertEnded(stream);
    for (const runId of ['s1', 's2']) {
      const ends = stream.events.filter(isOf(runId, 'complete'));
      assert.equal(ends.length, 1, runId);
    }
  });
}

for (const [name, start] of STARTERS) {
  describe(`several runs on one connection, over ${name}`, () => {
    streamTests(start);
    refusalTests(start);
    endTests(start);
  });
}
