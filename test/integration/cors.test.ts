/** Pages of other origins: what their browser is told, on every kind of answer there is. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { Cors } from '../../src/http/cors.ts';
import { origins } from '../../src/option-kinds.ts';
import { KEY, STARTERS, useGateway } from '../support/gateway.ts';
import type { Answered, StartGateway } from '../support/gateway.ts';
import { refused, state } from '../support/upstream.ts';

const APP = 'https://app.example';
const EXPOSED = 'x-request-id, retry-after, x-runcast-refused, etag';

const grantOf = ({ headers }: Answered): unknown[] =>
  [headers['access-control-allow-origin'], headers['access-control-expose-headers']];

const varies = ({ headers }: Answered): boolean =>
  String(headers.vary).split(', ').includes('origin');

function answerTests(start: StartGateway): void {
  const gateway = useGateway(start, { allowedOrigins: [APP, 'http://localhost:3000'] });

  /** One request for each kind of answer, with what its status must be. */
  const asked = async (origin: string | undefined): Promise<[number, Answered][]> => {
    const { upstream } = gateway();
    upstream.run('over', state('completed'));
    upstream.run('down', refused(500, 'INTERNAL'));
    const own = { 'x-api-key': KEY, ...origin !== undefined && { origin } };
    const events = { accept: 'text/event-stream' };
    const ask = (path: string, headers = {}, method = 'GET'): Promise<Answered> =>
      gateway().call(method, `/v1/runs/${path}`, { ...own, ...headers });
    const probe = '/doctor/stream?seconds=0.05&gapMs=50';
    const { headers: { etag = '' } } = await ask('over');
    const id = etag.slice(1, -1);
    return [
      [200, await ask('over')], [200, await ask('over/wait')], [200, await ask('over/stream')],
      [200, await ask('over/stream', { 'accept-encoding': 'gzip' })],
      [200, await ask('over/ticket', {}, 'POST')], [202, await ask('over/poke', {}, 'POST')],
      [304, await ask('over', { 'if-none-match': etag })],
      [204, await ask(`over/stream?lastEventId=${id}`)],
      [400, await ask('a.b')], [401, await ask('over/stream?ticket=x')],
      [404, await ask('a/b')], [405, await ask('over', {}, 'DELETE')],
      [502, await ask('down')], [200, await ask('down/stream', events)],
      [200, await gateway().call('GET', probe, own)],
    ];
  };

  it('every answer to an origin that is let in may be read by its page', async () => {
    for (const [status, answer] of await asked(APP)) {
      assert.equal(answer.status, status);
      assert.deepEqual(grantOf(answer), [APP, EXPOSED], String(status));
      assert.ok(varies(answer));
      assert.equal(answer.headers['access-control-allow-credentials'], undefined);
    }
  });

  it('to any other, or none, the same answers say nothing, and vary', async () => {
    for (const origin of [
      'https://evil.example', 'https://app.example.evil', 'http://app.example', 'null', undefined,
      'https://app.example:8443', 'https://APP.example', `${APP}, ${APP}`, `${APP}/`,
    ]) {
      for (const [status, answer] of await asked(origin)) {
        assert.equal(answer.status, status);
        assert.deepEqual(grantOf(answer), [undefined, undefined], origin);
        assert.ok(varies(answer));
      }
    }
  });

  it('what else an answer varies by stays', async () => {
    const headers = { 'x-api-key': KEY, 'origin': APP, 'accept-encoding': 'gzip' };
    gateway().upstream.run('vary', state('completed'));
    const varyOf = async (path: string): Promise<unknown> =>
      (await gateway().call('GET', `/v1/runs/${path}`, headers)).headers.vary;
    assert.equal(await varyOf('vary/stream'), 'accept-encoding, origin');
    assert.equal(await varyOf('vary'), 'x-api-key, authorization, origin');
  });

  it('a preflight is told what there is, without a key and without upstream', async () => {
    const before = gateway().upstream.count();
    for (const [path, methods] of [
      ['r', 'GET, HEAD'], ['r/stream', 'GET'], ['r/wait', 'GET'], ['r/ticket', 'POST'],
    ] as const) {
      const answer = await gateway().call('OPTIONS', `/v1/runs/${path}`, {
        'origin': APP, 'access-control-request-method': 'GET',
        'access-control-request-headers': 'x-api-key',
      });
      const { headers } = answer;
      assert.equal(answer.status, 204);
      assert.equal(headers['access-control-allow-origin'], APP);
      assert.equal(headers['access-control-allow-methods'], methods);
      assert.match(String(headers['access-control-allow-headers']), /x-api-key, .*last-event-id/);
      assert.equal(headers['access-control-max-age'], '7200');
      assert.ok(varies(answer));
    }
    assert.equal(gateway().upstream.count(), before);
  });

  it('a preflight of a stranger allows nothing, and any other OPTIONS is no method', async () => {
    const asks = { 'access-control-request-method': 'GET' };
    for (const headers of [{ ...asks, origin: 'https://evil.example' }]) {
      const answer = await gateway().call('OPTIONS', '/v1/runs/r', headers);
      const names = Object.keys(answer.headers).filter((name) => name.startsWith('access-control'));
      assert.deepEqual([answer.status, names], [204, []]);
    }
    for (const headers of [{ origin: APP }, asks, {}]) {
      assert.equal((await gateway().call('OPTIONS', '/v1/runs/r', headers)).status, 405);
    }
  });
}

function offTests(start: StartGateway): void {
  const gateway = useGateway(start);

  it('without origins nothing is said and nothing varies', async () => {
    gateway().upstream.run('r', state('completed'));
    const headers = { 'x-api-key': KEY, 'origin': APP, 'access-control-request-method': 'GET' };
    const answer = await gateway().call('GET', '/v1/runs/r', headers);
    assert.deepEqual([...grantOf(answer), varies(answer)], [undefined, undefined, false]);
    assert.equal((await gateway().call('OPTIONS', '/v1/runs/r', headers)).status, 405);
  });
}

describe('an origin in an option', () => {
  it('is spelled as browsers spell it', () => {
    const kind = origins();
    for (const good of [
      '*', APP, 'http://localhost:3000', 'https://[::1]:8443', 'capacitor://localhost',
      'chrome-extension://abcdefgh', `${APP},http://b.example`,
    ]) assert.ok(kind.parse(good), good);
    for (const bad of [
      '', 'app.example', `${APP}/`, `${APP}/a`, 'https://App.example', 'https://app.example:443',
      'http://app.example:80', 'https://u:p@app.example', 'https://*.example', 'null', 'https://',
      `${APP}?a`, `${APP}#a`, 'https://a b', 'javascript:alert(1)',
    ]) assert.equal(kind.parse(bad), undefined, bad);
  });

  it('as a star lets everybody in, and only who has an origin is told so', () => {
    const cors = new Cors(['*']);
    const grant = (headers: Record<string, string>): unknown =>
      cors.grant({ headers } as never, {})['access-control-allow-origin'];
    assert.deepEqual([grant({ origin: 'null' }), grant({ origin: APP }), grant({})],
      ['*', '*', undefined]);
  });
});

describe('pages of other origins', () => {
  for (const [name, start] of STARTERS) {
    describe(`over ${name}`, () => answerTests(start));
    describe(`over ${name}, with none allowed`, () => offTests(start));
  }
});
