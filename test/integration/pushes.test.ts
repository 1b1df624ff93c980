/** What is pushed: signed webhooks, states from a backend, and pokes; and what is not believed. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, it } from 'node:test';
import { STARTERS, assertEnded, gatewayFor, names, useGateway } from '../support/gateway.ts';
import type { Answered, StartGateway, TestGateway } from '../support/gateway.ts';
import { openRaw } from '../support/raw-client.ts';
import { Signer, jwksFile, jwksOf } from '../support/signing.ts';
import type { Signed } from '../support/signing.ts';
import type { SseStream } from '../support/sse-client.ts';
import { execution, raw, state } from '../support/upstream.ts';
import { until } from '../support/wait.ts';

/** No poll brings what a push must. */
const QUIET = { pollIntervalMs: 600_000 };
const KEYS_PATH = '/v1/webhooks/signing-key';
const PUBLISH_KEY = 'pub_1';

const send = (gateway: TestGateway, { headers, body }: Signed): Promise<Answered> =>
  gateway.call('POST', '/v1/webhooks/runs', headers, body);

const publish = (
  gateway: TestGateway, runId: string, body: object | string, key = PUBLISH_KEY,
): Promise<Answered> => gateway.call('PUT', `/v1/runs/${runId}`,
  { authorization: `Bearer ${key}` }, typeof body === 'string' ? body : JSON.stringify(body));

/** Streams of a running run, on connections of their own: some to each worker. */
async function joinAll(gateway: TestGateway, runId: string, n = 6): Promise<SseStream[]> {
  gateway.upstream.run(runId, state('running'));
  const streams = await Promise.all(Array.from({ length: n }, () => gateway.join(runId)));
  await Promise.all(streams.map((stream) => stream.next('progress')));
  return streams;
}

async function metric(gateway: TestGateway, line: string): Promise<number> {
  const { text } = await gateway.call('GET', '/metrics');
  return Number(text.split('\n').find((each) => each.startsWith(`${line} `))?.split(' ')[1] ?? 0);
}

