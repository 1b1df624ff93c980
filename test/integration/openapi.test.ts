/** `/openapi.json` against real answers: what it says holds, and nothing is left unsaid. */

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { OutgoingHttpHeaders } from 'node:http';
import { VERSION } from '../../src/core/version.ts';
import { KEY, STARTERS } from '../support/gateway.ts';
import type { StartGateway, TestGateway } from '../support/gateway.ts';
import { OpenApi } from '../support/openapi.ts';
import { Signer, jwksFile } from '../support/signing.ts';
import { execution, hang, raw, refused, state } from '../support/upstream.ts';

const PUBLISH_KEY = 'pub_1';
const KEYED = { 'x-api-key': KEY };
const PUBLISHER = { authorization: `Bearer ${PUBLISH_KEY}` };

type Call = readonly [
  status: number, method: string, target: string, headers?: OutgoingHttpHeaders, body?: string,
];

function calls(signer: Signer, etag: string): Call[] {
  const hook = signer.deliver(execution('over', 'completed'));
  const probes = ['/livez', '/readyz', '/healthz', '/metrics', '/openapi.json', '/doctor',
    '/doctor.json?nonce=abcdefgh12345678'];
  return [
    ...probes.flatMap((path): Call[] => [[200, 'GET', path], [200, 'HEAD', path]]),
    [200, 'GET', '/doctor', { accept: 'text/html' }],
    [200, 'GET', '/doctor/stream?gapMs=100&seconds=0.1&gzip=1', { 'accept-encoding': 'gzip' }],
    [400, 'GET', '/doctor/stream?gapMs=0'],
    [404, 'GET', '/doctor/js/none.js'], [404, 'HEAD', '/doctor/js/none.js'],
    ...['/', '/page/style.css'].flatMap((path): Call[] => [
      [200, 'GET', path], [200, 'HEAD', path], [304, 'GET', path, { 'if-none-match': '*' }],
    ]),
    [404, 'GET', '/page/js/none.js'], [404, 'HEAD', '/page/js/none.js'],
    [200, 'GET', '/v1/runs/over', KEYED], [200, 'HEAD', '/v1/runs/over', KEYED],
    [304, 'GET', '/v1/runs/over', { ...KEYED, 'if-none-match': `"${etag}"` }],
    [304, 'HEAD', '/v1/runs/over', { ...KEYED, 'if-none-match': `"${etag}"` }],
    [200, 'GET', '/v1/runs/over/stream', KEYED],
    [200, 'GET', '/v1/runs/over/stream', { ...KEYED, 'accept-encoding': 'gzip' }],
    [204, 'GET', '/v1/runs/over/stream', { ...KEYED, 'last-event-id': etag }],
    [200, 'GET', '/v1/runs/over/wait', KEYED], [200, 'GET', '/v1/runs/on/wait?timeout=1', KEYED],
    [400, 'GET', '/v1/runs/on/wait?timeout=0', KEYED],
    [200, 'GET', '/v1/runs/stream?runId=over&runId=over', KEYED],
    [401, 'GET', '/v1/runs/stream?runId=over'],
    [400, 'GET', '/v1/runs/stream', KEYED],
    [204, 'GET', '/v1/runs/stream?runId=over', { ...KEYED, 'last-event-id': etag }],
    [200, 'POST', '/v1/runs/over/ticket', KEYED], [404, 'POST', '/v1/runs/none/ticket', KEYED],
    [202, 'POST', '/v1/runs/on/poke'],
    [202, 'PUT', '/v1/runs/on', PUBLISHER, JSON.stringify({ status: 'running' })],
    [400, 'PUT', '/v1/runs/on', PUBLISHER, '{}'], [401, 'PUT', '/v1/runs/on', {}, '{}'],
    [413, 'PUT', '/v1/runs/on', PUBLISHER, ' '.repeat(200_000)],
    [200, 'POST', '/v1/webhooks/runs', hook.headers, String(hook.body)],
    [401, 'POST', '/v1/webhooks/runs', {}, '{}'],
    ...['', '/stream', '/wait'].flatMap((below): Call[] => [
      [400, 'GET', `/v1/runs/a%20b${below}`, KEYED], [401, 'GET', `/v1/runs/over${below}`],
      [401, 'GET', `/v1/runs/r401${below}`, KEYED], [403, 'GET', `/v1/runs/r403${below}`, KEYED],
      [404, 'GET', `/v1/runs/none${below}`, KEYED], [502, 'GET', `/v1/runs/bad${below}`, KEYED],
      [504, 'GET', `/v1/runs/slow${below}`, KEYED],
    ]),
    [200, 'GET', '/v1/runs/bad/stream', { ...KEYED, accept: 'text/event-stream' }],
  ];
}

