/**
 * Everything that can be wrong with an upstream, each fault twice: in mid-stream, where a client
 * sees nothing but pings and then the result, and when joining, where it is told to come again.
 * Also how polls behave meanwhile: they back off, obey Retry-After, never overlap and never
 * follow a redirect. Here runs are polled; driver-faults.test.ts has the other drivers.
 */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { Socket } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { FAULTS } from '../support/faults.ts';
import { STARTERS, assertEnded, gatewayFor, names, useGateway } from '../support/gateway.ts';
import type { StartGateway } from '../support/gateway.ts';
import type { SseStream } from '../support/sse-client.ts';
import { execution, redirect, refused, startUpstream, state } from '../support/upstream.ts';
import type { Upstream } from '../support/upstream.ts';

const LIMITS = { upstreamTimeoutMs: 8_000, maxBodyBytes: 1_000_000, pingIntervalMs: 200 };

const pingAfter = (stream: SseStream, at: number) =>
  stream.next((event) => event.event === 'ping' && event.at > at);

export function midStreamTests(start: StartGateway): void {
  const gateway = useGateway(start, LIMITS);

  for (const [i, [name, answer, told]] of FAULTS.entries()) {
    it(`${name} is nothing but pings, and then comes the result`, async (t) => {
      // A limit is one for all runs.
      const own = told[0] === 429 ? await gatewayFor(t, start, LIMITS) : gateway();
      const { upstream } = own;
      const runId = `mid-${i}`;
      upstream.run(runId, state('running'));
      const stream = await own.join(runId);
      await stream.next('progress');
      upstream.run(runId, answer);
      await upstream.next(runId);
      await pingAfter(stream, performance.now());
      upstream.run(runId, state('completed'));
      const { data } = await stream.next('complete', 40_000);
      assert.equal(data, JSON.stringify(execution(runId, 'completed')));
      await assertEnded(stream);
      assert.deepEqual(names(stream, 'ping'), ['progress', 'complete']);
      assert.equal(upstream.maxInFlight(runId), 1, 'one request at a time');
    });
  }

  it('a run that fails while upstream is in trouble is still told', async () => {
    const { upstream } = gateway();
    upstream.run('fails', state('running'));
    const stream = await gateway().join('fails');
    await stream.next('progress');
    upstream.run('fails', ({ n }) => n % 2 === 0 ? refused(500, 'X') : state('failed'));
    await stream.next('error', 20_000);
    await assertEnded(stream);
  });
}

export function joiningTests(start: StartGateway): void {
  const gateway = useGateway(start, LIMITS);

  for (const [i, [name, answer, told]] of FAULTS.entries()) {
    it(`${name} is told as ${told.join(' ')}, and is over when it is over`, async (t) => {
      const own = told[0] === 429 ? await gatewayFor(t, start, LIMITS) : gateway();
      const { upstream } = own;
      const runId = `join-${i}`;
      upstream.run(runId, answer);
      const [plain, source] = await Promise.all([own.ask(runId), own.join(runId)]);
      const { code, retryable } = JSON.parse(plain.text) as Record<string, unknown>;
      assert.deepEqual([plain.status, code, retryable], [...told, true]);
      assert.ok(Number(plain.headers['retry-after']) >= 1);
      assert.equal(await source.ended, 'end');
      assert.equal(source.response.headers['x-runcast-refused'], told.join(' '));
      assert.deepEqual(names(source), ['ping']);
      upstream.run(runId, state('running'));
      const stream = await own.join(runId);
      assert.equal((await stream.next(() => true)).event, 'progress');
    });
  }
}

