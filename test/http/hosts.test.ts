/** Which servers a mounted gateway belongs to, and when it hears that they are closed. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, get } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';

import { Hosts } from '../../src/http/hosts.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { within } from '../support/wait.ts';

/** Listening, and asked once. */
async function serverOf(t: TestContext, hosts: Hosts): Promise<Server> {
  const server = createServer(hosts.mounted((_request, response) => response.end('mine')));
  t.after(() => server.close());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const answered = new Promise((resolve) => get({ port, agent: false }, (response) => {
    response.resume().on('end', resolve);
  }));
  await within(20_000, 'an answer', answered);
  return server;
}

describe('a gateway that is mounted', () => {
  it('hears once, when the last of its servers listens no more', async (t) => {
    const clock = new FakeClock();
    let closed = 0;
    const hosts = new Hosts(clock, () => closed++);
    const [one, other] = [await serverOf(t, hosts), await serverOf(t, hosts)];
    clock.advance(60_000);
    one.close();
    clock.advance(60_000);
    assert.equal(closed, 0);
    other.close();
    clock.advance(250);
    assert.equal(closed, 1);
    clock.advance(60_000);
    await serverOf(t, hosts);
    clock.advance(60_000);
    assert.equal(closed, 1);
  });

  it('hears nothing after it was stopped, and looks no more', async (t) => {
    const clock = new FakeClock();
    const hosts = new Hosts(clock, () => assert.fail('stopped'));
    const server = await serverOf(t, hosts);
    hosts.stop();
    hosts.stop();
    assert.equal(clock.pending, 0);
    server.close();
    clock.advance(60_000);
  });

  it('belongs to no server that does not listen, such as that of a test', () => {
    const clock = new FakeClock();
    const hosts = new Hosts(clock, () => assert.fail('none'));
    let handled = 0;
    const handle = hosts.mounted(() => handled++);
    for (const server of [undefined, {}, createServer()]) {
      handle({ socket: { server } } as never, {} as never);
    }
    clock.advance(60_000);
    assert.equal(handled, 3);
  });
});