function documentTests(start: StartGateway): void {
  const signer = new Signer();
  let gateway: TestGateway;
  let api: OpenApi;
  before(async () => {
    gateway = await start({
      page: true, webhookJwks: jwksFile(signer), publishKeys: [PUBLISH_KEY], maxBodyBytes: 100_000,
      upstreamTimeoutMs: 500, pollIntervalMs: 100,
    });
    const { upstream } = gateway;
    upstream.run('over', state('completed'));
    upstream.run('on', state('running'));
    upstream.run('r401', refused(401, 'AUTH_INVALID_KEY'));
    upstream.run('r403', refused(403, 'FORBIDDEN'));
    upstream.run('bad', raw('nonsense'));
    upstream.run('slow', hang());
    const { text } = await gateway.call('GET', '/openapi.json');
    api = new OpenApi(JSON.parse(text) as Record<string, unknown>);
  });
  after(() => gateway.stop());

  it('is of this version, and its parts are there', () => {
    assert.equal(api.document['openapi'], '3.2.0');
    assert.equal(api.resolve(api.document['info'])['version'], VERSION);
    for (const [at] of JSON.stringify(api.document).matchAll(/"#\/[^"]+"/g)) {
      api.resolve({ $ref: JSON.parse(at) as string });
    }
    assert.throws(() => api.resolve({ $ref: '#/components/schemas/Nothing' }));
  });

  it('names each operation once, and each parameter of its path', () => {
    const operations = api.operations();
    const ids = operations.map(({ operation }) => operation['operationId']);
    assert.equal(new Set(ids).size, ids.length);
    for (const { name, item } of operations) {
      const declared = [item['parameters'] ?? []].flat().map((part) => api.resolve(part)['name']);
      assert.deepEqual([...name.matchAll(/\{(\w+)\}/g)].map(([, each]) => each), declared, name);
    }
  });

  it('allows no answer that is not so', () => {
    const good = {
      method: 'GET', target: '/livez', status: 200, text: '{"status":"ok"}',
      headers: { 'content-type': 'application/json', 'x-request-id': 'a' },
    };
    api.check(good);
    const headers = (over: object): object => ({ headers: { ...good.headers, ...over } });
    for (const over of [
      { method: 'POST' }, { target: '/livezz' }, { status: 201 }, { text: '{"status":1}' },
      { text: '{}' }, { text: '{"status":"ok","more":1}' }, headers({ 'x-more': '1' }),
      headers({ 'x-request-id': 'a b' }), headers({ 'content-type': 'text/html' }),
    ]) assert.throws(() => api.check({ ...good, ...over }), JSON.stringify(over));
  });

  it('says what is so, of every operation', async () => {
    const { headers: { etag = '' } } = await gateway.call('GET', '/v1/runs/over', KEYED);
    for (const [status, method, target, headers, body] of calls(signer, etag.slice(1, -1))) {
      const answered = await gateway.call(method, target, headers, body);
      assert.equal(answered.status, status, `${method} ${target}: ${answered.text}`);
      api.check({ method, target, ...answered });
    }
    const names = new Set([...api.seen].map((each) => each.replace(/ \d+$/, '')));
    assert.deepEqual([...names].sort(), api.operations().map(({ name }) => name).sort());
  });
}

for (const [name, start] of STARTERS) {
  describe(`the OpenAPI document, over ${name}`, () => documentTests(start));
}
