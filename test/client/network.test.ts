/**
 * `watchRun` over the real gateway, plain and compressed, behind what cuts: whatever is cut off
 * comes again and nothing comes twice, gateways that start again are hardly noticed, and whoever
 * may not see a run any more is told so.
 */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { watchRun } from '../../src/client/index.ts';
import type { Opened, Reconnect, RunEvent } from '../../src/client/index.ts';
import { createGateway } from '../../src/index.ts';
import { gatewayFor, startGateway } from '../support/gateway.ts';
import { randomFrom } from '../support/random.ts';
import { perKey, refused, startUpstream, state } from '../support/upstream.ts';
import { until, within } from '../support/wait.ts';

const MS = 60_000;
const KEY = 'lma_a';

/** Passes bytes on until so many have come back, and is then gone; on to `port()`. */
async function cutting(
  t: TestContext, port: () => number, allowance: () => number,
): Promise<string> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    const onward = connect(port(), '127.0.0.1');
    let left = allowance();
    for (const side of [socket, onward]) {
      sockets.add(side);
      side.on('error', () => undefined).on('close', () => {
        socket.destroySoon();
        onward.destroy();
      });
    }
    socket.pipe(onward);
    onward.on('data', (bytes: Buffer) => {
      socket.write(bytes.subarray(0, left));
      left -= bytes.length;
      if (left <= 0) socket.destroySoon();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

// Each has a gateway of its own, and mostly waits for the time that a stream says to stay away.
describe('a watch over the gateway', { concurrency: true }, () => {
  for (const compress of [true, false]) {
    it(`tells each state once behind cuts, compress: ${compress}`, async (t) => {
      const gateway = await gatewayFor(t, startGateway, { compress });
      const random = randomFrom(7);
      // Past the head, mostly, and mostly in the middle of an event.
      let cuts = 3;
      const allowance = (): number => (cuts-- > 0 ? 450 + Math.floor(random() * 700) : Infinity);
      const origin = await cutting(t, () => gateway.port, allowance);
      const step = (n: number): void => {
        const note = Array.from({ length: 40 }, () => random().toString(36)).join();
        const status = n === 9 ? 'completed' : 'running';
        gateway.upstream.run('r', state(status, { n, note }));
      };
      step(0);
      const seen: RunEvent[] = [];
      const watching = (async () => {
        for await (const event of watchRun(`${origin}/v1/runs/r/stream`, { apiKey: KEY })) {
          seen.push(event);
          if (event.type === 'progress') step(Number(event.data['n']) + 1);
        }
      })();
      await within(2 * MS, 'the end of the run', watching);
      const numbers = seen.map((event) => ('data' in event ? event.data['n'] : event.type));
      assert.deepEqual(numbers, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
      assert.equal(seen.at(-1)?.type, 'complete');
      assert.ok(cuts <= 0, `${cuts} cuts left`);
    });
  }

  it('goes on over a gateway that starts again, with the id that it had', async (t) => {
    const upstream = await startUpstream();
    const options = { upstream: upstream.origin, port: 0, pollIntervalMs: 40, drainTimeoutMs: 50 };
    const first = createGateway(options);
    const second = createGateway(options);
    t.after(async () => {
      await Promise.all([first.close(), second.close()]);
      await upstream.close();
    });
    let { port } = await first.listen();
    const origin = await cutting(t, () => port, () => Infinity);
    upstream.run('r', state('running'));
    const seen: RunEvent[] = [];
    const opened: Opened[] = [];
    const reconnects: Reconnect[] = [];
    const watching = (async () => {
      const events = watchRun(`${origin}/v1/runs/r/stream`, {
        apiKey: KEY,
        onOpen: (each) => void opened.push(each),
        onReconnect: (each) => void reconnects.push(each),
      });
      for await (const event of events) seen.push(event);
    })();
    await until('the first state', () => seen.length === 1, MS);
    ({ port } = await second.listen());
    await first.close();
    await until('the second stream', () => opened.length === 2, MS);
    upstream.run('r', state('completed'));
    await within(MS, 'the end of the run', watching);
    assert.deepEqual(seen.map(({ type }) => type), ['progress', 'complete']);
    assert.equal(opened[1]?.lastEventId, seen[0]?.id);
    assert.deepEqual(reconnects.map(({ reason }) => reason), ['ended']);
  });

  it('is told of access that is lost, in a stream and at its door', async (t) => {
    const gateway = await gatewayFor(t, startGateway);
    const both = state('running');
    gateway.upstream.run('r', both);
    const seen: RunEvent[] = [];
    const watching = (async () => {
      for await (const event of watchRun(gateway.url('r'), { apiKey: KEY })) seen.push(event);
    })();
    await until('the first state', () => seen.length === 1, MS);
    gateway.upstream.run('r', perKey({ [KEY]: refused(403, 'FORBIDDEN', 'Not yours') }, both));
    await within(MS, 'the loss', watching);
    const last = seen.at(-1);
    assert.ok(last?.type === 'lost');
    assert.deepEqual([last.code, last.errorMessage, last.runId], ['FORBIDDEN', 'Not yours', 'r']);
    const again = watchRun(gateway.url('r'), { apiKey: KEY }).next();
    await assert.rejects(within(MS, 'a refusal', again), { code: 'FORBIDDEN', status: 403 });
  });

  it('is told nothing of an end that it has', async (t) => {
    const gateway = await gatewayFor(t, startGateway);
    gateway.upstream.run('r', state('completed'));
    const first = watchRun(gateway.url('r'), { apiKey: KEY });
    const { value } = await within(MS, 'the end', first.next());
    const lastEventId = value?.id ?? '';
    assert.equal((await first.next()).done, true);
    const again = watchRun(gateway.url('r'), { apiKey: KEY, lastEventId });
    assert.equal((await within(MS, 'the end', again.next())).done, true);
  });
});
