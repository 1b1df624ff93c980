/** A request that waits for the end of a run: what wakes it, and what becomes of its connection. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { STARTERS, gatewayFor, useGateway } from '../support/gateway.ts';
import type { Answered, StartGateway, TestGateway } from '../support/gateway.ts';
import { openRaw } from '../support/raw-client.ts';
import { perKey, refused, state } from '../support/upstream.ts';
import { until } from '../support/wait.ts';

const wait = (gateway: TestGateway, runId: string, query = '', key = 'lma_a'): Promise<Answered> =>
  gateway.call('GET', `/v1/runs/${runId}/wait${query}`, { 'x-api-key': key });

/** As many follow runs now, by stream or by wait. */
const followed = (gateway: TestGateway, n: number): Promise<void> =>
  until(`${n} followers`, async () => (await gateway.stats()).streams === n);

const get = (path: string): string =>
  `GET ${path} HTTP/1.1\r\nhost: a\r\nx-api-key: lma_a\r\n\r\n`;

function waitTests(start: StartGateway): void {
  const gateway = useGateway(start);

  it('is answered when a poll shows the end, however many wait, from one poller', async () => {
    const { upstream } = gateway();
    upstream.run('end', state('running'));
    const waits = Promise.all(Array.from({ length: 20 }, () => wait(gateway(), 'end')));
    await followed(gateway(), 20);
    assert.equal(upstream.maxInFlight('end'), 1);
    upstream.run('end', state('completed'));
    for (const { status, text } of await waits) {
      const { data, ...rest } = JSON.parse(text) as { data: { status: string } };
      assert.deepEqual([status, data.status, rest], [200, 'completed', {}]);
    }
    await followed(gateway(), 0);
    assert.equal((await wait(gateway(), 'end')).status, 200, 'and at once when it is over');
  });

  it('gives the newest state when the time is up', async () => {
    gateway().upstream.run('long', state('queued'));
    const began = performance.now();
    const waited = wait(gateway(), 'long', '?timeout=1');
    await followed(gateway(), 1);
    gateway().upstream.run('long', state('running'));
    const { status, text } = await waited;
    assert.match(text, /^\{"data":\{"runId":"long".*"status":"running".*\},"timeout":true\}$/);
    const tookMs = performance.now() - began;
    assert.ok(status === 200 && tookMs > 990 && tookMs < 3_000, `${status} after ${tookMs} ms`);
  });

  it('takes whole seconds from 1 to 120', async () => {
    for (const bad of ['0', '121', '-1', '1.5', '1e1', 'a', '', '%201', '01', '1&timeout=2']) {
      assert.equal((await wait(gateway(), 'r', `?timeout=${bad}`)).status, 400, bad);
    }
    gateway().upstream.run('over', state('completed'));
    for (const good of ['?timeout=1', '?timeout=120', '', '?other=0']) {
      assert.equal((await wait(gateway(), 'over', good)).status, 200, good);
    }
  });

  it('says so when its key loses access, and nobody else notices', async () => {
    const { upstream } = gateway();
    upstream.run('lost', state('running'));
    const [a, b] = [wait(gateway(), 'lost'), wait(gateway(), 'lost', '', 'lma_b')];
    await followed(gateway(), 2);
    upstream.run('lost', perKey({ lma_b: state('running') }, refused(401, 'AUTH_INVALID_KEY')));
    const { status, text } = await a;
    assert.deepEqual([status, (JSON.parse(text) as { code: string }).code],
      [401, 'AUTH_INVALID_KEY']);
    upstream.run('lost', state('failed'));
    assert.match((await b).text, /"status":"failed"/);
  });

  it('leaves when its client does, and then nobody polls', async () => {
    gateway().upstream.run('gone', state('running'));
    const raws = Array.from({ length: 5 }, () =>
      openRaw(gateway().port, get('/v1/runs/gone/wait').repeat(20)));
    await followed(gateway(), 5);
    for (const { socket } of raws) socket.destroy();
    await followed(gateway(), 0);
    await gateway().untilUnpolled('gone');
  });

  it('leaves its connection to the next request, and answers what was sent behind it', async () => {
    const { upstream } = gateway();
    upstream.run('kept', state('running'));
    upstream.run('other', state('completed'));
    const behind = get('/v1/runs/other') + get('/v1/runs/other/wait') + get('/healthz');
    const raw = openRaw(gateway().port, get('/v1/runs/kept/wait') + behind);
    await followed(gateway(), 1);
    assert.equal(raw.received().length, 0, 'answers come in order');
    upstream.run('kept', state('completed'));
    const first = await raw.until(/"status":"ok"/);
    assert.equal(first.match(/HTTP\/1\.1 200 OK/g)?.length, 4);
    assert.ok(first.indexOf('"runId":"kept"') < first.indexOf('"runId":"other"'));
    raw.socket.write(get('/v1/runs/kept/wait'));
    await until('another answer', () => raw.received().toString().match(/"kept"/g)?.length === 2);
    raw.socket.destroy();
  });

  it('is not answered with an error when nonsense comes behind it', async () => {
    gateway().upstream.run('noise', state('running'));
    const raw = openRaw(gateway().port, `${get('/v1/runs/noise/wait')}\0\0\0\r\n\r\n`);
    await raw.closed;
    assert.equal(raw.received().toString(), '');
    await followed(gateway(), 0);
  });
}

function endTests(start: StartGateway): void {
  it('counts as a stream, in limits too', async (t) => {
    const gateway = await gatewayFor(t, start, { maxStreamsPerKey: 1 });
    gateway.upstream.run('limit', state('running'));
    const waited = wait(gateway, 'limit');
    await followed(gateway, 1);
    const [again, stream] = [await wait(gateway, 'limit'), await gateway.ask('limit')];
    assert.deepEqual([again.status, stream.status], [503, 503]);
    gateway.upstream.run('limit', state('completed'));
    assert.equal((await waited).status, 200);
    await followed(gateway, 0);
    assert.equal((await wait(gateway, 'limit')).status, 200);
  });

  it('is told to come back when the gateway goes down', async (t) => {
    const gateway = await gatewayFor(t, start);
    gateway.upstream.run('drain', state('running'));
    const waited = wait(gateway, 'drain');
    await followed(gateway, 1);
    const closed = gateway.close();
    const { status, headers, text } = await waited;
    assert.deepEqual([status, (JSON.parse(text) as { retryable: boolean }).retryable], [503, true]);
    assert.ok(Number(headers['retry-after']) >= 1);
    await closed;
  });
}

for (const [name, start] of STARTERS) {
  describe(`a wait for the end of a run, over ${name}`, () => {
    waitTests(start);
    endTests(start);
  });
}
