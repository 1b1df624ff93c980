/**
 * The library: a gateway mounted in somebody else's server, its life from `listen` to `close`, a
 * source of one's own in place of polling, and options that are wrong.
 */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { promisify } from 'node:util';
import { startDemoApi } from '../../src/demo/run-api.ts';
import { GatewayError, createGateway } from '../../src/index.ts';
import type {
  Admission, Admitted, ApiKey, GatewayOptions, Logger, RunObserver, RunSource, Snapshot, Watch,
} from '../../src/index.ts';
import { testFile } from '../support/files.ts';
import { assertEnded, assertRetry, names } from '../support/gateway.ts';
import { openStream } from '../support/sse-client.ts';
import type { SseStream } from '../support/sse-client.ts';
import { startUpstream, state } from '../support/upstream.ts';
import type { Upstream } from '../support/upstream.ts';
import { until, within } from '../support/wait.ts';

const HEADERS = { 'x-api-key': 'lma_a' };
const SHORT = { pollIntervalMs: 60, pingIntervalMs: 200, drainTimeoutMs: 300, port: 0 };

async function upstreamFor(t: TestContext): Promise<Upstream> {
  const upstream = await startUpstream();
  t.after(() => upstream.close());
  return upstream;
}

async function join(
  t: TestContext, origin: string, runId: string, headers = HEADERS,
): Promise<SseStream> {
  const stream = await openStream(`${origin}/v1/runs/${runId}/stream`, { headers });
  t.after(() => stream.destroy());
  return stream;
}

function mountTests(): void {
  it('streams beside routes of its host, which outlives it', async (t) => {
    const upstream = await upstreamFor(t);
    const options = { ...SHORT, pingIntervalMs: 1_200, upstream: upstream.origin };
    const gateway = createGateway(options);
    const { handler } = gateway;
    const server = createServer((request, response) => {
      if (request.url?.startsWith('/v1/runs/')) handler(request, response);
      else response.end('mine');
    });
    // What hosts do against idle connections must not end a quiet stream.
    server.timeout = 600;
    server.listen(0, '127.0.0.1');
    t.after(() => server.close());
    t.after(() => server.closeAllConnections());
    await once(server, 'listening');
    const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    upstream.run('r1', state('running'));
    const stream = await join(t, origin, 'r1');
    for (let i = 0; i < 2; i++) await stream.next('ping');
    assert.equal(await (await fetch(`${origin}/`)).text(), 'mine');
    const refused = await fetch(`${origin}/v1/runs/a.b/stream`, { headers: HEADERS });
    assert.equal(refused.status, 400);
    await refused.text();
    assert.deepEqual(gateway.stats(), { streams: 1, runs: 1 });

    await gateway.close();
    await assertEnded(stream);
    assert.deepEqual([names(stream, 'ping'), stream.events.at(-1)?.event], [['progress'], 'ping']);
    assert.equal(await (await fetch(`${origin}/`)).text(), 'mine');
    const late = await fetch(`${origin}/v1/runs/r1/stream`, { headers: HEADERS });
    assert.deepEqual([late.status, late.headers.has('retry-after')], [503, true]);
    await late.text();
    const asked = upstream.count();
    const source = await join(t, origin, 'r1');
    await source.ended;
    assert.equal(source.response.headers['x-runcast-refused'], '503 RESOURCE_UNAVAILABLE');
    assert.equal(upstream.count(), asked);
  });

  it('keeps no process alive whose server does not', async () => {
    const script = `
      import { createServer } from 'node:http';
      import { createGateway } from './dist/index.js';
      const { handler } = createGateway({ upstream: 'http://127.0.0.1:9' });
      const server = createServer(handler).listen(0, '127.0.0.1').unref();
      const { port } = await new Promise((resolve) =>
        server.on('listening', () => resolve(server.address())));
      await (await fetch('http://127.0.0.1:' + port + '/livez')).text();`;
    const args = ['--input-type=module', '--eval', script];
    await promisify(execFile)(process.execPath, args, { cwd: testFile('..'), timeout: 20_000 });
  });

  it('needs no server at all to be made and closed', async (t) => {
    const upstream = await upstreamFor(t);
    const gateway = createGateway({ upstream: upstream.origin });
    assert.deepEqual(gateway.stats(), { streams: 0, runs: 0 });
    await gateway.close();
  });
}

