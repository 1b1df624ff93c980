/** One look at a run: what it costs upstream, what it shows, and what it says to whoever has it. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { STARTERS, useGateway } from '../support/gateway.ts';
import type { Answered, StartGateway, TestGateway } from '../support/gateway.ts';
import { delay, perKey, raw, refused, state } from '../support/upstream.ts';

const look = (
  gateway: TestGateway, runId: string, headers: Record<string, string> = {}, method = 'GET',
): Promise<Answered> =>
  gateway.call(method, `/v1/runs/${runId}`, { 'x-api-key': 'lma_a', ...headers });

/** Without polls in between. */
function quietTests(start: StartGateway): void {
  const gateway = useGateway(start, { pollIntervalMs: 60_000, maxStreams: 1 });

  it('shows upstream\'s own bytes, with their id as the tag', async () => {
    const data = '{"status":"running","big":9007199254740993,"one":1.0,"data":{"data":2}}';
    gateway().upstream.run('bytes', raw(`{"meta":1,"data":${data}}`));
    const { status, headers, text } = await look(gateway(), 'bytes');
    assert.deepEqual([status, text], [200, `{"data":${data}}`]);
    assert.match(String(headers.etag), /^"[\w-]{16}"$/);
    assert.equal(headers['content-type'], 'application/json; charset=utf-8');
    assert.equal(headers['cache-control'], 'private, no-cache');
    const head = await look(gateway(), 'bytes', {}, 'HEAD');
    assert.deepEqual([head.status, head.text, head.headers.etag], [200, '', headers.etag]);
    assert.equal(head.headers['content-length'], headers['content-length']);
  });

  it('answers 304 to any form of the tag, and the state to any other', async () => {
    gateway().upstream.run('tag', state('completed'));
    const { headers: { etag } } = await look(gateway(), 'tag');
    for (const same of [
      etag, `W/${etag}`, '*', `"a", ${etag}`, `"a,b",W/${etag} , "c"`, ` ${etag} `,
    ]) {
      for (const method of ['GET', 'HEAD']) {
        const answer = await look(gateway(), 'tag', { 'if-none-match': String(same) }, method);
        assert.deepEqual([answer.status, answer.text, answer.headers.etag], [304, '', etag], same);
      }
    }
    for (const other of ['"a"', String(etag).slice(1, -1), '""', '"*"', `"x${etag}`, 'W/*']) {
      assert.equal((await look(gateway(), 'tag', { 'if-none-match': other })).status, 200, other);
    }
    assert.equal(gateway().upstream.count('tag'), 1, 'an end is known for good');
  });

  it('asks upstream once for twenty who look at once, and not again soon', async () => {
    gateway().upstream.run('crowd', delay(100, state('running')));
    const looks = await Promise.all(Array.from({ length: 20 }, () => look(gateway(), 'crowd')));
    assert.ok(looks.every(({ status }) => status === 200));
    await look(gateway(), 'crowd');
    assert.equal(gateway().upstream.count('crowd'), 1);
  });

  it('takes no place of a stream', async () => {
    gateway().upstream.run('full', state('running'));
    const stream = await gateway().join('full');
    assert.equal((await gateway().ask('full')).status, 503, 'another stream');
    assert.equal((await look(gateway(), 'full')).status, 200);
    assert.equal((await gateway().stats()).streams, 1);
    stream.destroy();
    await gateway().untilIdle();
  });

  it('asks for each key', async () => {
    gateway().upstream.run('mine', perKey({ lma_a: state('running') }, refused(403, 'FORBIDDEN')));
    assert.equal((await look(gateway(), 'mine')).status, 200);
    assert.equal((await look(gateway(), 'mine', { 'x-api-key': 'lma_b' })).status, 403);
  });

  it('says which methods there are', async () => {
    for (const [method, path, allow] of [
      ['PUT', '', 'GET, HEAD'], ['DELETE', '', 'GET, HEAD'], ['POST', '/wait', 'GET'],
      ['GET', '/poke', 'POST'],
    ] as const) {
      const { status, headers } = await gateway().call(method, `/v1/runs/a${path}`);
      assert.deepEqual([status, headers.allow], [405, allow], `${method} ${path}`);
    }
    assert.equal((await gateway().call('POST', '/v1/webhooks/runs')).status, 404);
  });

  it('is refused with a status and an envelope, a limit of upstream\'s at last', async () => {
    const { upstream } = gateway();
    upstream.run('nonsense', raw('<html>'));
    const events = await look(gateway(), 'nonsense', { accept: 'text/event-stream' });
    assert.deepEqual([events.status, events.headers['x-runcast-refused']],
      [200, '502 UPSTREAM_INVALID'], 'an EventSource that was pointed here comes back');
    for (const [path, headers, expected] of [
      ['/v1/runs/a', {}, 401], ['/v1/runs/a', { 'x-api-key': 'other' }, 401],
      ['/v1/runs/a%2fb', { 'x-api-key': 'lma_a' }, 400], ['/v1/runs/nobody', undefined, 404],
    ] as const) {
      const answer = await gateway().call('GET', path, headers ?? { 'x-api-key': 'lma_a' });
      assert.equal(answer.status, expected, path);
    }
    upstream.run('busy', refused(429, 'RATE_LIMITED', 'slow', { 'retry-after': '7' }));
    const { status, headers, text } = await look(gateway(), 'busy');
    assert.deepEqual([status, headers['retry-after']], [429, '7']);
    assert.equal((JSON.parse(text) as { code: string }).code, 'RATE_LIMITED');
  });
}

/** Rarely, beside what a busy machine takes for twenty answers. */
const POLL_MS = 1_500;

function liveTests(start: StartGateway): void {
  const gateway = useGateway(start, { pollIntervalMs: POLL_MS });

  it('is answered from the poller of a run that somebody follows', async () => {
    const { upstream } = gateway();
    upstream.run('live', state('running'));
    const stream = await gateway().join('live');
    await gateway().polls('live', 1);
    upstream.run('live', state('running', { step: 1 }));
    await stream.next(({ data }) => data.includes('"step":1'));
    const before = upstream.count('live');
    const began = performance.now();
    const looks = await Promise.all(Array.from({ length: 20 }, () => look(gateway(), 'live')));
    assert.ok(looks.every(({ text }) => text.includes('"step":1')));
    const polls = Math.ceil((performance.now() - began) / POLL_MS);
    assert.ok(upstream.count('live') <= before + polls, 'nothing but polls meanwhile');
    stream.destroy();
  });
}

for (const [name, start] of STARTERS) {
  describe(`a look at a run, over ${name}`, () => {
    quietTests(start);
    liveTests(start);
  });
}