function webhookTests(start: StartGateway): void {
  const signer = new Signer();
  const gateway = useGateway(start, { ...QUIET, webhookJwks: jwksFile(signer) });

  it('ends the streams and waits of its run at once, in every process', async () => {
    const streams = await joinAll(gateway(), 'hook');
    const waited = gateway().call('GET', '/v1/runs/hook/wait', { 'x-api-key': 'lma_a' });
    await until('a wait', async () => (await gateway().stats()).streams === 7);
    const { status, text } = await send(gateway(), signer.deliver(execution('hook', 'completed')));
    assert.deepEqual([status, text], [200, '{"data":{"received":true}}']);
    for (const stream of streams) {
      await stream.next('complete');
      await assertEnded(stream);
    }
    assert.match((await waited).text, /"status":"completed"/);
    assert.equal(gateway().upstream.count('hook'), 1);
  });

  it('may come again, and cannot change an end', async () => {
    const [stream] = await joinAll(gateway(), 'again', 1);
    const delivery = signer.deliver(execution('again', 'completed'));
    for (let i = 0; i < 3; i++) assert.equal((await send(gateway(), delivery)).status, 200);
    await stream?.next('complete');
    const other = signer.deliver(execution('again', 'failed'));
    assert.equal((await send(gateway(), other)).status, 200);
    const { text } = await gateway().call('GET', '/v1/runs/again', { 'x-api-key': 'lma_a' });
    assert.match(text, /"status":"completed"/);
  });

  it('of a state that is no end only has the run polled', async () => {
    const [stream] = await joinAll(gateway(), 'old', 1);
    gateway().upstream.run('old', state('running', { step: 2 }));
    const sent = await send(gateway(), signer.deliver(execution('old', 'running', { step: 1 })));
    assert.equal(sent.status, 200);
    const { data } = await stream?.next('progress') ?? assert.fail();
    assert.match(data, /"step":2/);
    stream?.destroy();
  });

  it('of another run under the same id is not shown', async () => {
    const [stream] = await joinAll(gateway(), 'foreign', 1);
    const foreign = execution('foreign', 'completed', { workflowId: 'wf_foreign' });
    assert.equal((await send(gateway(), signer.deliver(foreign))).status, 200);
    await gateway().call('POST', '/v1/runs/foreign/poke');
    await until('a poll', () => gateway().upstream.count('foreign') === 2);
    assert.deepEqual(stream && names(stream, 'ping'), ['progress']);
    stream?.destroy();
  });

  it('is refused where anything is wrong, counted, and changes nothing', async () => {
    const [stream] = await joinAll(gateway(), 'wrong', 1);
    const data = execution('wrong', 'completed');
    const right = signer.deliver(data);
    const now = Math.floor(Date.now() / 1000);
    const tampered = Buffer.from(right.body);
    tampered.write('failed   ', tampered.indexOf('completed'));
    const noUtf8 = Buffer.from(right.body);
    noUtf8[20] = 0xff;
    const without = (name: string): Signed => ({
      ...right, headers: Object.fromEntries(Object.entries(right.headers)
        .filter(([each]) => each !== `X-Lamina-Webhook-${name}`)),
    });
    const withHead = (name: string, value: string): Signed =>
      ({ ...right, headers: { ...right.headers, [`X-Lamina-Webhook-${name}`]: value } });
    const wrong: Readonly<Record<string, readonly Signed[]>> = {
      signature: [
        new Signer().deliver(data), { ...right, body: tampered }, { ...right, body: noUtf8 },
        { ...right, body: Buffer.alloc(0) }, withHead('Timestamp', String(now - 1)),
        withHead('Signature', '0'.repeat(128)),
      ],
      time: [
        signer.deliver(data, { timestamp: now - 310 }),
        signer.deliver(data, { timestamp: now + 310 }), withHead('Timestamp', '0'),
      ],
      run: [
        signer.deliver(data, { requestId: 'another' }),
        signer.deliver({ ...data, runId: undefined }, { requestId: 'wrong' }),
      ],
      head: [
        ...['Signature', 'Timestamp', 'Request-Id'].map(without),
        withHead('Signature', 'ab'), withHead('Signature', `${'0'.repeat(127)}g`),
        withHead('Timestamp', '1e9'), withHead('Request-Id', '../x'),
      ],
    };
    for (const [reason, deliveries] of Object.entries(wrong)) {
      for (const delivery of deliveries) {
        const { status, text } = await send(gateway(), delivery);
        assert.deepEqual([status, (JSON.parse(text) as { code: string }).code],
          [401, 'SIGNATURE_INVALID'], `${reason}: ${JSON.stringify(delivery.headers)}`);
      }
      const line = `runcast_webhooks_refused_total{reason="${reason}"}`;
      await until(reason, async () => await metric(gateway(), line) === deliveries.length);
    }
    assert.equal(gateway().upstream.count('wrong'), 1);
    assert.deepEqual(stream && names(stream, 'ping'), ['progress']);
    assert.equal((await send(gateway(), right)).status, 200, 'and the right one is taken');
    await stream?.next('complete');
  });

  it('that is signed and makes no sense is told so', async () => {
    const { headers } = signer.deliver({ runId: 'r' });
    const timestamp = headers['X-Lamina-Webhook-Timestamp'];
    const body = Buffer.from('{"data":');
    const signature = signer.sign(`${timestamp}.${body.toString()}`).toString('hex');
    const signed = { ...headers, 'X-Lamina-Webhook-Signature': signature };
    assert.equal((await send(gateway(), { headers: signed, body })).status, 400);
  });

  it('has one method', async () => {
    const { status, headers } = await gateway().call('GET', '/v1/webhooks/runs');
    assert.deepEqual([status, headers.allow], [405, 'POST']);
  });
}

function keyTests(start: StartGateway): void {
  it('is to come again where they cannot be had, which is not tried each time', async (t) => {
    const old = new Signer('old');
    const gateway = await gatewayFor(t, start, {
      ...QUIET, upstreamKey: 'lma_own', webhookHeaderPrefix: 'X-Hook-',
    });
    const { upstream } = gateway;
    const prefix = 'X-Hook-';
    upstream.run(KEYS_PATH, raw('{"error":"later"}', { status: 503 }));
    const data = execution('keys', 'completed');
    const early = await send(gateway, old.deliver(data, { prefix }));
    assert.deepEqual([early.status, early.headers['retry-after'] !== undefined], [503, true]);
    assert.equal(upstream.requests[0]?.key, 'lma_own');
    upstream.run(KEYS_PATH, raw(jwksOf(old)));
    await send(gateway, old.deliver(data, { prefix }));
    assert.equal(upstream.count(KEYS_PATH), 1, 'not at once again');
  });

  it('is verified with each of them, asked for once whatever is sent that fits none', async (t) => {
    const [old, next, evil] = [new Signer('old'), new Signer('next'), new Signer('evil')];
    const gateway = await gatewayFor(t, start, { ...QUIET, upstreamKey: 'lma_own' });
    const { upstream } = gateway;
    upstream.run(KEYS_PATH, raw(jwksOf(old, next)));
    const data = execution('keys', 'completed');
    for (const signer of [old, next, old]) {
      assert.equal((await send(gateway, signer.deliver(data))).status, 200);
    }
    for (let i = 0; i < 10; i++) {
      assert.equal((await send(gateway, evil.deliver(data))).status, 401);
    }
    assert.equal(upstream.count(KEYS_PATH), 1);
  });
}

