/**
 * One bounded request, against a real HTTP server that does everything wrong that a server can.
 * The clock is the real one with short deadlines; around it a count of its timers, so that each
 * test also shows that none is left.
 */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, it } from 'node:test';

import { systemClock } from '../../src/core/clock.ts';
import type { Clock, Timer } from '../../src/core/clock.ts';
import type { ApiKey } from '../../src/core/run-source.ts';
import { Upstream } from '../../src/source/upstream.ts';
import type { Exchange, UpstreamOptions } from '../../src/source/upstream.ts';
import {
  delay, drip, endless, hang, headersThenHang, raw, redirect, reset, resetMidBody,
  startUpstream, state, truncate,
} from '../support/upstream.ts';
import type { Answer, Upstream as Server } from '../support/upstream.ts';
import { until, within } from '../support/wait.ts';

const KEY: ApiKey = { value: 'lma_a', header: 'x-api-key' };
const SOON_MS = 250;
/** For requests that are answered: never reached unless something hangs. */
const LATER_MS = 10_000;

/** The system clock, and which of its timers are pending. */
class CountingClock implements Clock {
  readonly timers = new Set<Timer>();
  readonly now = systemClock.now;
  readonly wallNow = systemClock.wallNow;

  setTimeout(fn: () => void, delayMs: number): Timer {
    const timer = systemClock.setTimeout(() => {
      this.timers.delete(timer);
      fn();
    }, delayMs);
    this.timers.add(timer);
    return timer;
  }

  setIdleTimeout(fn: () => void, delayMs: number): Timer {
    return this.setTimeout(fn, delayMs);
  }

  clearTimeout(timer: Timer): void {
    this.timers.delete(timer);
    systemClock.clearTimeout(timer);
  }
}

let server: Server;
let clock: CountingClock;
let opened: Upstream[];

beforeEach(async () => {
  server = await startUpstream();
  clock = new CountingClock();
  opened = [];
});

afterEach(async () => {
  for (const upstream of opened) upstream.close();
  await server.close();
  assert.equal(clock.timers.size, 0, 'timers are left');
});

function open(over: Partial<UpstreamOptions> = {}): Upstream {
  const upstream = new Upstream({
    url: new URL(server.origin), path: '/v1/runs/{runId}', timeoutMs: LATER_MS,
    maxBodyBytes: 4 * 1024 * 1024, ...over,
  }, clock);
  opened.push(upstream);
  return upstream;
}

async function get(upstream: Upstream, runId = 'r', key = KEY): Promise<Exchange> {
  const exchange = await within(5_000, `the exchange for ${runId}`, upstream.get(runId, key));
  assert.equal(clock.timers.size, 0, 'its deadline was not cleared');
  return exchange;
}

/** The only answer: what it says, as text. */
async function answered(upstream: Upstream, runId = 'r'): Promise<string> {
  const exchange = await get(upstream, runId);
  assert.equal(exchange.kind, 'answer');
  return exchange.kind === 'answer' ? `${exchange.status} ${exchange.body.toString()}` : '';
}

const noConnection = (): Promise<void> =>
  until('the socket is closed', () => server.openConnections === 0);

describe('an answer of upstream', () => {
  it('is given with its status, its headers and its bytes', async () => {
    server.run('r', raw('{"a": 1.0}\r\n', { headers: { 'retry-after': '7' } }));
    const exchange = await get(open());
    assert.equal(exchange.kind, 'answer');
    assert.equal(exchange.status, 200);
    assert.equal(exchange.headers['retry-after'], '7');
    assert.equal(exchange.body.toString(), '{"a": 1.0}\r\n');
  });

  it('is given whatever its status, also without a body', async () => {
    const upstream = open();
    for (const status of [204, 304, 400, 401, 403, 404, 410, 429, 500, 503]) {
      server.run('r', raw('', { status }));
      const exchange = await get(upstream);
      assert.equal(exchange.kind, 'answer');
      assert.equal(exchange.status, status);
      assert.equal(exchange.body.length, 0);
    }
  });

  it('is put together from many chunks, at any edge of a character', async () => {
    const text = JSON.stringify({ data: { status: 'running', x: '世🌍ü'.repeat(300_000) } });
    server.run('r', raw(text));
    assert.equal(await answered(open()), `200 ${text}`);
    server.run('slow', drip('{"x":"世🌍"}', 1));
    assert.equal(await answered(open(), 'slow'), '200 {"x":"世🌍"}');
  });

  it('is no redirect that is followed', async () => {
    const other = await startUpstream();
    try {
      other.run('r', state('completed'));
      const upstream = open();
      for (const status of [301, 302, 303, 307, 308]) {
        server.run('r', redirect(`${other.origin}/v1/runs/r`, status));
        assert.equal(await answered(upstream), `${status} `);
      }
      assert.equal(other.connections, 0);
      assert.equal(server.count(), 5);
    } finally {
      await other.close();
    }
  });
});

