/**
 * The stream's contract over real sockets: its head, its events and their order, its ids, its
 * `retry:`, its pings and its ends. What stands in `data`, and coming back to a stream, is in
 * stream-data.test.ts.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  KEY, STARTERS, TERMINAL_RETRY_MS, assertEnded, assertRetry, assertStream, gatewayFor, names,
  useGateway,
} from '../support/gateway.ts';
import type { StartGateway } from '../support/gateway.ts';
import { openRaw } from '../support/sse-client.ts';
import type { ReceivedEvent, SseStream } from '../support/sse-client.ts';
import { execution, raw, state } from '../support/upstream.ts';
import { within } from '../support/wait.ts';

const json = (runId: string, status: string, over = {}): string =>
  JSON.stringify(execution(runId, status, over));

export function headTests(start: StartGateway): void {
  const gateway = useGateway(start);

  it('has every header that proxies and clients need, before anything changes', async () => {
    gateway().upstream.run('head', state('running'));
    const { response } = await gateway().join('head');
    const { date, 'x-request-id': requestId, ...headers } = response.headers;
    assert.equal(response.status, 200);
    assert.deepEqual(headers, {
      'content-type': 'text/event-stream',
      'cache-control': 'no-store, no-transform',
      'x-accel-buffering': 'no',
      'x-content-type-options': 'nosniff',
      'connection': 'close',
      'transfer-encoding': 'chunked',
    });
    assert.ok(date !== undefined);
    assert.match(String(requestId), /^[\w.:-]{8,128}$/);
  });

  it('gives a short and plain x-request-id back', async () => {
    gateway().upstream.run('own-id', state('running'));
    const headers = { 'x-request-id': 'web-7f3a.2:B_9' };
    const { response } = await gateway().join('own-id', { headers });
    assert.equal(response.headers['x-request-id'], 'web-7f3a.2:B_9');
  });

  for (const [what, theirs] of [
    ['long', 'x'.repeat(300)], ['blank', 'a b'], ['quoted', '"><script>'], ['empty', ''],
  ] as const) {
    it(`makes an id of its own in place of a ${what} one`, async () => {
      gateway().upstream.run('odd-id', state('running'));
      const headers = { 'x-request-id': theirs };
      const [a, b] = await Promise.all([0, 1].map(() => gateway().join('odd-id', { headers })));
      const ids = [a, b].map((stream) => String(stream?.response.headers['x-request-id']));
      for (const id of ids) assert.match(id, /^[\w.:-]{8,128}$/);
      assert.equal(new Set(ids).size, 2);
    });
  }

  it('serves HTTP/1.0: no chunks, and the end is the end of the connection', async () => {
    gateway().upstream.run('http10', state('running'));
    const head = `GET /v1/runs/http10/stream HTTP/1.0\r\nx-api-key: ${KEY}\r\n\r\n`;
    const client = openRaw(gateway().port, head);
    await client.until('event: progress');
    gateway().upstream.run('http10', state('completed'));
    assert.equal(await within(5_000, 'the end', client.closed), 'fin');
    const [header = '', body = ''] = client.received().toString().split(/\r\n\r\n(.*)/s);
    assert.match(header, /^HTTP\/1\.[01] 200 /);
    assert.match(header, /\r\nconnection: close/i);
    assert.doesNotMatch(header, /transfer-encoding|keep-alive/i);
    assert.match(body, /^retry: \d{4}\nevent: progress\n/);
    assert.ok(body.endsWith(`data: ${json('http10', 'completed')}\nretry: 86400000\n\n`), body);
  });
}

export function eventTests(start: StartGateway): void {
  const gateway = useGateway(start);

  it('begins with the state as it is', async () => {
    gateway().upstream.run('first', state('queued'));
    const stream = await gateway().join('first');
    const first = await stream.next('progress');
    assert.equal(stream.events[0], first);
    assert.equal(first.data, json('first', 'queued'));
  });

  it('tells every change of status and of outputs with the poll that finds it', async () => {
    const { upstream } = gateway();
    upstream.run('changes', state('queued'));
    const stream = await gateway().join('changes');
    await stream.next('progress');
    const output = { id: 'out_1', label: 'Poster', type: 'image', value: 'v1', status: 'done' };
    for (const [status, over] of [
      ['running', {}],
      ['running', { outputs: [{ ...output, value: null, status: 'pending' }] }],
      ['running', { outputs: [output] }],
      ['running', { outputs: [{ ...output, value: 'v2' }] }],
      ['queued', {}],
    ] as const) {
      const before = upstream.count('changes');
      upstream.run('changes', state(status, over));
      const { data } = await stream.next('progress');
      assert.equal(data, json('changes', status, over));
      assert.ok(upstream.count('changes') - before <= 2, 'not later than the next poll');
    }
    assert.deepEqual(names(stream, 'ping'), Array(6).fill('progress'));
    assertStream(stream);
  });

  it('says nothing while nothing changes, whatever stands around the state', async () => {
    const data = json('same', 'running');
    gateway().upstream.run('same', ({ n }) => raw(`{"requestId":"req_${n}","data":${data}}`));
    const stream = await gateway().join('same');
    await gateway().polls('same', 8);
    assert.deepEqual(names(stream, 'ping'), ['progress']);
    assertStream(stream);
  });

  for (const [status, event] of [
    ['completed', 'complete'], ['failed', 'error'], ['cancelled', 'error'],
  ] as const) {
    it(`ends with ${event} and the whole state when the run is ${status}`, async () => {
      const { upstream } = gateway();
      upstream.run(status, state('running'));
      const stream = await gateway().join(status);
      await stream.next('progress');
      upstream.run(status, state(status));
      assert.equal((await stream.next(event)).data, json(status, status));
      await assertEnded(stream);
      assert.deepEqual(names(stream, 'ping'), ['progress', event]);
    });

    it(`shows a run that is ${status} already as one ${event} and the end`, async () => {
      const runId = `${status}-already`;
      gateway().upstream.run(runId, state(status));
      const stream = await gateway().join(runId);
      await assertEnded(stream);
      assert.deepEqual(names(stream), [event]);
      assert.equal(stream.events[0]?.data, json(runId, status));
      await gateway().ticks(4);
      assert.equal(gateway().upstream.count(runId), 1, 'no poller for a run that is over');
    });
  }

  it('takes every status that it does not know for progress', async () => {
    const { upstream } = gateway();
    upstream.run('odd', state('paused'));
    const stream = await gateway().join('odd');
    assert.equal((await stream.next('progress')).data, json('odd', 'paused'));
    for (const status of ['COMPLETED', 'complete', 'error', '', 'timeout']) {
      upstream.run('odd', state(status));
      assert.equal((await stream.next('progress')).data, json('odd', status));
    }
    upstream.run('odd', state('completed'));
    await stream.next('complete');
    await assertEnded(stream);
  });

  it('closes with the final chunk right behind the last event, and nothing after', async () => {
    const { upstream } = gateway();
    upstream.run('raw-end', state('running'));
    const head = `GET /v1/runs/raw-end/stream HTTP/1.1\r\nhost: x\r\nx-api-key: ${KEY}\r\n\r\n`;
    const client = openRaw(gateway().port, head);
    await client.until('event: progress');
    upstream.run('raw-end', state('completed'));
    assert.equal(await within(5_000, 'the end', client.closed), 'fin');
    const text = client.received().toString();
    const end = `${json('raw-end', 'completed')}\nretry: 86400000\n\n\r\n0\r\n\r\n`;
    assert.ok(text.endsWith(end), text);
    await gateway().untilUnpolled('raw-end');
  });

  it('keeps to the first terminal state, whatever upstream says of the run later', async () => {
    const { upstream } = gateway();
    upstream.run('twice', state('running'));
    const stream = await gateway().join('twice');
    await stream.next('progress');
    upstream.run('twice', state('completed'));
    await assertEnded(stream);
    upstream.run('twice', state('failed'));
    const again = await gateway().join('twice');
    await assertEnded(again);
    assert.deepEqual(names(again), ['complete']);
    assert.equal(again.events[0]?.id, stream.events.at(-1)?.id);
  });
}

export function idTests(start: StartGateway): void {
  const gateway = useGateway(start);

  it('names a state and not an event: the same for every key and after a restart', async (t) => {
    const { upstream } = gateway();
    upstream.run('named', state('running'));
    const other = await gatewayFor(t, start, { upstream });
    const streams = await Promise.all([
      gateway().join('named'), gateway().join('named', { key: 'lma_b' }), other.join('named'),
    ]);
    const idsOf = (status: string): Promise<string[]> => {
      const isIt = ({ data }: ReceivedEvent): boolean => data === json('named', status);
      return Promise.all(streams.map(async (stream) => (await stream.next(isIt)).id));
    };
    const running = await idsOf('running');
    upstream.run('named', state('paused'));
    const paused = await idsOf('paused');
    upstream.run('named', state('running'));
    assert.deepEqual(await idsOf('running'), running);
    assert.deepEqual([new Set(running).size, new Set(paused).size], [1, 1]);
    assert.notEqual(running[0], paused[0]);
    assert.match(String(running[0]), /^[\w-]{8,64}$/);
  });

  it('is the id of the state last sent on every ping', async () => {
    const { upstream } = gateway();
    upstream.run('ping-ids', state('queued'));
    const stream = await gateway().join('ping-ids');
    await stream.next('ping');
    upstream.run('ping-ids', state('running'));
    await stream.next('progress');
    await stream.next('ping');
    let last = '';
    for (const { event, id } of stream.events) {
      if (event === 'ping') assert.equal(id, last);
      else last = id;
    }
  });

  it('comes with a first retry of 2 to 5 s, another for each stream', async () => {
    gateway().upstream.run('retries', state('running'));
    const streams = await Promise.all(Array.from({ length: 12 }, () => gateway().join('retries')));
    await Promise.all(streams.map((stream) => stream.next('progress')));
    const retries = streams.map(({ events }) => events[0]?.retry);
    retries.forEach(assertRetry);
    assert.ok(new Set(retries).size > 3, retries.join());
    gateway().upstream.run('retries', state('failed'));
    await Promise.all(streams.map((stream) => assertEnded(stream)));
    assert.ok(streams.every(({ events }) => events.at(-1)?.retry === TERMINAL_RETRY_MS));
  });
}

const pings = ({ events }: SseStream): ReceivedEvent[] =>
  events.filter(({ event }) => event === 'ping');

export function pingTests(start: StartGateway): void {
  const gateway = useGateway(start, { pingIntervalMs: 200 });

  it('comes at its interval, whatever else is sent, with the time in whole seconds', async () => {
    gateway().upstream.run('cadence', ({ n }) => state('running', { n }));
    const stream = await gateway().join('cadence');
    for (let i = 0; i < 6; i++) await stream.next('ping');
    const times = pings(stream).map(({ at }) => at);
    const took = (times[5] ?? 0) - (times[0] ?? 0);
    assert.ok(took > 5 * 200 - 120 && took < 5 * 200 + 600, `five intervals took ${took} ms`);
    for (const { data } of pings(stream)) {
      assert.match(data, /^\d+$/);
      assert.ok(Math.abs(Number(data) - Date.now() / 1000) < 10, data);
    }
    assert.ok(names(stream, 'ping').length > 3, 'the state did change all the time');
    assertStream(stream);
  });

  it('is spread over the streams, however they were opened', async (t) => {
    const own = await gatewayFor(t, start, { pingIntervalMs: 1_000 });
    own.upstream.run('spread', state('running'));
    const streams = await Promise.all(Array.from({ length: 30 }, () => own.join('spread')));
    const waits = await Promise.all(streams.map(async (stream) => {
      const { at } = await stream.next('ping');
      return at - (stream.events[0]?.at ?? 0);
    }));
    assert.ok(Math.max(...waits) - Math.min(...waits) >= 250, 'each the same time after its join');
  });
}

export function timeoutTests(start: StartGateway): void {
  const gateway = useGateway(start, { streamTimeoutMs: 1_000, pingIntervalMs: 200 });

  it('says how old it was, carries the position and ends', async () => {
    const { upstream } = gateway();
    upstream.run('old', ({ n }) => state('running', { n: Math.min(n, 4) }));
    const openedAt = performance.now();
    const stream = await gateway().join('old');
    const event = await stream.next('timeout');
    const age = event.at - openedAt;
    assert.ok(age >= 1_000 && age < 2_500, `${age} ms old`);
    assert.equal(event.data, '{"message":"Stream timeout after 1 second"}');
    assert.equal(event.id, stream.events.findLast((each) => each.event === 'progress')?.id);
    assert.notEqual(event.retry, TERMINAL_RETRY_MS, 'the client is to come back');
    await assertEnded(stream);
    assert.ok(pings(stream).length >= 2);

    const again = await gateway().join('old', { lastEventId: event.id });
    const back = await again.next(() => true);
    assert.deepEqual([back.event, back.id], ['ping', event.id]);
    assertRetry(back.retry);
  });
}

for (const [name, start] of STARTERS) {
  describe(`a stream over ${name}`, { concurrency: true }, () => {
    describe('its head', () => headTests(start));
    describe('its events', () => eventTests(start));
    describe('its ids and retries', () => idTests(start));
    describe('its ping', () => pingTests(start));
    describe('its timeout', () => timeoutTests(start));
  });
}
