/** `runcast health`: what a container asks the gateway in it. */

import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { once } from 'node:events';
import { describe, it } from 'node:test';

import { parseCommand } from '../../src/arguments.ts';
import { startCli } from '../support/cli.ts';
import { gatewayFor, startGateway } from '../support/gateway.ts';
import { freePort } from '../support/ports.ts';

const originFor = (args: readonly string[], env: Record<string, string> = {}): unknown => {
  const command = parseCommand(['health', ...args], env);
  return command.kind === 'health' ? command.origin : command;
};

describe('runcast health', () => {
  it('asks the gateway that serve would be, unless it is told of another one', () => {
    assert.equal(originFor([]), 'http://127.0.0.1:8080');
    assert.equal(originFor([], { RUNCAST_HOST: '0.0.0.0', RUNCAST_PORT: '81' }),
      'http://127.0.0.1:81');
    assert.equal(originFor([], { RUNCAST_PORT: 'tcp://10.0.0.1:80', RUNCAST_HOST: '::1' }),
      'http://[::1]:8080');
    assert.equal(originFor([], { RUNCAST_ADMIN_PORT: '82', RUNCAST_PORT: '81' }),
      'http://127.0.0.1:82');
    assert.equal(originFor(['http://gateway:99/']), 'http://gateway:99');
  });

  it('names every mistake', () => {
    const command = parseCommand(['health', 'gateway', 'more'], {});
    assert.ok(command.kind === 'mistaken' && command.problems.length === 2);
  });

  it('exits 0 where the gateway is ready, and 1 where it is not there or silent', async (t) => {
    const gateway = await gatewayFor(t, startGateway);
    const silent = createServer().listen(0, '127.0.0.1');
    await once(silent, 'listening');
    t.after(() => silent.close());
    const codes = await Promise.all([
      gateway.port, await freePort(), (silent.address() as AddressInfo).port,
    ].map(async (port) => {
      const { code } = await startCli(['health', `http://127.0.0.1:${port}`]).exited;
      return code;
    }));
    assert.deepEqual(codes, [0, 1, 1]);
  });
});
