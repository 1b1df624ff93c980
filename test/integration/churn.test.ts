/**
 * Thousands of clients that come and go in every way there is, a bounded number at once. When
 * the last has gone, streams, runs, polls, timers and sockets are what they were before the
 * first; and those who stayed all the time did not notice.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  STARTERS, assertEnded, gatewayFor, names, startGateway, useGateway,
} from '../support/gateway.ts';
import type { StartGateway, TestGateway } from '../support/gateway.ts';
import { openRaw } from '../support/sse-client.ts';
import { delay, refused, resetNow, state } from '../support/upstream.ts';
import { until, within } from '../support/wait.ts';

const AT_ONCE = 50;
const RUNS = 20;
const KEYS = ['lma_a', 'lma_b', 'lma_c'];

const runOf = (i: number): string => `churn-${i % RUNS}`;
const keyOf = (i: number): string => KEYS[i % KEYS.length] ?? '';

type Visit = (gateway: TestGateway, i: number) => Promise<unknown>;

const raw = (gateway: TestGateway, i: number) => openRaw(gateway.port,
  `GET /v1/runs/${runOf(i)}/stream HTTP/1.1\r\nhost: x\r\nx-api-key: ${keyOf(i)}\r\n\r\n`);

/** Each way to come and go; all resolve when the client is gone. */
const VISITS: readonly Visit[] = [
  async function untilTheFirstEvent(gateway, i) {
    const stream = await gateway.join(runOf(i), { key: keyOf(i) });
    await stream.next('progress');
    stream.destroy();
    return stream.ended;
  },
  async function untilTheHead(gateway, i) {
    const stream = await gateway.join(runOf(i), { key: keyOf(i) });
    stream.destroy();
    return stream.ended;
  },
  async function forOneMoment(gateway, i) {
    const { socket, closed } = raw(gateway, i);
    await new Promise((resolve) => socket.once('connect', resolve));
    resetNow(socket);
    return closed;
  },
  async function resetInMidStream(gateway, i) {
    const client = raw(gateway, i);
    await client.until('\n\n');
    resetNow(client.socket);
    return client.closed;
  },
  async function goodbyeInMidStream(gateway, i) {
    const client = raw(gateway, i);
    await client.until('\n\n');
    client.socket.end();
    return client.closed;
  },
  async function toTheEnd(gateway) {
    const stream = await gateway.join('churn-over');
    return assertEnded(stream);
  },
  async function withAPosition(gateway, i) {
    const stream = await gateway.join(runOf(i), { key: keyOf(i), lastEventId: 'whatever' });
    await stream.next('ping');
    stream.destroy();
    return stream.ended;
  },
  async function inVain(gateway) {
    assert.equal((await gateway.ask('churn-secret')).status, 403);
  },
  async function withNonsense(gateway) {
    assert.equal((await gateway.ask('a.b')).status, 400);
  },
];

async function churn(gateway: TestGateway, visits: number): Promise<void> {
  const { upstream } = gateway;
  for (let i = 0; i < RUNS; i++) {
    upstream.run(runOf(i), delay(i, ({ n }) => state('running', { n })));
  }
  upstream.run('churn-over', state('completed'));
  upstream.run('churn-secret', refused(403, 'FORBIDDEN'));
  let next = 0;
  const visitor = async (): Promise<void> => {
    while (next < visits) {
      const i = next++;
      const visit = VISITS[i % VISITS.length];
      await visit?.(gateway, i);
    }
  };
  const all = Promise.all(Array.from({ length: AT_ONCE }, visitor));
  await within(60_000, `${visits} visits`, all);
}

const polls = ({ upstream }: TestGateway): number =>
  upstream.requests.filter(({ runId }) => runId.startsWith('churn-')).length;

async function untilQuiet(gateway: TestGateway): Promise<void> {
  await until('no stream and no run', async () => {
    const { streams, runs } = await gateway.stats();
    return streams === 0 && runs === 0;
  });
  await until('no more polls', async () => {
    const before = polls(gateway);
    await gateway.ticks(4);
    return polls(gateway) === before;
  });
}

export function churnTests(start: StartGateway): void {
  const gateway = useGateway(start);

  it('thousands of visits leave no stream, no run and no poll behind', async () => {
    const { upstream } = gateway();
    upstream.run('stays', state('running'));
    const stayed = await Promise.all([0, 1, 2].map(() => gateway().join('stays')));
    await churn(gateway(), 2_100);
    await until('only those who stayed', async () => (await gateway().stats()).streams === 3);
    upstream.run('stays', state('completed'));
    for (const stream of stayed) {
      await stream.next('complete');
      await assertEnded(stream);
      assert.deepEqual(names(stream, 'ping'), ['progress', 'complete']);
    }
    await untilQuiet(gateway());
    for (let i = 0; i < RUNS; i++) {
      const most = upstream.maxInFlight(runOf(i));
      assert.ok(most <= KEYS.length + 1, `${most} requests at once for one run`);
    }
    assert.ok(upstream.connections <= AT_ONCE + RUNS + 10, `${upstream.connections} connections`);
  });
}

/** What keeps this process alive, by kind; requests of the moment, as to close a file, do not. */
function resources(): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const kind of process.getActiveResourcesInfo()) {
    if (!/Req(Callback|Wrap)?$/.test(kind)) counts[kind] = (counts[kind] ?? 0) + 1;
  }
  return counts;
}

/** What was there may be gone by now: a connection that was kept alive for another request. */
function isNoMore(now: Record<string, number>, before: Record<string, number>): boolean {
  return Object.entries(now).every(([kind, count]) => count <= (before[kind] ?? 0));
}

export function resourceTests(): void {
  it('timers and sockets are as before, and with the gateway gone there are none', async (t) => {
    const before = resources();
    const gateway = await gatewayFor(t, startGateway);
    const { upstream } = gateway;
    /** Connections that upstream keeps open for the next request are not the gateway's clients. */
    const held = (): Record<string, number> => {
      const { TCPSocketWrap = 0, ...others } = resources();
      return { ...others, TCPSocketWrap: TCPSocketWrap - upstream.openConnections };
    };
    await untilQuiet(gateway);
    const idle = held();
    await churn(gateway, 700);
    await untilQuiet(gateway);
    let now = held();
    await until('no more timers and sockets', () => {
      now = held();
      return isNoMore(now, idle);
    }, 3_000).catch(() => assert.deepEqual(now, idle));

    await gateway.close();
    await until('no connection to upstream', () => upstream.openConnections === 0);
    await gateway.stop();
    await until('nothing left', () => {
      now = resources();
      return isNoMore(now, before);
    }, 3_000).catch(() => assert.deepEqual(now, before));
  });
}

export function idleTests(): void {
  it('a poll that is far away goes with the last who wanted it', async (t) => {
    const gateway = await gatewayFor(t, startGateway, { pollIntervalMs: 600_000 });
    const timers = (): number => resources()['Timeout'] ?? 0;
    const before = timers();
    const streams = await Promise.all(Array.from({ length: RUNS }, (_, i) => {
      gateway.upstream.run(runOf(i), state('running'));
      return gateway.join(runOf(i));
    }));
    assert.ok(timers() >= before + RUNS, 'one timer a run, or this shows nothing');
    for (const stream of streams) stream.destroy();
    await gateway.untilIdle();
    await until('the timers of before', () => timers() === before);
  });
}

describe('churn', () => {
  describe('in this process', () => {
    resourceTests();
    idleTests();
  });
  for (const [name, start] of STARTERS) describe(`over ${name}`, () => churnTests(start));
});
