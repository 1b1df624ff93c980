import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { afterEach, describe, it } from 'node:test';

import { startDemoApi, type DemoOptions } from '../../src/demo/run-api.ts';
import { until, within } from '../support/wait.ts';
import { Demo, type Execution } from './harness.ts';

let demo: Demo;
const start = async (options?: DemoOptions): Promise<void> => { demo = await Demo.start(options); };
afterEach(() => demo.api.close());

const POST = { method: 'POST' };

describe('the demo run API', () => {
  it('takes a run and shows it under its id', async () => {
    await start();
    const asked = { ...POST, body: '{"inputs":{"product":"bottle"}}' };
    const { status, headers, body } = await demo.ask('/v1/apps/product-video/runs', asked);
    const { runId, outputs } = body.data;
    assert.equal(status, 202);
    assert.equal(headers['content-type'], 'application/json; charset=utf-8');
    assert.deepEqual(body.data, { runId, workflowId: 'product-video', status: 'queued', outputs });
    assert.deepEqual((await demo.show(runId)).outputs, outputs);
    assert.equal((await demo.show(runId)).workflowId, 'product-video');
  });

  it('refuses a body that is not a JSON object, or too large', async () => {
    await start();
    const path = '/v1/apps/video/runs';
    for (const body of ['', '{', 'null', '[]', '7', '{"inputs":[]}', '{"inputs":"x"}']) {
      const answer = await demo.ask(path, { ...POST, body });
      assert.deepEqual([answer.status, answer.body.code], [400, 'VALIDATION_ERROR'], body);
    }
    const large = JSON.stringify({ inputs: { text: 'x'.repeat(200_000) } });
    const answer = await demo.ask(path, { ...POST, body: large });
    assert.deepEqual([answer.status, answer.body.code], [413, 'VALIDATION_ERROR']);
    assert.equal((await demo.ask(path, { ...POST, body: '{}' })).status, 202);
  });

  it('outlives a client that leaves in the middle of its body', async () => {
    await start();
    const socket = connect(Number(new URL(demo.api.origin).port), '127.0.0.1');
    socket.write('POST /v1/apps/a/runs HTTP/1.1\r\nhost: x\r\nx-api-key: lma_demo\r\n'
      + 'content-length: 9\r\nexpect: 100-continue\r\n\r\n{');
    await within(5_000, '100 Continue', once(socket, 'data'));
    socket.resetAndDestroy();
    await within(5_000, 'the client to be gone', once(socket, 'close'));
    assert.equal((await demo.ask('/v1/runs')).status, 200);
  });

  it('takes the key from either header and refuses any other', async () => {
    await start();
    const asked = async (headers: Record<string, string>) => {
      const { status, body } = await demo.ask('/v1/runs/demo-1', { headers });
      return [status, body.code];
    };
    assert.deepEqual(await asked({ 'x-api-key': 'lma_demo' }), [200, undefined]);
    assert.deepEqual(await asked({ authorization: 'Bearer lma_demo' }), [200, undefined]);
    assert.deepEqual(await asked({}), [401, 'AUTH_MISSING_KEY']);
    assert.deepEqual(await asked({ 'x-api-key': '' }), [401, 'AUTH_MISSING_KEY']);
    assert.deepEqual(await asked({ authorization: 'Basic abc' }), [401, 'AUTH_MISSING_KEY']);
    assert.deepEqual(await asked({ 'x-api-key': 'lma_other' }), [401, 'AUTH_INVALID_KEY']);
    assert.deepEqual(await asked({ 'x-api-key': 'constructor' }), [401, 'AUTH_INVALID_KEY']);
  });

  it('shows a run to every key of its workspace and to no other', async () => {
    await start({ keys: { lma_a: 'one', lma_b: 'one', lma_c: 'two' } });
    assert.deepEqual(demo.api.keys, ['lma_a', 'lma_b', 'lma_c']);
    const as = (key: string) => ({ headers: { 'x-api-key': key } });
    const runId = await demo.run();
    assert.equal((await demo.ask(`/v1/runs/${runId}`, as('lma_b'))).status, 200);
    for (const path of [runId, `${runId}/wait`]) {
      const { status, body } = await demo.ask(`/v1/runs/${path}`, as('lma_c'));
      assert.deepEqual([status, body.code], [403, 'FORBIDDEN']);
    }
    const cancel = await demo.ask(`/v1/runs/${runId}/cancel`, { ...POST, ...as('lma_c') });
    assert.equal(cancel.status, 403);
    assert.deepEqual((await demo.ask('/v1/runs', as('lma_c'))).body.data, []);
  });

  it('answers what it does not have with the error envelope', async () => {
    await start();
    const { status, body } = await demo.ask('/v1/runs/nobody');
    assert.match(body.requestId, /^[0-9a-f-]{36}$/);
    assert.equal(status, 404);
    assert.deepEqual({ ...body, requestId: 0 }, {
      error: 'There is no such run', code: 'NOT_FOUND', retryable: false, requestId: 0,
    });
    const nothing = ['/', '/v1', '/v1/', '/v2/runs', '/v1/runs/', '/v1/runs/a%2Fb',
      '/v1/runs/demo-1/stream', `/v1/runs/demo-${'x'.repeat(41)}`, `/v1/runs/${'x'.repeat(129)}`];
    for (const path of nothing) assert.equal((await demo.ask(path)).status, 404, path);
    for (const [method, path, allow] of [
      ['DELETE', '/v1/runs/a', 'GET'], ['GET', '/v1/runs/a/cancel', 'POST'],
      ['POST', '/v1/runs', 'GET'], ['GET', '/v1/apps/a/runs', 'POST'],
    ] as const) {
      const answer = await demo.ask(path, { method });
      assert.deepEqual([answer.status, answer.headers.allow], [405, allow], `${method} ${path}`);
    }
  });

  it('lists a workspace\'s runs, newest first, page by page', async () => {
    await start({ failRate: 0 });
    const ids: string[] = [];
    for (let count = 0; count < 5; count += 1) ids.unshift(await demo.run());
    const list = async (query: string) => {
      const { body } = await demo.ask(`/v1/runs${query}`);
      const data = body.data as unknown as Execution[];
      return { ids: data.map(({ runId }) => runId), data, pagination: body.pagination };
    };
    const all = await list('');
    assert.deepEqual(all.ids, ids);
    assert.deepEqual(all.pagination, { total: 5, limit: 25, offset: 0 });
    assert.deepEqual(all.data[0], {
      runId: ids[0], workflowId: 'video', status: 'queued', errorMessage: null,
      startedAt: null, completedAt: null, createdAt: '2026-01-01T00:00:00.000Z',
    });
    const page = await list('?limit=2&offset=2');
    assert.deepEqual(page.ids, ids.slice(2, 4));
    assert.deepEqual(page.pagination, { total: 5, limit: 2, offset: 2 });
    demo.clock.advance(1_000);
    await demo.ask(`/v1/runs/${ids[3]}/cancel`, POST);
    assert.deepEqual((await list('?status=cancelled')).ids, [ids[3]]);
    assert.equal((await list('?status=running&limit=100')).ids.length, 4);
    for (const query of ['limit=0', 'limit=101', 'limit=x', 'offset=-1']) {
      assert.equal((await demo.ask(`/v1/runs?${query}`)).status, 400, query);
    }
  });

  it('limits requests by the minute and tells how many are left', async () => {
    await start({ requestsPerMinute: 2 });
    const asked = async () => {
      const { status, headers, body } = await demo.ask('/v1/runs');
      return [status, headers['ratelimit-limit'], headers['ratelimit-remaining'],
        headers['ratelimit-reset'], headers['retry-after'], body.code, body.retryAfter];
    };
    assert.deepEqual(await asked(), [200, '2', '1', '60', undefined, undefined, undefined]);
    demo.clock.advance(20_500);
    assert.deepEqual(await asked(), [200, '2', '0', '40', undefined, undefined, undefined]);
    assert.deepEqual(await asked(), [429, '2', '0', '40', '40', 'RATE_LIMITED', 40]);
    demo.clock.advance(39_500);
    assert.deepEqual(await asked(), [200, '2', '1', '60', undefined, undefined, undefined]);
  });

  it('listens on the host it is given, and rejects where it cannot', async () => {
    await start();
    const port = Number(new URL(demo.api.origin).port);
    await assert.rejects(startDemoApi({ port }), { code: 'EADDRINUSE' });
    assert.match(demo.api.origin, /^http:\/\/127\.0\.0\.1:\d+$/);
  });
});

