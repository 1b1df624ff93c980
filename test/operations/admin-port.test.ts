/** `--admin-port`: probes and metrics on a port of their own, for one process and for workers. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { describe, it } from 'node:test';

import { createGateway } from '../../src/index.ts';
import { STARTERS, gatewayFor } from '../support/gateway.ts';
import type { StartGateway } from '../support/gateway.ts';
import { freePort } from '../support/ports.ts';
import { ask } from '../support/processes.ts';
import { startUpstream, state } from '../support/upstream.ts';
import { until } from '../support/wait.ts';

const PATHS = ['/livez', '/readyz', '/healthz', '/metrics'];

function portTests(start: StartGateway): void {
  it('has all of them there, and none on the main port', async (t) => {
    const adminPort = await freePort();
    const gateway = await gatewayFor(t, start, { adminPort });
    gateway.upstream.run('r', state('running'));
    const stream = await gateway.join('r');
    await stream.next('progress');
    for (const path of PATHS) {
      assert.equal((await ask(adminPort, path)).status, 200, path);
      assert.equal((await ask(gateway.port, path)).status, 404, path);
    }
    for (const path of ['/', '/v1/runs/r', '/v1/runs/r/stream', '/doctor']) {
      assert.equal((await ask(adminPort, path)).status, 404, path);
    }
    const { streams } = JSON.parse((await ask(adminPort, '/healthz')).body) as { streams: number };
    assert.equal(streams, 1);
    await until('the stream to be counted', async () =>
      /^runcast_streams 1$/m.test((await ask(adminPort, '/metrics')).body));
  });

  it('tells there that it shuts down, while streams end, and is gone then', async (t) => {
    const adminPort = await freePort();
    const gateway = await gatewayFor(t, start, { adminPort, drainTimeoutMs: 3_000 });
    gateway.upstream.run('r', state('running'));
    const streams = await Promise.all(Array.from({ length: 60 }, () => gateway.join('r')));
    await Promise.all(streams.map((stream) => stream.next('progress')));
    const closed = gateway.close();
    await until('a 503', async () => (await ask(adminPort, '/readyz')).status === 503);
    assert.equal((await ask(adminPort, '/livez')).status, 200);
    await closed;
    await assert.rejects(ask(adminPort, '/livez'));
  });
}

describe('the admin port', () => {
  for (const [name, start] of STARTERS) describe(`of ${name}`, () => portTests(start));

  it('is not taken where the main port cannot be had', async (t) => {
    const upstream = await startUpstream();
    const taken = createServer().listen(0, '127.0.0.1');
    t.after(() => {
      taken.close();
      return upstream.close();
    });
    await once(taken, 'listening');
    const { port } = taken.address() as AddressInfo;
    const adminPort = await freePort();
    const gateway = createGateway({ upstream: upstream.origin, port, adminPort });
    await assert.rejects(gateway.listen(), { code: 'EADDRINUSE' });
    await assert.rejects(ask(adminPort, '/livez'));
    await gateway.close();
  });

  it('is another one than the main port', () => {
    const both = { upstream: 'http://127.0.0.1:9', port: 9_090, adminPort: 9_090 };
    assert.throws(() => createGateway(both), /admin-port: got 9090, expected another one/);
  });
});
