/**
 * Bytes that no HTTP library would send: pipelining, garbage before and behind a request, bodies
 * that never come, clients that vanish. None may leave a subscriber or a poller behind, or see
 * HTTP text inside of a stream. Connections that stay silent are in clients.test.ts.
 */

import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { KEY, STARTERS, useGateway } from '../support/gateway.ts';
import type { StartGateway } from '../support/gateway.ts';
import { openRaw, rawRequest } from '../support/sse-client.ts';
import type { RawSocket } from '../support/sse-client.ts';
import { delay, resetNow, state } from '../support/upstream.ts';
import { until, within } from '../support/wait.ts';

const get = (runId: string, ...lines: string[]): string =>
  [`GET /v1/runs/${runId}/stream HTTP/1.1`, 'host: x', `x-api-key: ${KEY}`, ...lines, '', '']
    .join('\r\n');

const responses = (text: string): number => text.split('HTTP/1.').length - 1;

const closing = (client: RawSocket, ms = 5_000): Promise<string> =>
  within(ms, 'the end of a connection', client.closed);

/** What comes behind a whole request on the same connection. */
export function behindTests(start: StartGateway): void {
  const gateway = useGateway(start);
  afterEach(() => gateway().untilIdle());

  const tails: readonly (readonly [string, string])[] = [
    ['a second request', get('other')],
    ['a request for another path', 'GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n'],
    ['garbage', '\x00\x01 what?\r\n\r\n'],
    ['a TLS hello', '\x16\x03\x01\x02\x00\x01\x00\x01'],
    ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['half a request and then nonsense', 'GET / HTTP/1.1\r\nhost x\r\n\r\n'],
  ];
  for (const [i, [what, tail]] of tails.entries()) {
    it(`${what} on a streaming connection is its end`, async () => {
      const { upstream, port } = gateway();
      upstream.run('busy', state('running'));
      const client = openRaw(port, get('busy'));
      await client.until('event: progress');
      client.socket.write(tail, 'latin1');
      assert.notEqual(await closing(client), 'local');
      const text = client.received().toString();
      assert.equal(responses(text), 1, text);
      assert.doesNotMatch(text, /\r\n0\r\n\r\n$/, 'cut, not ended as if all were well');
      assert.equal(upstream.count('other'), 0);
    });

    it(`${what} in one packet with its request leaves nobody behind`, async () => {
      const { upstream, port } = gateway();
      const runId = `packet-${i}`;
      upstream.run(runId, delay(60, state('running')));
      const client = openRaw(port, Buffer.from(get(runId) + tail, 'latin1'));
      await closing(client);
      const text = client.received().toString();
      assert.doesNotMatch(text, /event:/);
      assert.ok(responses(text) <= 1, text);
      await gateway().untilIdle();
      assert.ok(upstream.count(runId) <= 2 && upstream.count('other') === 0);
    });
  }

  it('500 pipelined requests are one stream at most, and then none', async () => {
    const { upstream, port } = gateway();
    upstream.run('flood', state('running'));
    const client = openRaw(port, get('flood').repeat(500));
    await closing(client);
    assert.ok(responses(client.received().toString()) <= 1);
    await gateway().untilIdle();
    assert.ok(upstream.count('flood') <= 5, `${upstream.count('flood')} upstream requests`);
  });

  it('65 pipelined requests that wait are too many, and 64 are answered in order', async () => {
    const { upstream, port } = gateway();
    upstream.run('waits', state('running'));
    const wait = get('waits').replace('/stream', '/wait?timeout=60');
    const many = openRaw(port, wait.repeat(65));
    await closing(many);
    assert.equal(many.received().toString(), '');
    const some = openRaw(port, wait.repeat(64));
    await upstream.next('waits');
    upstream.run('waits', state('completed'));
    await until('all answers', () => responses(some.received().toString()) === 64);
    some.socket.destroy();
  });

  for (const path of ['/v1/runs/slow', '/v1/runs/slow/wait?timeout=60']) {
    it(`a bad request behind ${path} is answered behind it, and is the end`, async () => {
      const { upstream, port } = gateway();
      upstream.run('slow', delay(60, state('completed')));
      const good = get('slow').replace('/v1/runs/slow/stream', path);
      const client = openRaw(port, good + get('%zz'));
      await closing(client);
      const text = client.received().toString();
      assert.match(text, /^HTTP\/1\.1 200 [^]*"completed"[^]*HTTP\/1\.1 400 [^]*"VALIDATION_/);
    });
  }

  it('a body that is none is answered with a 400, whatever it was for', async () => {
    for (const head of ['POST /v1/runs/r1/poke', 'POST /v1/webhooks/runs', 'PUT /v1/runs/r1']) {
      const client = openRaw(gateway().port,
        `${head} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n`);
      await closing(client);
      assert.match(client.received().toString(), /^HTTP\/1\.1 4\d\d /, head);
    }
  });

  it('garbage behind a request that is not answered yet is not answered in its place', async () => {
    const { upstream, port } = gateway();
    upstream.run('slow', delay(60, state('completed')));
    const client = openRaw(port, `${get('slow').replace('/stream', '')}\0\0\r\n\r\n`);
    await closing(client);
    assert.doesNotMatch(client.received().toString(), /400/);
  });

  it('a blank line behind the request changes nothing', async () => {
    const { upstream, port } = gateway();
    upstream.run('blank', state('running'));
    const client = openRaw(port, `${get('blank')}\r\n`);
    await client.until('event: progress');
    upstream.run('blank', state('completed'));
    await client.until(/\r\n0\r\n\r\n$/);
    await closing(client);
  });

  it('and none of all these left a poller behind', async () => {
    const packets = tails.map((_, i) => `packet-${i}`);
    for (const runId of ['busy', 'flood', ...packets]) await gateway().untilUnpolled(runId);
  });
}

/** Heads that are odd from the start. */
export function headTests(start: StartGateway): void {
  const gateway = useGateway(start);
  afterEach(() => gateway().untilIdle());

  const refused: readonly (readonly [string, string, status: RegExp])[] = [
    ['garbage', 'what?\r\n\r\n', /400/],
    ['binary garbage', '\x16\x03\x01\x00\xff\xfe', /400/],
    ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', /400/],
    ['HTTP/0.9', 'GET /v1/runs/r1/stream\r\n\r\n', /400|401/],
    ['a blank before a colon', get('r1', 'x-b : 1'), /400/],
    ['a folded header', get('r1', 'x-b: 1', ' 2'), /400/],
    ['NUL in a header', get('r1', 'x-b: \x00'), /400/],
    ['a bare CR in a header', get('r1', 'x-b: a\rb: c'), /400/],
    ['NUL in the path', get('r1\x00'), /400/],
    ['two lengths', get('r1', 'content-length: 0', 'content-length: 5'), /400/],
    ['length and chunks', get('r1', 'content-length: 5', 'transfer-encoding: chunked'), /400/],
    ['an announced body that never comes', get('r1', 'content-length: 5'), /400/],
    ['announced chunks that never come', get('r1', 'transfer-encoding: chunked'), /400/],
    ['a header of 17 KB', get('r1', `x-b: ${'x'.repeat(17_000)}`), /431/],
    ['a path of 17 KB', get('x'.repeat(17_000)), /431|400/],
    ['2,000 headers', get('r1', ...Array(2_000).fill('x-b: 123456')), /431/],
    ['two different keys', get('r1', 'x-api-key: lma_b', 'connection: close'), /401/],
    ['two keys of which one is none', get('r1', 'x-api-key: sk_1', 'connection: close'), /401/],
  ];
  for (const [what, bytes, status] of refused) {
    it(`${what} is refused in one answer, and upstream never hears of it`, async () => {
      const { upstream, port } = gateway();
      const { received, closed } = await rawRequest(port, Buffer.from(bytes, 'latin1'));
      const text = received.toString();
      assert.match(text.split('\r\n')[0] ?? '', status);
      assert.match(text, /\r\nconnection: close\r\n/i);
      assert.match(text, /\r\n\r\n\{"error":".+,"requestId":"[^"]+"\}$/);
      assert.equal(responses(text), 1);
      assert.notEqual(closed, 'open', 'the connection ends with the answer');
      assert.equal(upstream.count('r1'), 0);
    });
  }

  it('a request without Host is refused', async () => {
    const bytes = get('r1').replace('host: x\r\n', '');
    const { received, closed } = await rawRequest(gateway().port, bytes);
    assert.match(received.toString(), /^HTTP\/1\.1 400 /);
    assert.notEqual(closed, 'open');
    assert.equal(gateway().upstream.count('r1'), 0);
  });

  it('HEAD has no body and starts no stream', async () => {
    const { upstream, port } = gateway();
    upstream.run('head', state('running'));
    const bytes = get('head', 'connection: close').replace('GET', 'HEAD');
    const { received, closed } = await rawRequest(port, bytes);
    assert.match(received.toString(), /^HTTP\/1\.1 [2-4]\d\d [^]*\r\n\r\n$/);
    assert.notEqual(closed, 'open');
    await gateway().untilUnpolled('head');
  });

  for (const [what, lines] of [
    ['the same key twice', [`x-api-key: ${KEY}`]], ['an upgrade', ['upgrade: websocket']],
    ['an announced body of nothing', ['content-length: 0']],
    ['a wish for keep-alive', ['connection: keep-alive']],
  ] as const) {
    it(`${what} does no harm: it is a stream or a refusal, and then over`, async () => {
      const { upstream, port } = gateway();
      upstream.run('harmless', state('completed'));
      const { received, closed } = await rawRequest(port, get('harmless', ...lines));
      assert.match(received.toString(), /^HTTP\/1\.1 (200|4\d\d) [^]*\r\nconnection: close\r\n/i);
      assert.notEqual(closed, 'open');
    });
  }

  it('a stream over HTTP/1.0 ends with its connection, even if that is to be kept', async () => {
    const { upstream, port } = gateway();
    upstream.run('old', state('completed'));
    const bytes = get('old', 'connection: keep-alive').replace('HTTP/1.1', 'HTTP/1.0');
    const { received, closed } = await rawRequest(port, bytes);
    assert.match(received.toString(), /event: complete\n[^]*\n\n$/);
    assert.doesNotMatch(received.toString(), /transfer-encoding/i);
    assert.equal(closed, 'fin');
  });
}

/** Clients that leave, each in its own way. */
export function leavingTests(start: StartGateway): void {
  const gateway = useGateway(start);
  afterEach(() => gateway().untilIdle());

  const ways: readonly (readonly [string, (client: RawSocket) => void])[] = [
    ['a reset', ({ socket }) => resetNow(socket)],
    ['a FIN', ({ socket }) => socket.end()],
    ['a close', ({ socket }) => socket.destroy()],
    ['a reset while it was not reading', ({ socket }) => resetNow(socket.pause())],
  ];
  for (const [what, leave] of ways) {
    it(`${what} in mid-stream ends the stream and its poller`, async () => {
      const { upstream, port } = gateway();
      upstream.run('left', state('running'));
      const client = openRaw(port, get('left'));
      await client.until('event: progress');
      await until('a stream', async () => (await gateway().stats()).streams === 1);
      leave(client);
      await gateway().untilIdle();
      await closing(client);
    });

    it(`${what} before upstream has answered leaves nothing behind`, async () => {
      const { upstream, port } = gateway();
      upstream.run('hasty', delay(120, state('running')));
      const asked = upstream.next('hasty');
      const client = openRaw(port, get('hasty'));
      await asked;
      leave(client);
      await closing(client);
    });
  }

  it('a client that says FIN with its request is no stream for long', async () => {
    const { upstream, port } = gateway();
    upstream.run('half', state('running'));
    const client = openRaw(port, get('half'), { halfClose: true });
    await closing(client);
  });

  it('and none of all these left a poller behind', async () => {
    for (const runId of ['left', 'hasty', 'half']) await gateway().untilUnpolled(runId);
    const asked = gateway().upstream.count('hasty');
    assert.ok(asked <= 2 * ways.length, 'a proof for each, and a poll that was under way');
  });
}

for (const [name, start] of STARTERS) {
  describe(`raw bytes over ${name}`, { concurrency: true }, () => {
    describe('behind a request', { concurrency: 1 }, () => behindTests(start));
    describe('in place of a request', { concurrency: 1 }, () => headTests(start));
    describe('leaving', { concurrency: 1 }, () => leavingTests(start));
  });
}