export function pollTests(start: StartGateway): void {
  const gateway = useGateway(start, LIMITS);
  let elsewhere: Upstream | undefined;
  before(async () => (elsewhere = await startUpstream()));
  after(() => elsewhere?.close());

  for (const status of [301, 302, 303, 307, 308]) {
    it(`a ${status} is never followed, in mid-stream or when joining`, async () => {
      const { upstream } = gateway();
      const runId = `redirect-${status}`;
      elsewhere?.run(runId, state('completed'));
      const answer = redirect(`${elsewhere?.origin}/v1/runs/${runId}`, status);
      upstream.run(runId, answer);
      assert.equal((await gateway().ask(runId)).status, 502);
      upstream.run(runId, state('running'));
      const stream = await gateway().join(runId);
      await stream.next('progress');
      upstream.run(runId, answer);
      await upstream.next(runId);
      await pingAfter(stream, performance.now());
      upstream.run(runId, state('completed'));
      await stream.next('complete', 40_000);
      assert.equal(elsewhere?.connections, 0);
    });
  }

  for (const [form, value] of [
    ['seconds', (): string => '2'], ['a date', () => new Date(Date.now() + 3_000).toUTCString()],
  ] as const) {
    it(`a Retry-After in ${form} is obeyed`, async (t) => {
      const own = await gatewayFor(t, start, LIMITS);
      const { upstream } = own;
      const runId = `obey-${form.at(0)}`;
      upstream.run(runId, state('running'));
      const stream = await own.join(runId);
      await stream.next('progress');
      upstream.run(runId, () => refused(429, 'X', 'x', { 'retry-after': value() }));
      const asked = await upstream.next(runId);
      upstream.run(runId, state('completed'));
      const again = await upstream.next(runId, 10_000);
      // Without it the first try again comes within 2 s.
      assert.ok(again.at - asked.at >= 1_950, `${again.at - asked.at} ms`);
      await stream.next('complete');
    });
  }

  it('a run in trouble is asked for less and less, and others as ever', async () => {
    const { upstream } = gateway();
    upstream.run('sick', state('running'));
    const stream = await gateway().join('sick');
    await stream.next('progress');
    upstream.run('sick', refused(500, 'INTERNAL_ERROR'));
    await upstream.next('sick');
    const before = upstream.count('sick');
    await gateway().ticks(30);
    const asked = upstream.count('sick') - before;
    assert.ok(asked <= 10, `asked ${asked} times in 30 intervals`);
    stream.destroy();
  });
}

export function outageTests(start: StartGateway): void {
  const gateway = useGateway(start, LIMITS);
  const strange = useGateway(start, LIMITS);

  it('an upstream that goes and comes back costs no stream', async () => {
    const { upstream } = gateway();
    const runIds = ['outage-1', 'outage-2', 'outage-3'];
    for (const runId of runIds) upstream.run(runId, state('running'));
    const streams = await Promise.all(runIds.map((runId) => gateway().join(runId)));
    await Promise.all(streams.map((stream) => stream.next('progress')));
    await upstream.stop();
    const stoppedAt = performance.now();
    for (const stream of streams) {
      await pingAfter(stream, stoppedAt);
      await pingAfter(stream, stoppedAt);
    }
    assert.equal((await gateway().ask('outage-4')).status, 502);
    assert.equal((await gateway().stats()).streams, 3);
    for (const runId of runIds) upstream.run(runId, state('completed'));
    await upstream.restart();
    for (const stream of streams) {
      await stream.next('complete', 40_000);
      await assertEnded(stream);
      assert.deepEqual(names(stream, 'ping'), ['progress', 'complete']);
    }
    await gateway().untilIdle();
  });

  it('an upstream that does not speak HTTP for a while costs none either', async () => {
    const { upstream } = strange();
    upstream.run('r1', state('running'));
    const stream = await strange().join('r1');
    await stream.next('progress');
    await upstream.stop();
    const noise = [
      'SSH-2.0-OpenSSH_9.9\r\n', 'HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n{}',
      `HTTP/1.1 200 OK\r\nx: ${'x'.repeat(100_000)}\r\n\r\n`, '\0\0\0\0', '',
    ];
    let met = 0;
    const sockets = new Set<Socket>();
    const impostor = createServer((socket) => {
      sockets.add(socket.on('error', () => undefined));
      socket.end(noise[met++ % noise.length] ?? '');
    });
    impostor.listen(Number(new URL(upstream.origin).port), '127.0.0.1');
    await once(impostor, 'listening');
    for (const [i, text] of noise.entries()) {
      const { status } = await strange().ask(`other-${i}`);
      assert.equal(status, 502, text.slice(0, 40));
    }
    await pingAfter(stream, performance.now());
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => impostor.close(resolve));
    upstream.run('r1', state('completed'));
    await upstream.restart();
    await stream.next('complete', 30_000);
    await assertEnded(stream);
    assert.deepEqual(names(stream, 'ping'), ['progress', 'complete']);
  });
}

for (const [name, start] of STARTERS) {
  describe(`upstream faults over ${name}`, { concurrency: true }, () => {
    describe('in mid-stream', () => midStreamTests(start));
    describe('when joining', () => joiningTests(start));
    describe('polls', () => pollTests(start));
    describe('an outage', () => outageTests(start));
  });
}