function lifeTests(): void {
  it('says where it listens, and listens once', async (t) => {
    const upstream = await upstreamFor(t);
    const gateway = createGateway({ ...SHORT, upstream: upstream.origin });
    t.after(() => gateway.close());
    const { host, port, url } = await gateway.listen();
    assert.deepEqual([host, url], ['127.0.0.1', `http://127.0.0.1:${port}`]);
    assert.ok(port > 0);
    await assert.rejects(gateway.listen(), { name: 'GatewayError', code: 'ALREADY_LISTENING' });
    const health = await fetch(`${url}/healthz`);
    assert.equal(health.status, 200);
    await health.text();
  });

  it('rejects with the system\'s reason where it cannot listen', async (t) => {
    const upstream = await upstreamFor(t);
    const { port } = new URL(upstream.origin);
    const options = { ...SHORT, upstream: upstream.origin, port: Number(port) };
    const gateway = createGateway(options);
    await assert.rejects(gateway.listen(), { code: 'EADDRINUSE' });
    await gateway.close();
  });

  it('closes once, however often it is told to, and stays closed', async (t) => {
    const upstream = await upstreamFor(t);
    upstream.run('r1', state('running'));
    const gateway = createGateway({ ...SHORT, upstream: upstream.origin });
    const { url } = await gateway.listen();
    const streams = await Promise.all([0, 1, 2].map(() => join(t, url, 'r1')));
    await Promise.all(streams.map((stream) => stream.next('progress')));
    await Promise.all([gateway.close(), gateway.close()]);
    await gateway.close();
    for (const stream of streams) {
      await assertEnded(stream);
      assertRetry(stream.events.at(-1)?.retry);
    }
    assert.deepEqual(gateway.stats(), { streams: 0, runs: 0 });
    await assert.rejects(gateway.listen(), { name: 'GatewayError', code: 'CLOSED' });
    await assert.rejects(join(t, url, 'r1'), { code: 'ECONNREFUSED' });
    await until('no connection to upstream', () => upstream.openConnections === 0);
  });

  it('closes in time over readers that do not read', async (t) => {
    const upstream = await upstreamFor(t);
    const pad = 'x'.repeat(1_000_000);
    upstream.run('r1', ({ n }) => state('running', { n: Math.min(n, 40), pad }));
    const gateway = createGateway({ ...SHORT, upstream: upstream.origin });
    const stream = await join(t, (await gateway.listen()).url, 'r1');
    await stream.next('progress');
    stream.pause();
    const from = upstream.count();
    await until('a full pipe', () => upstream.count() - from > 20, 10_000);
    await within(3_000, 'the end of the gateway', gateway.close());
    assert.equal(gateway.stats().streams, 0);
  });

  it('tells a logger of its own what happens, and never of a key', async (t) => {
    const upstream = await upstreamFor(t);
    const lines: string[] = [];
    const log: Logger['info'] = (msg, fields) => lines.push(JSON.stringify([msg, fields]));
    const logger: Logger = { debug: log, info: log, warn: log, error: log };
    const gateway = createGateway({ ...SHORT, upstream: upstream.origin, logger });
    upstream.run('r1', state('running'));
    const stream = await join(t, (await gateway.listen()).url, 'r1');
    await upstream.stop();
    await until('a word of the trouble', () => lines.some((line) => /trouble/.test(line)));
    await gateway.close();
    await stream.ended;
    assert.ok(lines.length >= 2);
    assert.doesNotMatch(lines.join('\n'), /lma_a/);
  });

  it('shows a whole run of the demo, from queued to its end', async (t) => {
    const demo = await startDemoApi({ keys: { lma_a: 'demo' }, pace: 5 });
    t.after(() => demo.close());
    const gateway = createGateway({ ...SHORT, pollIntervalMs: 20, upstream: demo.origin });
    t.after(() => gateway.close());
    const { url } = await gateway.listen();
    for (const [runId, event] of [['demo-1', 'complete'], ['demo-fail', 'error']] as const) {
      const stream = await join(t, url, runId);
      const last = await stream.next(event);
      await assertEnded(stream);
      const percents = stream.events.filter((each) => each.event !== 'ping')
        .map(({ data }) => JSON.parse(data) as { progress: { percentComplete: number } })
        .map(({ progress }) => progress.percentComplete);
      assert.ok(percents.length > 2, percents.join());
      assert.deepEqual(percents, [...percents].sort((a, b) => a - b));
      assert.match(last.data, new RegExp(`"runId":"${runId}"`));
    }
  });
}

