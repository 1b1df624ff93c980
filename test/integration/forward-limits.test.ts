/** `--forward on` at its limits: places, bodies, silence, a shutdown. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createGateway } from '../../src/index.ts';
import { usePair } from '../support/forward-pair.ts';
import { KEY, STARTERS, startGateway } from '../support/gateway.ts';
import { openRaw, rawRequest } from '../support/raw-client.ts';
import { OK, startRecording } from '../support/recording-upstream.ts';
import { delay, hang, raw, refused, state } from '../support/upstream.ts';
import { until, within } from '../support/wait.ts';

describe('passing on within limits', () => {
  it('nobody who waits for a place holds up a shutdown, or a place when it is gone', async (t) => {
    const rate = { requests: 1, perMs: 3_000 };
    const gateway = await startGateway({
      forward: true, upstreamRate: rate, drainTimeoutMs: 500,
    });
    gateway.upstream.run('/v1/first', delay(200, refused(429, 'RATE_LIMITED', 'x', {
      'retry-after': '60',
    })));
    const first = gateway.call('GET', '/v1/first', { 'x-api-key': KEY });
    const get = `GET /v1/second HTTP/1.1\r\nhost: x\r\nx-api-key: ${KEY}\r\n\r\n`;
    await gateway.upstream.next('/v1/first');
    const [gone, stays] = [openRaw(gateway.port, get), openRaw(gateway.port, get)];
    t.after(() => stays.socket.destroy());
    assert.equal((await first).status, 429);
    gone.socket.destroy();
    await within(3_000, 'the end', gateway.stop());
    assert.equal(gateway.upstream.count('/v1/second'), 0);
  });

  it('a body that waits for a place is not taken for one that has stopped', async (t) => {
    const rate = { requests: 1, perMs: 2_000 };
    const gateway = await startGateway({ forward: true, upstreamRate: rate, slowTimeoutMs: 1_000 });
    t.after(() => gateway.stop());
    for (const path of ['/v1/a', '/v1/b']) gateway.upstream.run(path, state('x'));
    const headers = { 'x-api-key': KEY };
    const statuses = ['/v1/a', '/v1/b'].map(async (path) =>
      (await gateway.call('POST', path, headers, 'x'.repeat(1_000_000))).status);
    assert.deepEqual(await Promise.all(statuses), [200, 200]);
  });

  it('its answers are for the pages that are let in, whatever upstream says of that', async (t) => {
    const gateway = await startGateway({ forward: true, allowedOrigins: ['https://a.test'] });
    t.after(() => gateway.stop());
    const headers = { 'access-control-allow-origin': '*' };
    gateway.upstream.run('/v1/things', raw('{}', { headers }));
    for (const [origin, allowed] of [
      ['https://a.test', 'https://a.test'], ['https://b.test', undefined],
    ] as const) {
      const answered = await gateway.call('GET', '/v1/things',
        { 'x-api-key': KEY, origin });
      const told = answered.headers['access-control-allow-origin'];
      assert.deepEqual([answered.status, told], [200, allowed]);
    }
  });

  it('a connection on which more than a few requests wait is closed', async (t) => {
    const gateway = await startGateway({ forward: true });
    t.after(() => gateway.stop());
    gateway.upstream.run('/v1/slow', hang());
    const head = `GET /v1/slow HTTP/1.1\r\nhost: x\r\nx-api-key: ${KEY}\r\n\r\n`;
    const client = openRaw(gateway.port, head.repeat(65));
    assert.notEqual(await within(20_000, 'its end', client.closed), 'open');
    assert.ok(gateway.upstream.count('/v1/slow') <= 1);
  });

  for (const [name, start] of STARTERS) {
    it(`it takes its place in the one budget: ${name}`, async (t) => {
      const gateway = await start({ forward: true, upstreamRate: { requests: 2, perMs: 60_000 } });
      t.after(() => gateway.stop());
      const path = '/v1/things';
      gateway.upstream.run(path, state('x'));
      for (const status of [200, 200, 429]) {
        const answered = await gateway.call('GET', path, { 'x-api-key': KEY });
        assert.equal(answered.status, status);
        if (status === 429) assert.ok(Number(answered.headers['retry-after']) > 5);
      }
      assert.equal(gateway.upstream.count(path), 2);
    });

    it(`upstream's 429 to one stops the others: ${name}`, async (t) => {
      const gateway = await start({ forward: true });
      t.after(() => gateway.stop());
      const limited = refused(429, 'RATE_LIMITED', 'x', { 'retry-after': '60' });
      gateway.upstream.run('/v1/things', limited);
      assert.equal((await gateway.call('GET', '/v1/things', { 'x-api-key': KEY })).status, 429);
      gateway.upstream.run('r1', state('running'));
      assert.equal((await gateway.ask('r1')).status, 429);
      assert.equal(gateway.upstream.count('r1'), 0);
    });

    it(`a change below a run has it polled: ${name}`, async (t) => {
      const gateway = await start({ forward: true, pollIntervalMs: 60_000 });
      t.after(() => gateway.stop());
      const { upstream } = gateway;
      upstream.run('r1', state('running'));
      upstream.run('/v1/runs/r1/cancel', state('x'));
      const stream = await gateway.join('r1');
      await until('a state', () => stream.events.length > 0);
      upstream.run('r1', state('cancelled'));
      await gateway.call('POST', '/v1/runs/r1/cancel', { 'x-api-key': KEY });
      assert.equal(await within(20_000, 'the end', stream.ended), 'end');
    });
  }

  const slow = usePair(startGateway, { upstreamTimeoutMs: 300, slowTimeoutMs: 600 });

  it('an answer that does not begin is a 504', async () => {
    const { gateway, upstream } = slow();
    upstream.answer = () => undefined;
    assert.equal((await gateway.call('GET', '/v1/things', {})).status, 504);
    await until('no connection at upstream', () => upstream.open() === 0);
  });

  it('a body that stops coming is a 408', async () => {
    const { gateway, upstream } = slow();
    upstream.answer = () => undefined;
    const { received, closed } = await rawRequest(gateway.port,
      'POST /v1/things HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhalf', { ms: 20_000 });
    assert.match(received.toString(), /^HTTP\/1.1 408 /);
    assert.notEqual(closed, 'open');
    await until('no connection at upstream', () => upstream.open() === 0);
  });

  it('an answer before the end of the body is passed on, and ends the connection', async () => {
    const { gateway, upstream } = slow();
    upstream.answer = 'HTTP/1.1 413 Too Much\r\ncontent-length: 2\r\n\r\nno';
    const { received, closed } = await rawRequest(gateway.port,
      'POST /v1/things HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhalf', { ms: 20_000 });
    assert.match(received.toString(), /^HTTP\/1.1 413 [^]*\r\nconnection: close\r\n[^]*no$/i);
    assert.notEqual(closed, 'open');
  });

  it('an answer that stops coming is cut', async () => {
    const { gateway, upstream } = slow();
    upstream.answer = 'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf';
    const { closed } = await rawRequest(gateway.port,
      'GET /v1/things HTTP/1.1\r\nhost: x\r\n\r\n', { ms: 20_000 });
    assert.notEqual(closed, 'open');
    await until('no connection at upstream', () => upstream.open() === 0);
  });

  it('a reader that takes nothing holds upstream up, not memory', async () => {
    const { gateway, upstream } = slow();
    let written = 0;
    upstream.answer = (socket) => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      const chunk = Buffer.alloc(1 << 20);
      const more = (): void => void socket.write(chunk, (error) => {
        if (error) return;
        written += chunk.length;
        more();
      });
      more();
    };
    const client = openRaw(gateway.port, 'GET /v1/big HTTP/1.1\r\nhost: x\r\n\r\n');
    client.socket.pause();
    await until('no connection at upstream', () => upstream.open() === 0);
    client.socket.destroy();
    assert.ok(written < 64 << 20, `${written} bytes taken`);
  });

  it('a source of one\'s own has no upstream to pass anything to', () => {
    const source = { admit: assert.fail, watch: assert.fail, close: () => undefined };
    const start = (): unknown => createGateway({ source, forward: true });
    assert.throws(start, /forward: got true with a source/);
  });

  it('a drain lets what is under way end, and takes no more', async (t) => {
    const upstream = await startRecording();
    const gateway = await startGateway({
      forward: true, through: upstream, drainTimeoutMs: 20_000,
    });
    t.after(() => upstream.close());
    t.after(() => gateway.stop());
    let answer = (): void => undefined;
    upstream.answer = (socket) => {
      answer = () => void socket.write(OK);
    };
    const answered = gateway.call('GET', '/v1/things', {});
    await upstream.has(0, '\r\n\r\n');
    const closed = gateway.close();
    assert.equal((await gateway.call('GET', '/v1/other', {})).status, 503);
    answer();
    assert.equal((await answered).status, 200);
    await within(20_000, 'the end of the gateway', closed);
    assert.equal(upstream.received.length, 1);
  });
});
