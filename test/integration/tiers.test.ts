/**
 * `--source stream` over real sockets: over a scripted upstream with streams, and over another
 * gateway, which may be killed, drained or left without what it needs.
 */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { createGateway } from '../../src/index.ts';
import type { Gateway, GatewayOptions } from '../../src/index.ts';
import { EventFeed } from '../support/event-feed.ts';
import { assertEnded, gatewayFor, names, STARTERS, TestGateway } from '../support/gateway.ts';
import type { SseStream } from '../support/sse-client.ts';
import { execution, perKey, refused, startUpstream, state } from '../support/upstream.ts';
import type { Upstream } from '../support/upstream.ts';
import { until, within } from '../support/wait.ts';

const RUN = 'r1';
const SHORT = {
  pollIntervalMs: 40, pingIntervalMs: 250, upstreamTimeoutMs: 10_000, drainTimeoutMs: 200,
  port: 0,
} as const;

/** A gateway in a server of ours, so that it can be killed and come back on its port. */
class Middle {
  readonly #options: GatewayOptions;
  #gateway: Gateway | undefined;
  #server: Server | undefined;
  #port = 0;

  constructor(options: GatewayOptions) {
    this.#options = options;
  }

  get origin(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  get streams(): number {
    return this.#gateway?.stats().streams ?? 0;
  }

  async start(): Promise<void> {
    this.#gateway = createGateway(this.#options);
    this.#server = createServer(this.#gateway.handler).listen(this.#port, '127.0.0.1');
    await once(this.#server, 'listening');
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  /** Everything is cut, and nobody listens. */
  async kill(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await Promise.all([closed, this.#gateway?.close(0)]);
  }

  /** Its streams are sent away first. */
  async drain(): Promise<void> {
    await this.#gateway?.close();
    await this.kill();
  }
}

interface Tiers {
  readonly root: Upstream;
  readonly middle: Middle;
  readonly edge: TestGateway;
}

/** A run API, a gateway that polls it, and one that relays the streams of that. */
async function tiers(t: TestContext, options: Partial<GatewayOptions> = {}): Promise<Tiers> {
  const root = await startUpstream();
  const middle = new Middle({ ...SHORT, upstream: root.origin });
  await middle.start();
  const gateway = createGateway({
    ...SHORT, ...options, upstream: middle.origin, sourceKind: 'stream',
  });
  const { url } = await gateway.listen();
  const edge = new TestGateway(
    root, true, url, () => Promise.resolve(gateway.stats()), () => gateway.close());
  t.after(async () => {
    await middle.kill();
    await edge.stop();
  });
  return { root, middle, edge };
}

async function metric(gateway: TestGateway, name: string): Promise<number> {
  const { text } = await gateway.call('GET', '/metrics');
  return Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1]);
}

const ids = ({ events }: SseStream): string[] =>
  [...new Set(events.filter(({ event }) => event !== 'ping').map(({ id }) => id))];

/** Its result, once, and the end. */
async function assertResult(stream: SseStream, event = 'complete', ms = 8_000): Promise<void> {
  await assertEnded(stream, ms);
  assert.deepEqual(names(stream, 'ping', 'progress'), [event]);
}

describe('two tiers of gateways', () => {
  it('have one stream between them for a run, and the same ids and bytes in both', async (t) => {
    const { root, middle, edge } = await tiers(t);
    root.run(RUN, state('running', { step: 0 }));
    const direct = await new TestGateway(
      root, false, middle.origin, edge.stats, edge.close).join(RUN);
    const streams = await Promise.all(Array.from({ length: 12 }, (_, i) =>
      edge.join(RUN, { key: i % 2 === 0 ? 'lma_a' : 'lma_b' })));
    await until('the stream between them', () => middle.streams === 2);
    for (let step = 1; step <= 5; step++) {
      root.run(RUN, state('running', { step, exact: [1.5, '\u2028é🌍'] }));
      for (const stream of [direct, ...streams]) {
        await stream.next(({ data }) => data.includes(`"step":${step}`));
      }
    }
    const late = await edge.join(RUN, { lastEventId: direct.events.at(-1)?.id ?? '' });
    assert.equal((await late.next(() => true)).event, 'ping', 'an id holds in both');
    assert.equal(middle.streams, 2);
    assert.ok(await metric(edge, 'runcast_polls_total') <= 2, 'the edge does not poll');
    root.run(RUN, state('completed'));
    await assertResult(direct);
    for (const stream of streams) {
      await assertResult(stream);
      assert.deepEqual(ids(stream).slice(-6), ids(direct).slice(-6));
      assert.equal(stream.events.at(-1)?.data, direct.events.at(-1)?.data);
    }
    assert.equal(root.maxInFlight(RUN) <= 2, true, 'one poller, and a proof beside it');
    await until('no stream left', () => middle.streams === 0);
  });

  for (const how of ['kill', 'drain'] as const) {
    it(`outlive the ${how} of the one between: the result arrives once`, async (t) => {
      const { root, middle, edge } = await tiers(t);
      root.run(RUN, state('running'));
      const streams = [await edge.join(RUN), await edge.join(RUN, { key: 'lma_b' })];
      await until('the stream between them', () => middle.streams === 1);
      await middle[how]();
      root.run(RUN, state('running', { step: 1 }));
      await streams[0]?.next('ping');
      await middle.start();
      for (const stream of streams) {
        await stream.next(({ data }) => data.includes('"step":1'), 15_000);
      }
      root.run(RUN, state('completed'));
      for (const stream of streams) await assertResult(stream);
    });
  }

  it('end a run that ended while the one between was gone', async (t) => {
    const { root, middle, edge } = await tiers(t);
    root.run(RUN, state('running'));
    const stream = await edge.join(RUN);
    await until('the stream between them', () => middle.streams === 1);
    await middle.kill();
    root.run(RUN, state('failed', { errorMessage: 'x' }));
    await stream.next('ping');
    await middle.start();
    await assertResult(stream, 'error', 15_000);
  });

  it('a key that the run API refuses loses its own streams in both', async (t) => {
    const { root, middle, edge } = await tiers(t);
    root.run(RUN, state('running'));
    const revoked = await edge.join(RUN, { key: 'lma_a' });
    await until('the stream between them', () => middle.streams === 1);
    const other = await edge.join(RUN, { key: 'lma_b' });
    const no = refused(403, 'FORBIDDEN', 'Not any more');
    root.run(RUN, perKey({ lma_a: no }, state('running', { step: 1 })));
    const { data } = await revoked.next('error');
    const { code, error, retryable } = JSON.parse(data) as Record<string, unknown>;
    assert.deepEqual([code, error, retryable], ['FORBIDDEN', 'Not any more', false]);
    await assertEnded(revoked);
    await other.next(({ data }) => data.includes('"step":1'));
    root.run(RUN, perKey({ lma_a: no }, state('completed')));
    await assertResult(other);
  });

  it('a run that is over is told of without a stream between them', async (t) => {
    const { root, middle, edge } = await tiers(t);
    root.run(RUN, state('completed'));
    const stream = await edge.join(RUN);
    await assertResult(stream);
    assert.equal(middle.streams, 0);
    const { id = '' } = stream.events.at(-1) ?? {};
    assert.equal((await edge.join(RUN, { lastEventId: id })).response.status, 204);
  });

  it('streams that end with a timeout in between are followed by others, unseen', async (t) => {
    const root = await startUpstream();
    const middle = new Middle({ ...SHORT, upstream: root.origin, streamTimeoutMs: 300 });
    await middle.start();
    const gateway = createGateway({ ...SHORT, upstream: middle.origin, sourceKind: 'stream' });
    const { url } = await gateway.listen();
    const edge = new TestGateway(
      root, true, url, () => Promise.resolve(gateway.stats()), () => gateway.close());
    t.after(async () => {
      await middle.kill();
      await edge.stop();
    });
    root.run(RUN, state('running'));
    const stream = await edge.join(RUN);
    for (let i = 0; i < 4; i++) await stream.next('ping');
    root.run(RUN, state('completed'));
    await assertResult(stream);
    assert.deepEqual(names(stream, 'ping'), ['progress', 'complete']);
  });
});

for (const [name, start] of STARTERS) {
  describe(`${name} over a run API with streams`, () => {
    it('relays them, one for each run, without a poll', async (t) => {
      const gateway = await gatewayFor(t, start, { sourceKind: 'stream', pollIntervalMs: 300 });
      const feed = new EventFeed(gateway.upstream, RUN);
      const streams = await Promise.all([1, 2, 3, 4].map(() => gateway.join(RUN)));
      await feed.untilOpen();
      const raw = `{"runId":"${RUN}", "n":9007199254740993,"f":1.0,"status":"running","é":"🌍"}`;
      for (const byte of Buffer.from(`\r\n: x\r\nevent: progress\r\ndata: ${raw}\r\n\r\n`)) {
        feed.send(Buffer.of(byte));
      }
      for (const stream of streams) {
        assert.equal((await stream.next(({ data }) => data.includes('9007'))).data, raw);
      }
      const before = gateway.upstream.count(RUN);
      feed.to('running', { step: 1 });
      for (const stream of streams) await stream.next(({ data }) => data.includes('"step":1'));
      for (let i = 0; i < 4; i++) await streams[0]?.next('ping');
      assert.equal(gateway.upstream.count(RUN), before, 'no polls');
      assert.equal(feed.asked.length, 1);
      feed.to('completed');
      for (const stream of streams) await assertResult(stream);
      await feed.untilOpen(0);
    });

    it('polls while a stream is cut, and misses nothing', async (t) => {
      const gateway = await gatewayFor(t, start, { sourceKind: 'stream' });
      const feed = new EventFeed(gateway.upstream, RUN);
      const stream = await gateway.join(RUN);
      await feed.untilOpen();
      feed.to('running', { step: 1 });
      await stream.next(({ data }) => data.includes('"step":1'));
      feed.cut(true);
      feed.to('running', { step: 2 }, true);
      await stream.next(({ data }) => data.includes('"step":2'));
      feed.to('completed', {}, true);
      await assertResult(stream);
      assert.deepEqual(new Set(ids(stream)).size, 4);
    });

    it('comes back to a stream that was cut', async (t) => {
      const gateway = await gatewayFor(t, start, { sourceKind: 'stream' });
      const feed = new EventFeed(gateway.upstream, RUN);
      const stream = await gateway.join(RUN);
      await feed.untilOpen();
      const { id } = await stream.next('progress');
      feed.cut();
      await until('a second stream', () => feed.asked.length === 2);
      assert.equal(feed.asked[1]?.headers['last-event-id'], id);
      await feed.untilOpen();
      feed.to('completed');
      await assertResult(stream);
    });

    it('ends its connections with its clients', async (t) => {
      const gateway = await gatewayFor(t, start, { sourceKind: 'stream' });
      const feed = new EventFeed(gateway.upstream, RUN);
      const stream = await gateway.join(RUN);
      await feed.untilOpen();
      stream.destroy();
      await feed.untilOpen(0);
      const other = await gateway.join(RUN);
      await feed.untilOpen();
      await within(8_000, 'the end of the gateway', gateway.close());
      await other.ended;
      await feed.untilOpen(0);
    });

    it('polls a run API that has none, and does not ask for them again', async (t) => {
      const gateway = await gatewayFor(t, start, { sourceKind: 'stream' });
      const { upstream } = gateway;
      for (const runId of ['r1', 'r2', 'r3']) {
        upstream.run(runId, state('running'));
        const stream = await gateway.join(runId);
        await gateway.polls(runId, 3);
        upstream.run(runId, state('completed'));
        await assertResult(stream);
        assert.deepEqual(stream.events.at(-1)?.data,
          JSON.stringify(execution(runId, 'completed')));
      }
      const asked = upstream.requests.filter(({ path }) => path.endsWith('/stream'));
      assert.deepEqual(asked.map(({ path }) => path), ['/v1/runs/r1/stream']);
    });

    it('tells a refused stream from a refused key', async (t) => {
      const gateway = await gatewayFor(t, start, { sourceKind: 'stream' });
      const feed = new EventFeed(gateway.upstream, RUN);
      gateway.upstream.run(`/v1/runs/${RUN}/stream`, perKey({
        lma_a: refused(401, 'AUTH_INVALID_KEY'),
      }, feed.answer));
      const first = await gateway.join(RUN, { key: 'lma_a' });
      const second = await gateway.join(RUN, { key: 'lma_b' });
      feed.to('running', { step: 1 });
      for (const stream of [first, second]) {
        await stream.next(({ data }) => data.includes('"step":1'));
      }
      feed.to('completed');
      for (const stream of [first, second]) await assertResult(stream);
    });
  });
}