function placeTests(start: StartGateway): void {
  it('is verified with keys from any URL, which is sent no key of anybody', async (t) => {
    const signer = new Signer('elsewhere');
    const asked: IncomingHttpHeaders[] = [];
    const keys = createServer(({ url, headers }, res) => {
      asked.push(headers);
      res.writeHead(url === '/keys.json?v=1' ? 200 : 404).end(jwksOf(signer));
    }).listen(0, '127.0.0.1');
    t.after(() => keys.close());
    await once(keys, 'listening');
    const { port } = keys.address() as AddressInfo;
    const gateway = await gatewayFor(t, start, {
      ...QUIET, webhookJwks: `http://127.0.0.1:${port}/keys.json?v=1`, upstreamKey: 'lma_own',
    });
    const data = execution('keys', 'completed');
    assert.equal((await send(gateway, signer.deliver(data))).status, 200);
    assert.equal((await send(gateway, new Signer('evil').deliver(data))).status, 401);
    assert.equal(asked.length, 1);
    assert.doesNotMatch(JSON.stringify(asked), /lma_/);
    assert.equal(gateway.upstream.count(KEYS_PATH), 0);
  });
}

function publishTests(start: StartGateway): void {
  const gateway = useGateway(start, {
    ...QUIET, publishKeys: [PUBLISH_KEY, 'pub_2'], maxBodyBytes: 10_000,
  });

  it('shows a state at once, and an end is the end', async () => {
    const streams = await joinAll(gateway(), 'pub');
    const running = execution('pub', 'running', { step: 7 });
    const { status, text } = await publish(gateway(), 'pub', { data: running });
    assert.deepEqual([status, text], [202, '{"data":{"accepted":true}}']);
    for (const stream of streams) assert.match((await stream.next('progress')).data, /"step":7/);
    const ended = execution('pub', 'completed');
    assert.equal((await publish(gateway(), 'pub', ended, 'pub_2')).status, 202);
    for (const stream of streams) {
      assert.equal((await stream.next('complete')).data, JSON.stringify(ended));
      await assertEnded(stream);
    }
    await publish(gateway(), 'pub', execution('pub', 'failed'));
    const late = await gateway().call('GET', '/v1/runs/pub', { 'x-api-key': 'lma_a' });
    assert.match(late.text, /"status":"completed"/);
    assert.equal(gateway().upstream.count('pub'), 1);
  });

  it('takes a state that does not say whose it is where there is but one run', async () => {
    const [stream] = await joinAll(gateway(), 'bare', 1);
    assert.equal((await publish(gateway(), 'bare', '{"status":"running","step":1}')).status, 202);
    assert.equal((await stream?.next('progress'))?.data, '{"status":"running","step":1}');
    const foreign = execution('bare', 'completed', { workflowId: 'wf_foreign' });
    assert.equal((await publish(gateway(), 'bare', foreign)).status, 202);
    await publish(gateway(), 'bare', '{"status":"completed","step":2}');
    assert.match((await stream?.next('complete'))?.data ?? '', /"step":2/, 'not the foreign one');
  });

  it('refuses keys that are none, and what is no state of the run', async () => {
    const [stream] = await joinAll(gateway(), 'no', 1);
    const good = execution('no', 'completed');
    for (const key of ['', 'pub_', 'pub_11', 'lma_a', 'PUB_1']) {
      assert.equal((await publish(gateway(), 'no', good, key)).status, 401, key);
    }
    assert.equal((await gateway().call('PUT', '/v1/runs/no', { 'x-api-key': PUBLISH_KEY })).status,
      401);
    for (const bad of ['', '{', '[]', '{}', '{"status":1}', execution('other', 'completed')]) {
      const { status, text } = await publish(gateway(), 'no', bad);
      assert.deepEqual([status, (JSON.parse(text) as { code: string }).code],
        [400, 'VALIDATION_ERROR'], JSON.stringify(bad));
    }
    assert.equal((await publish(gateway(), 'a%2fb', good)).status, 400);
    assert.deepEqual(stream && names(stream, 'ping'), ['progress']);
    stream?.destroy();
  });

  it('takes a body as large as it may be, in chunks or not, and no larger', async () => {
    const sized = (bytes: number): string => `{"status":"running","x":"${'x'.repeat(bytes - 27)}"}`;
    const chunked = async (body: string): Promise<string> => {
      const half = body.length >> 1;
      const chunks = [body.slice(0, half), body.slice(half), ''].map((chunk) =>
        `${chunk.length.toString(16)}\r\n${chunk}\r\n`).join('');
      const head = 'PUT /v1/runs/size HTTP/1.1\r\nhost: a\r\nauthorization: Bearer pub_1\r\n'
        + 'transfer-encoding: chunked\r\n\r\n';
      const client = openRaw(gateway().port, head + chunks);
      const text = await client.until(/\}$/);
      client.socket.destroy();
      return /^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? '';
    };
    assert.equal(sized(10_000).length, 10_000);
    assert.equal((await publish(gateway(), 'size', sized(10_000))).status, 202);
    assert.equal(await chunked(sized(10_000)), '202');
    const { status, text } = await publish(gateway(), 'size', sized(10_001));
    assert.equal(status, 413);
    assert.equal((JSON.parse(text) as { code: string }).code, 'BODY_TOO_LARGE');
    assert.equal(await chunked(sized(10_001)), '413');
    assert.equal((await publish(gateway(), 'size', sized(500_000))).status, 413);
  });

  it('leaves the connection to the next request', async () => {
    const request = 'PUT /v1/runs/keep HTTP/1.1\r\nhost: a\r\nauthorization: Bearer pub_1\r\n'
      + 'content-length: 20\r\n\r\n{"status":"running"}';
    const client = openRaw(gateway().port, request);
    await client.until(/\}$/);
    client.socket.write(request);
    await until('two answers', () => client.received().toString().split(' 202 ').length === 3);
    client.socket.destroy();
  });

  it('is among the methods of a run', async () => {
    const { status, headers } = await gateway().call('DELETE', '/v1/runs/a');
    assert.deepEqual([status, headers.allow], [405, 'GET, HEAD, PUT']);
  });
}