describe('a request to upstream', () => {
  it('has the key in the header in which the client sent it, and in no other', async () => {
    server.run('r', state('running'));
    const upstream = open();
    await get(upstream, 'r', { value: 'lma_plain', header: 'x-api-key' });
    await get(upstream, 'r', { value: 'lma_bearer', header: 'authorization' });
    const [plain, bearer] = server.requests.map(({ headers }) => headers);
    assert.equal(plain?.['x-api-key'], 'lma_plain');
    assert.equal(plain?.authorization, undefined);
    assert.equal(bearer?.authorization, 'Bearer lma_bearer');
    assert.equal(bearer?.['x-api-key'], undefined);
  });

  it('is a GET for JSON as it is, without compression', async () => {
    server.run('r', state('running'));
    await get(open());
    const [request] = server.requests;
    assert.equal(request?.method, 'GET');
    assert.equal(request.path, '/v1/runs/r');
    assert.equal(request.headers.accept, 'application/json');
    assert.equal(request.headers['accept-encoding'], 'identity');
    assert.equal(request.headers.host, server.origin.slice('http://'.length));
  });

  it('goes below the base path, with or without a slash at its end', async () => {
    for (const base of ['/base', '/base/', '/base//']) {
      await get(open({ url: new URL(base, server.origin) }), 'r1');
    }
    await get(open({ url: new URL('/a/b', server.origin), path: '/x/{runId}/y?id={runId}' }), 'r1');
    assert.deepEqual(server.requests.map(({ path }) => path), [
      '/base/v1/runs/r1', '/base/v1/runs/r1', '/base/v1/runs/r1', '/a/b/x/r1/y?id=r1',
    ]);
  });

  it('speaks TLS where the URL says https, and only there', async () => {
    server.run('r', state('running'));
    const url = new URL(server.origin.replace('http:', 'https:'));
    const exchange = await get(open({ url }));
    assert.equal(exchange.kind, 'broken');
    assert.match(exchange.why, /SSL|EPROTO/);
    assert.equal(server.count(), 0);
    assert.equal(server.connections, 1);
  });

  it('reuses a connection that is idle', async () => {
    server.run('r', state('running'));
    const upstream = open();
    for (let i = 0; i < 5; i++) await get(upstream);
    assert.equal(server.connections, 1);
    await Promise.all([1, 2, 3].map(() => upstream.get('r', KEY)));
    assert.equal(server.connections, 3);
    await get(upstream);
    assert.equal(server.connections, 3);
  });
});

describe('an upstream that is late', () => {
  const late: Readonly<Record<string, Answer>> = {
    'says nothing': hang(),
    'sends its head and then nothing': headersThenHang(),
    'sends a byte now and then, which would beat any idle timeout':
      drip(`{"x":"${'a'.repeat(1_000)}"}`, 20),
  };
  for (const [what, answer] of Object.entries(late)) {
    it(`is given up at the deadline, and its socket too, when it ${what}`, async () => {
      server.run('r', answer);
      const startedAt = performance.now();
      assert.deepEqual(await get(open({ timeoutMs: SOON_MS })), { kind: 'late' });
      const tookMs = performance.now() - startedAt;
      assert.ok(tookMs > SOON_MS - 10, `${tookMs} ms`);
      await noConnection();
      assert.equal(server.count(), 1);
    });
  }

  it('has until the deadline', async () => {
    server.run('r', delay(SOON_MS, raw('{}')));
    assert.equal(await answered(open()), '200 {}');
  });
});

describe('an upstream that breaks off', () => {
  const broken: Readonly<Record<string, Answer>> = {
    'closes before the promised length': truncate('{"data":{"status":"running"}}'),
    'resets instead of an answer': reset(),
    'resets in the middle of a body': resetMidBody('{"data":{"status":"running"}}'),
  };
  for (const [what, answer] of Object.entries(broken)) {
    it(`is told apart from an answer when it ${what}`, async () => {
      server.run('r', answer);
      const exchange = await get(open());
      assert.equal(exchange.kind, 'broken');
      assert.match(exchange.why, /cut short|ECONNRESET/);
      await noConnection();
      assert.equal(server.count(), 1, 'on a fresh connection there is no second try');
    });
  }

  it('is told so when nobody listens, and comes back when somebody does', async () => {
    server.run('r', raw('{}'));
    const upstream = open();
    await get(upstream);
    await server.stop();
    assert.deepEqual(await get(upstream), { kind: 'broken', why: 'ECONNREFUSED' });
    await server.restart();
    assert.equal(await answered(upstream), '200 {}');
  });

  it('costs only its own connection', async () => {
    server.run('good', raw('{}'));
    const upstream = open({ timeoutMs: SOON_MS, maxBodyBytes: 1_000 });
    for (const answer of [hang(), endless(), truncate('{'), reset(), resetMidBody('{}')]) {
      server.run('bad', answer);
      const [bad, good] = await Promise.all([upstream.get('bad', KEY), upstream.get('good', KEY)]);
      assert.notEqual(bad.kind, 'answer');
      assert.equal(good.kind, 'answer');
    }
  });
});

