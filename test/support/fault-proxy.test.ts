/** The proxy of the fault tests does what it says, at the byte that it was told. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { TestContext } from 'node:test';
import { startFaultProxy } from './fault-proxy.ts';
import type { Fault, FaultProxy } from './fault-proxy.ts';
import { openRaw } from './raw-client.ts';
import type { RawSocket } from './raw-client.ts';
import { act, startUpstream } from './upstream.ts';
import { until, within } from './wait.ts';

const BODY = JSON.stringify({ data: { status: 'completed', text: 'x'.repeat(100) } });
/** Without a date, so that each is the same. */
const ANSWER = [
  'HTTP/1.1 200 OK', `content-length: ${BODY.length}`, 'Connection: keep-alive', '', BODY,
].join('\r\n');

const answer = act((res) => {
  res.sendDate = false;
  res.writeHead(200, { 'content-length': BODY.length }).end(BODY);
});

const ask = (runId: string): string =>
  `GET /v1/runs/${runId} HTTP/1.1\r\nhost: upstream\r\nx-api-key: lma_a\r\n\r\n`;

/** A proxy to an upstream that gives the same answer to all, byte for byte. */
async function proxyFor(t: TestContext, fault?: Fault): Promise<FaultProxy> {
  const upstream = await startUpstream();
  for (const runId of ['r1', 'r2']) upstream.run(runId, answer);
  const proxy = await startFaultProxy(upstream.origin);
  t.after(async () => {
    await proxy.close();
    await upstream.close();
  });
  if (fault !== undefined) proxy.choose((path) => path === '/v1/runs/r1' ? fault : undefined);
  return proxy;
}

function open(t: TestContext, { origin }: FaultProxy, runId = 'r1'): RawSocket {
  const raw = openRaw(Number(new URL(origin).port), ask(runId));
  t.after(() => raw.socket.destroy());
  return raw;
}

const untilLength = ({ received }: RawSocket, length: number): Promise<void> =>
  until(`${length} bytes`, () => received().length >= length);

describe('fault proxy', () => {
  test('passes all bytes where it has no fault, answer after answer', async (t) => {
    const proxy = await proxyFor(t, { kind: 'cut', at: 3 });
    const raw = open(t, proxy, 'r2');
    await untilLength(raw, ANSWER.length);
    raw.socket.write(ask('r2'));
    await untilLength(raw, 2 * ANSWER.length);
    assert.equal(raw.received().toString(), ANSWER.repeat(2));
    assert.deepEqual(proxy.answers.map(({ bytes }) => bytes), [ANSWER.length, ANSWER.length]);
    assert.deepEqual([proxy.hits, proxy.last('r2')?.path], [0, '/v1/runs/r2']);
  });

  for (const at of [0, 1, 20, ANSWER.length - 1, ANSWER.length]) {
    test(`cuts and resets after ${at} bytes`, async (t) => {
      const cut = open(t, await proxyFor(t, { kind: 'cut', at }));
      assert.equal(await within(20_000, 'the cut', cut.closed), 'fin');
      assert.equal(cut.received().toString(), ANSWER.slice(0, at));
      const reset = open(t, await proxyFor(t, { kind: 'reset', at }));
      const how = await within(20_000, 'the reset', reset.closed);
      assert.equal(reset.received().toString(), ANSWER.slice(0, at));
      // One that comes behind bytes may be taken for a FIN by a reader that was away.
      assert.ok(how === 'reset' || (how === 'fin' && at > 0), how);
    });

    test(`turns bits of byte ${at} over, and of no other`, async (t) => {
      const raw = open(t, await proxyFor(t, { kind: 'corrupt', at, mask: 0x81 }));
      await untilLength(raw, ANSWER.length);
      const expected = Buffer.from(ANSWER);
      if (at < expected.length) expected[at] = (expected[at] ?? 0) ^ 0x81;
      assert.deepEqual(raw.received(), expected);
    });

    test(`holds back and drips what comes after ${at} bytes`, async (t) => {
      const rest = ANSWER.length - at;
      const delayed = await proxyFor(t, { kind: 'delay', at, ms: 200 });
      const askedAt = performance.now();
      const late = open(t, delayed);
      await untilLength(late, ANSWER.length);
      if (rest > 0) assert.ok(performance.now() - askedAt >= 190);
      assert.equal(late.received().toString(), ANSWER);
      const dripping = await proxyFor(t, { kind: 'drip', at, everyMs: 2 });
      const beganAt = performance.now();
      const drip = open(t, dripping);
      await untilLength(drip, ANSWER.length);
      assert.ok(performance.now() - beganAt >= rest - 1);
      assert.equal(drip.received().toString(), ANSWER);
    });
  }

  test('counts from the beginning of each answer of a connection', async (t) => {
    const proxy = await proxyFor(t, { kind: 'cut', at: 10 });
    const raw = open(t, proxy, 'r2');
    await untilLength(raw, ANSWER.length);
    raw.socket.write(ask('r1'));
    assert.equal(await within(20_000, 'the cut', raw.closed), 'fin');
    assert.equal(raw.received().length, ANSWER.length + 10);
    assert.equal(proxy.hits, 1);
  });

  test('lets go of what it does when it is mended', async (t) => {
    const proxy = await proxyFor(t, { kind: 'drip', at: 0, everyMs: 100 });
    const raw = open(t, proxy);
    await proxy.untilHit();
    proxy.mend();
    await untilLength(raw, ANSWER.length);
    raw.socket.write(ask('r1'));
    await untilLength(raw, 2 * ANSWER.length);
    assert.equal(proxy.hits, 1);
  });

  test('resets who comes while upstream is gone', async (t) => {
    const upstream = await startUpstream();
    const proxy = await startFaultProxy(upstream.origin);
    t.after(() => proxy.close());
    await upstream.close();
    assert.notEqual(await within(20_000, 'the end', open(t, proxy).closed), 'refused');
  });
});