const NOT_YOURS = { code: 'FORBIDDEN', status: 403, error: 'Not yours', retryable: false };

/** What an embedder may write: states that are pushed, for some keys. */
class PushedRuns implements RunSource {
  readonly observers = new Set<RunObserver>();
  readonly held = new Set<string>();
  isClosed = false;
  snapshot: Snapshot;

  constructor(snapshot: Snapshot) {
    this.snapshot = snapshot;
  }

  admit(runId: string, key: ApiKey): Promise<Admission> {
    const { snapshot } = this;
    return Promise.resolve(key.value.endsWith('_foreign')
      ? { kind: 'refused', refusal: NOT_YOURS }
      : { kind: 'admitted', runId, key, snapshot });
  }

  watch({ key }: Admitted, observer: RunObserver): Watch {
    this.observers.add(observer);
    this.held.add(key.value);
    return {
      hold: (admitted) => void this.held.add(admitted.key.value),
      release: (value) => void this.held.delete(value),
      stop: () => void this.observers.delete(observer),
    };
  }

  push(snapshot: Snapshot): void {
    this.snapshot = snapshot;
    for (const observer of [...this.observers]) observer.onSnapshot(snapshot);
  }

  close(): void {
    this.isClosed = true;
  }
}

function sourceTests(): void {
  const at = (status: string, terminal?: Snapshot['terminal']): Snapshot => ({
    runId: 'r1', id: `id-${status}`, status, terminal, data: `{"status":"${status}"}`,
    identity: 'r1',
  });

  it('feeds the same streams, and needs no upstream', async (t) => {
    const source = new PushedRuns(at('queued'));
    const gateway = createGateway({ ...SHORT, source });
    const { url } = await gateway.listen();
    t.after(() => gateway.close());
    const stream = await join(t, url, 'r1');
    const first = await stream.next('progress');
    assert.deepEqual([first.id, first.data], ['id-queued', '{"status":"queued"}']);
    source.push(at('running'));
    assert.equal((await stream.next('progress')).id, 'id-running');
    const foreign = await join(t, url, 'r1', { 'x-api-key': 'lma_foreign' });
    assert.equal(foreign.response.status, 403);
    source.push(at('completed', 'complete'));
    await stream.next('complete');
    await assertEnded(stream);
    await until('no observer left', () => source.observers.size === 0);
    await gateway.close();
    assert.ok(source.isClosed);
  });

  it('hears which keys watch, and takes one of them away', async (t) => {
    const source = new PushedRuns(at('running'));
    const gateway = createGateway({ ...SHORT, source });
    const { url } = await gateway.listen();
    t.after(() => gateway.close());
    const keys = ['lma_a', 'lma_b', 'lma_c'];
    const streams: SseStream[] = [];
    for (const key of keys) streams.push(await join(t, url, 'r1', { 'x-api-key': key }));
    assert.deepEqual([source.observers.size, [...source.held]], [1, keys]);
    streams[1]?.destroy();
    await until('a release', () => !source.held.has('lma_b'));
    for (const observer of source.observers) {
      observer.onLost('lma_c', { kind: 'refused', refusal: NOT_YOURS });
    }
    const { data } = await (streams[2] ?? assert.fail()).next('error');
    assert.match(data, /"errorMessage":"Not yours".*"code":"FORBIDDEN"/);
    await until('one stream left', () => gateway.stats().streams === 1);
    assert.equal(gateway.stats().runs, 1);
  });

  it('may throw or reject: its client is told so, others are served, and it closes', async (t) => {
    const source = new PushedRuns(at('running'));
    const { admit } = PushedRuns.prototype;
    source.admit = (runId, key) => {
      if (runId === 'throws') throw new Error('scripted');
      if (runId === 'rejects') return Promise.reject(new Error('scripted'));
      return admit.call(source, runId, key);
    };
    const gateway = createGateway({ ...SHORT, source });
    const { url } = await gateway.listen();
    t.after(() => gateway.close());
    for (const runId of ['throws', 'rejects']) {
      const { headers } = (await join(t, url, runId)).response;
      assert.equal(headers['x-runcast-refused'], '500 INTERNAL_ERROR');
    }
    const stream = await join(t, url, 'r1');
    await stream.next('progress');
    await gateway.close();
    assert.equal(await stream.ended, 'end');
  });

  it('has nobody to take what is pushed, and says so', async (t) => {
    const source = new PushedRuns(at('running'));
    const publishKeys = ['pub_1'];
    const headers = { authorization: 'Bearer pub_1' };
    const gateway = createGateway({ ...SHORT, source, publishKeys, upstreamKey: 'lma_own' });
    const { url } = await gateway.listen();
    t.after(() => gateway.close());
    const answers = [
      await fetch(`${url}/v1/runs/r1`, { method: 'PUT', headers }),
      await fetch(`${url}/v1/webhooks/runs`, { method: 'POST' }),
      await fetch(`${url}/v1/runs/r1/poke`, { method: 'POST' }),
    ];
    assert.deepEqual(answers.map(({ status }) => status), [405, 404, 202]);
    assert.equal(answers[0]?.headers.get('allow'), 'GET, HEAD');
  });
}