describe('a connection that upstream closes just as it is used again', () => {
  /** Resets the requests with these numbers. */
  const resetting = (...bad: number[]): Answer => ({ n }) => bad.includes(n) ? reset() : raw('{}');

  it('is replaced once, and the answer comes over the new one', async () => {
    server.run('r', resetting(2));
    const upstream = open();
    await get(upstream);
    assert.equal(await answered(upstream), '200 {}');
    assert.equal(server.count(), 3);
    assert.equal(server.connections, 2);
  });

  it('is replaced only once', async () => {
    server.run('r', resetting(2, 3));
    const upstream = open();
    await get(upstream);
    assert.deepEqual(await get(upstream), { kind: 'broken', why: 'ECONNRESET' });
    assert.equal(server.count(), 3);
  });

  it('is replaced only once, also where another idle one is as stale', async () => {
    server.run('r', resetting(3, 4));
    const upstream = open();
    await Promise.all([upstream.get('r', KEY), upstream.get('r', KEY)]);
    assert.deepEqual(await get(upstream), { kind: 'broken', why: 'ECONNRESET' });
    assert.equal(server.count(), 4);
  });

  it('is not replaced once an answer has begun', async () => {
    server.run('r', ({ n }) => n === 2 ? resetMidBody('{"x":1}') : raw('{}'));
    const upstream = open();
    await get(upstream);
    assert.equal((await get(upstream)).kind, 'broken');
    await noConnection();
    assert.deepEqual([server.count(), server.connections], [2, 1]);
  });

  it('does not get a second deadline', async () => {
    const timeoutMs = 600;
    server.run('r', ({ n }) => [raw('{}'), delay(450, reset())][n - 1] ?? hang());
    const upstream = open({ timeoutMs });
    await get(upstream);
    const startedAt = performance.now();
    assert.deepEqual(await get(upstream), { kind: 'late' });
    const tookMs = performance.now() - startedAt;
    assert.ok(tookMs > timeoutMs - 10 && tookMs < timeoutMs + 400, `${tookMs} ms`);
    assert.equal(server.count(), 3);
    await noConnection();
  });
});

describe('a body over the cap', () => {
  it('is not read to its end, which may never come, and its socket is destroyed', async () => {
    server.run('r', endless());
    assert.deepEqual(await get(open({ maxBodyBytes: 100_000 })), { kind: 'too-large' });
    await noConnection();
    assert.equal(server.count(), 1);
  });

  it('is not even begun when its length says so', async () => {
    const announced = { 'content-length': 1_000_000 };
    server.run('r', raw('{', { headers: announced }));
    assert.deepEqual(await get(open({ maxBodyBytes: 1_000 })), { kind: 'too-large' });
    await noConnection();
    assert.equal(server.count(), 1);
  });

  it('is one byte longer than the longest that is taken', async () => {
    const upstream = open({ maxBodyBytes: 1_000 });
    server.run('r', raw('a'.repeat(1_000)));
    assert.equal(await answered(upstream), `200 ${'a'.repeat(1_000)}`);
    server.run('r', raw('a'.repeat(1_001)));
    assert.deepEqual(await get(upstream), { kind: 'too-large' });
  });

  it('is so by what came, where no length was announced', async (t) => {
    // The scripted server announces all lengths but that of an endless body.
    const bare = createServer((_req, res) => void res.write('a'.repeat(999), () => res.end('bc')));
    t.after(() => {
      bare.close();
      bare.closeAllConnections();
    });
    bare.listen(0, '127.0.0.1');
    await once(bare, 'listening');
    const { port } = bare.address() as AddressInfo;
    const url = new URL(`http://127.0.0.1:${port}`);
    assert.deepEqual(await get(open({ url, maxBodyBytes: 1_000 })), { kind: 'too-large' });
    const exchange = await get(open({ url, maxBodyBytes: 1_001 }));
    assert.equal(exchange.kind === 'answer' && exchange.body.length, 1_001);
  });
});

describe('closing the upstream side', () => {
  it('leaves nobody to ask', async () => {
    server.run('r', raw('{}'));
    const upstream = open();
    upstream.close();
    upstream.close();
    assert.equal((await get(upstream)).kind, 'broken');
    assert.equal(server.connections, 0);
  });

  /** One request that hangs, behind `idle` that left their connections to be reused. */
  async function closeUnderWay(idle: number): Promise<Exchange> {
    server.run('r', raw('{}'));
    server.run('slow', hang());
    const upstream = open({ timeoutMs: 3_000 });
    await Promise.all(Array.from({ length: idle }, () => upstream.get('r', KEY)));
    const arrived = server.next('slow');
    const slow = upstream.get('slow', KEY);
    await arrived;
    upstream.close();
    const exchange = await within(1_500, 'the request under way at the close', slow);
    await noConnection();
    return exchange;
  }

  it('breaks off what is under way, without a timer left', async () => {
    assert.equal((await closeUnderWay(0)).kind, 'broken');
  });

  it('does not send again what was under way on a reused connection', async () => {
    assert.equal((await closeUnderWay(2)).kind, 'broken');
    assert.equal(server.count('slow'), 1);
  });
});