function pokeTests(start: StartGateway): void {
  const gateway = useGateway(start, QUIET);
  const poke = (runId: string, body?: string): Promise<Answered> =>
    gateway().call('POST', `/v1/runs/${runId}/poke`, {}, body);

  it('has a run polled that somebody follows', async () => {
    const [stream] = await joinAll(gateway(), 'poke', 1);
    gateway().upstream.run('poke', state('completed'));
    assert.equal((await poke('poke', '{"status":"failed"}')).status, 202);
    await stream?.next('complete');
    assert.equal(gateway().upstream.count('poke'), 2);
  });

  it('is answered alike for a run that nobody follows, which is not asked for', async () => {
    const [stream] = await joinAll(gateway(), 'known', 1);
    const answers = await Promise.all(['known', 'unknown'].map((runId) => poke(runId, 'x')));
    const [known, unknown] = answers.map(({ status, headers, text }) =>
      [status, text, Object.keys(headers).sort()]);
    assert.deepEqual(known, unknown);
    assert.equal(gateway().upstream.count('unknown'), 0);
    assert.equal((await poke('a.b')).status, 400);
    assert.equal((await poke('big', 'x'.repeat(3_000_000))).status, 202);
    stream?.destroy();
  });

  it('in floods has it polled twice a second at most', async () => {
    const [stream] = await joinAll(gateway(), 'flood', 1);
    const before = gateway().upstream.count('flood');
    const began = performance.now();
    let sent = 0;
    while (performance.now() - began < 1_200) {
      await Promise.all(Array.from({ length: 10 }, () => poke('flood')));
      sent += 10;
    }
    const seconds = (performance.now() - began) / 1000;
    const polls = gateway().upstream.count('flood') - before;
    assert.ok(polls >= 2 && polls <= 2 * seconds + 1, `${polls} polls for ${sent} pokes`);
    stream?.destroy();
  });
}

for (const [name, start] of STARTERS) {
  describe(`a webhook, over ${name}`, () => webhookTests(start));
  describe(`a webhook by upstream's keys, over ${name}`, () => keyTests(start));
  describe(`a webhook by keys from elsewhere, over ${name}`, () => placeTests(start));
  describe(`a published state, over ${name}`, () => publishTests(start));
  describe(`a poke, over ${name}`, () => pokeTests(start));
}