describe('a wait', () => {
  it('is answered at the moment the run ends', async () => {
    await start();
    const waiting = demo.ask('/v1/runs/demo-1/wait');
    await until('the wait to hang', () => demo.clock.pending === 1);
    let ms = 0;
    for (; demo.clock.pending === 1; ms += 1) demo.clock.advance(1);
    const { body } = await waiting;
    assert.deepEqual([body.data.status, body.timeout], ['completed', undefined]);
    assert.ok(ms >= 15_000 && ms <= 20_000, `${ms} ms`);
    assert.deepEqual((await demo.ask('/v1/runs/demo-1/wait')).body, body);
    assert.equal(demo.clock.pending, 0);
  });

  it('is answered with the state there is when its time is up', async () => {
    await start();
    const waiting = demo.ask('/v1/runs/demo-1/wait?timeout=2');
    await until('the wait to hang', () => demo.clock.pending === 1);
    demo.clock.advance(2_000);
    const { body } = await waiting;
    assert.deepEqual([body.data.status, body.timeout], ['running', true]);
  });

  it('lasts 1 to 120 s', async () => {
    await start();
    for (const timeout of ['', '0', '121', '1.5', '-1', '0x10', 'soon']) {
      const { status } = await demo.ask(`/v1/runs/demo-1/wait?timeout=${timeout}`);
      assert.equal(status, 400, timeout);
    }
    assert.equal((await demo.ask('/v1/runs/nobody/wait')).status, 404);
  });

  it('is answered by a cancel, and only the waits on that run', async () => {
    await start();
    const first = demo.ask('/v1/runs/demo-1/wait');
    const second = demo.ask('/v1/runs/demo-2/wait?timeout=3');
    await until('both waits to hang', () => demo.clock.pending === 2);
    demo.clock.advance(2_000);
    await demo.ask('/v1/runs/demo-1/cancel', POST);
    assert.equal((await first).body.data.status, 'cancelled');
    assert.equal(demo.clock.pending, 1);
    demo.clock.advance(1_000);
    assert.deepEqual((await second).body.timeout, true);
  });

  it('is forgotten when its client leaves', async () => {
    await start();
    const leaving = new AbortController();
    const waiting = demo.ask('/v1/runs/demo-1/wait', { signal: leaving.signal });
    await until('the wait to hang', () => demo.clock.pending === 1);
    leaving.abort();
    await assert.rejects(waiting, { name: 'AbortError' });
    await until('the wait to be forgotten', () => demo.clock.pending === 0);
  });
});

describe('closing the demo run API', () => {
  it('ends hanging waits and silent sockets, and leaves no timer', async () => {
    await start();
    const waiting = assert.rejects(demo.ask('/v1/runs/demo-1/wait'), { code: 'ECONNRESET' });
    const socket = connect(Number(new URL(demo.api.origin).port), '127.0.0.1');
    const gone = once(socket.resume(), 'close');
    await within(5_000, 'a silent socket', once(socket, 'connect'));
    await until('the wait to hang', () => demo.clock.pending === 1);
    await within(5_000, 'close()', Promise.all([demo.api.close(), demo.api.close()]));
    await within(5_000, 'the client of the wait to know', waiting);
    await within(5_000, 'the silent socket to be closed', gone);
    assert.equal(demo.clock.pending, 0);
    await assert.rejects(demo.ask('/v1/runs'), { code: 'ECONNREFUSED' });
  });
});