function optionTests(): void {
  it('that are wrong are all named in one error', () => {
    const wrong = {
      upstream: 'ftp://x', port: 70_000, pollIntervalMs: '2s', pingIntervalMs: 0, keyPrefix: 'a b',
      upstreamPath: '/runs', completeOn: [], pollInterval: 2, logLevel: 'info',
    } as unknown as GatewayOptions;
    assert.throws(() => createGateway(wrong), (error: unknown) => {
      assert.ok(error instanceof GatewayError);
      assert.equal(error.code, 'INVALID_OPTIONS');
      const named = error.problems.map((problem) => /^\w+/.exec(problem)?.[0]);
      assert.deepEqual(named.sort(), Object.keys(wrong).sort());
      for (const name of Object.keys(wrong)) assert.match(error.message, new RegExp(name));
      return true;
    });
  });

  it('must name an upstream or bring a source', () => {
    const anything = createGateway as (options?: unknown) => unknown;
    for (const none of [{}, undefined, null, { source: {} }, { source: null }]) {
      assert.throws(() => anything(none), { code: 'INVALID_OPTIONS' }, JSON.stringify(none));
    }
  });

  it('are checked against each other', () => {
    const both = { upstream: 'http://127.0.0.1:9', completeOn: ['a'], errorOn: ['b', 'a'] };
    assert.throws(() => createGateway(both), { code: 'INVALID_OPTIONS' });
  });

  it('never show a password in their message', () => {
    const upstream = 'http://user:hunter2@127.0.0.1:9';
    assert.throws(() => createGateway({ upstream }), (error: unknown) => {
      assert.ok(error instanceof GatewayError);
      assert.doesNotMatch(error.message, /hunter2/);
      return true;
    });
  });
}

describe('the library', { concurrency: true }, () => {
  describe('mounted in another server', () => mountTests());
  describe('from listen to close', () => lifeTests());
  describe('over a source of one\'s own', () => sourceTests());
  describe('with options', () => optionTests());
});
