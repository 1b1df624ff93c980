/**
 * `--forward on`: every other request below `/v1` goes to upstream and its answer comes back, both
 * as they come. What reaches upstream is looked at as bytes.
 */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:http';
import type { ClientRequest, IncomingMessage } from 'node:http';
import { describe, it } from 'node:test';
import { usePair } from '../support/forward-pair.ts';
import { KEY, STARTERS } from '../support/gateway.ts';
import type { StartGateway, TestGateway } from '../support/gateway.ts';
import { openRaw, rawRequest } from '../support/raw-client.ts';
import { OK } from '../support/recording-upstream.ts';
import type { RecordingUpstream } from '../support/recording-upstream.ts';
import { until, within } from '../support/wait.ts';

/** Head lines of what came first, names in lower case. */
function headOf({ received }: RecordingUpstream): { first: string; lines: string[] } {
  const [first = '', ...lines] = (received[0] ?? '').split('\r\n\r\n')[0]?.split('\r\n') ?? [];
  const lower = (line: string): string => line.replace(/^[^:]*/, (name) => name.toLowerCase());
  return { first, lines: lines.map(lower) };
}

const begin = (gateway: TestGateway, method: string, path: string): ClientRequest => {
  const headers = { 'x-api-key': KEY, 'transfer-encoding': 'chunked' };
  return request(gateway.origin + path, { method, headers, agent: false });
};

export function passingTests(start: StartGateway): void {
  const pair = usePair(start);

  it('a request arrives as it was sent, but for what belongs to a hop', async () => {
    const { gateway, upstream } = pair();
    await rawRequest(gateway.port, [
      'POST /v1/workflows/w1/execute?a=%20b&a=c HTTP/1.1', 'Host: shown.example',
      `X-Api-Key: ${KEY}`,
      'X-Odd: one', 'X-Odd: two', 'Connection: close, X-Mine', 'X-Mine: hop', 'Keep-Alive: 5',
      'TE: trailers', 'Proxy-Authorization: Basic eA==', 'Upgrade: h2c', 'Via: 1.0 edge',
      'X-Forwarded-For: 192.0.2.1', 'Forwarded: for=192.0.2.1', 'X-Request-Id: req-1',
      'traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
      'Content-Length: 4', '', 'body',
    ].join('\r\n'));
    const { first, lines } = headOf(upstream);
    assert.equal(first, 'POST /v1/workflows/w1/execute?a=%20b&a=c HTTP/1.1');
    assert.deepEqual([...lines].sort(), [
      'connection: close', 'content-length: 4', 'forwarded: for=192.0.2.1, for=127.0.0.1',
      `host: ${new URL(upstream.origin).host}`,
      'traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
      'via: 1.0 edge, 1.1 runcast', `x-api-key: ${KEY}`,
      'x-forwarded-for: 192.0.2.1, 127.0.0.1', 'x-forwarded-host: shown.example',
      'x-forwarded-proto: http', 'x-odd: one', 'x-odd: two', 'x-request-id: req-1',
    ].sort());
    assert.match(upstream.received[0] ?? '', /\r\n\r\nbody$/);
  });

  it('an answer comes back as it was given, but for what belongs to a hop', async () => {
    const { gateway, upstream } = pair();
    upstream.answer = ['HTTP/1.1 302 Elsewhere', 'Location: https://elsewhere.example/x',
      'Set-Cookie: a=1', 'Set-Cookie: b=2', 'Connection: X-Hop, close', 'X-Hop: 1', 'Keep-Alive: 9',
      'Proxy-Authenticate: Basic', 'Transfer-Encoding: chunked', 'Trailer: X-Late', 'Via: 1.1 far',
      '', '3', 'abc', '0', 'X-Late: 1', '', ''].join('\r\n');
    const { status, headers, text } = await gateway.call('GET', '/v1/runs?limit=2', {});
    assert.equal(status, 302, 'a redirect is passed on, not followed');
    assert.equal(text, 'abc');
    assert.equal(headers.location, 'https://elsewhere.example/x');
    assert.deepEqual(headers['set-cookie'], ['a=1', 'b=2']);
    assert.equal(headers.via, '1.1 far, 1.1 runcast');
    assert.ok(headers['x-request-id']);
    for (const name of ['x-hop', 'proxy-authenticate', 'trailer']) {
      assert.equal(headers[name], undefined, name);
    }
    assert.equal(upstream.received.length, 1);
  });

  for (const [method, length] of [
    ['POST', 'content-length: 0'], ['PUT', 'content-length: 0'], ['PATCH', 'content-length: 0'],
    ['GET', undefined], ['DELETE', undefined], ['HEAD', undefined],
  ] as const) {
    it(`${method} without a body has none at upstream either`, async () => {
      const { gateway, upstream } = pair();
      if (method === 'HEAD') upstream.answer = 'HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n';
      const { status, headers } = await gateway.call(method, '/v1/things', {});
      assert.equal(status, 200);
      assert.equal(headers['content-length'], method === 'HEAD' ? '999' : '2');
      const framing = headOf(upstream).lines.filter((line) => /^(content-l|transfer-)/.test(line));
      assert.deepEqual(framing, length === undefined ? [] : [length]);
    });
  }

  for (const status of [204, 304]) {
    it(`${status} comes back without a body`, async () => {
      const { gateway, upstream } = pair();
      upstream.answer = `HTTP/1.1 ${status} X\r\netag: "1"\r\n\r\n`;
      const { received } = await rawRequest(gateway.port,
        'GET /v1/things HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
      const text = received.toString();
      assert.match(text, new RegExp(`^HTTP/1.1 ${status} `));
      assert.doesNotMatch(text, /content-length|transfer-encoding/i);
      assert.match(text, /\r\n\r\n$/);
    });
  }

  it('an HTTP/1.0 client gets its answer unchunked, ended by the end', async () => {
    const { gateway, upstream } = pair();
    upstream.answer = 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n';
    const { received, closed } = await rawRequest(gateway.port, 'GET /v1/things HTTP/1.0\r\n\r\n');
    assert.match(received.toString(), /\r\n\r\nhi$/);
    assert.equal(closed, 'fin');
    assert.ok(headOf(upstream).lines.includes('via: 1.0 runcast'));
  });

  it('100-continue is told here, and the expectation stays here', async () => {
    const { gateway, upstream } = pair();
    const client = openRaw(gateway.port, `POST /v1/things HTTP/1.1\r\nhost: x\r\n`
      + 'expect: 100-continue\r\ncontent-length: 2\r\n\r\n');
    await client.until('HTTP/1.1 100 Continue\r\n\r\n');
    client.socket.write('hi');
    await client.until('\r\n\r\nok');
    client.socket.destroy();
    assert.equal(headOf(upstream).lines.some((line) => line.startsWith('expect')), false);
    assert.match(upstream.received[0] ?? '', /\r\n\r\nhi$/);
  });

  it('an upload and an answer are passed on while they come', async () => {
    const { gateway, upstream } = pair();
    let answer: ((text: string) => void) | undefined;
    upstream.answer = (socket) => {
      answer = (text) => void socket.write(text);
    };
    const client = begin(gateway, 'POST', '/v1/files');
    client.on('error', () => undefined);
    client.write('first');
    await upstream.has(0, 'first');
    client.end('last');
    await upstream.has(0, '0\r\n\r\n');
    assert.ok(answer);
    answer('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n');
    const [response] = await once(client, 'response') as [IncomingMessage];
    const [chunk] = await once(response, 'data') as [Buffer];
    assert.equal(chunk.toString(), 'one', 'before the end of the answer');
    answer('0\r\n\r\n');
    response.resume();
    await within(20_000, 'the end', once(response, 'end'));
  });

  it('a client that leaves takes its request at upstream along', async () => {
    const { gateway, upstream } = pair();
    upstream.answer = () => undefined;
    const client = openRaw(gateway.port, 'GET /v1/slow HTTP/1.1\r\nhost: x\r\n\r\n');
    await upstream.has(0, '\r\n\r\n');
    client.socket.destroy();
    await until('no connection at upstream', () => upstream.open() === 0);
  });

  it('an answer that breaks off is cut, not ended as if it were whole', async () => {
    const { gateway, upstream } = pair();
    upstream.answer = (socket) => {
      socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n',
        () => socket.destroy());
    };
    const { received, closed } = await rawRequest(gateway.port,
      'GET /v1/things HTTP/1.1\r\nhost: x\r\n\r\n', { ms: 20_000 });
    assert.notEqual(closed, 'open');
    assert.doesNotMatch(received.toString(), /\r\n0\r\n\r\n$/);
  });

  for (const [what, answer] of [
    ['hangs up', ''], ['is no HTTP', 'SSH-2.0-x\r\n\r\n'],
    ['has a length and is chunked',
      'HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n'],
    ['switches to what was not asked for',
      'HTTP/1.1 101 S\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n'],
    ['has no status that there is', 'HTTP/1.1 999 What\r\ncontent-length: 0\r\n\r\n'],
  ] as const) {
    it(`an upstream that ${what} is a 502`, async () => {
      const { gateway, upstream } = pair();
      upstream.answer = (socket) => void socket.end(answer);
      const { status, headers } = await gateway.call('POST', '/v1/things',
        { accept: 'text/event-stream' }, '{}');
      assert.equal(status, 502, 'a real one: nobody posts with an EventSource');
      assert.ok(headers['retry-after']);
    });
  }

  it('what is pipelined goes one after the other', async () => {
    const { gateway, upstream } = pair();
    const answers: (() => void)[] = [];
    upstream.answer = (socket) => void answers.push(() => socket.write(OK));
    const get = (path: string): string => `GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`;
    const client = openRaw(gateway.port, get('/v1/a') + get('/v1/b') + get('/livez'));
    await upstream.has(0, '/v1/a');
    assert.equal(upstream.received.length, 1);
    answers[0]?.();
    await upstream.has(1, '/v1/b');
    answers[1]?.();
    const text = await client.until('{"status":"ok"}');
    client.socket.destroy();
    assert.equal(text.split('HTTP/1.1 200').length, 4);
  });

  it('what stands behind a wait goes when that is answered', async () => {
    const { gateway, upstream } = pair();
    const answers: (() => void)[] = [];
    upstream.answer = (socket) => void answers.push(() => socket.write(OK));
    const head = `HTTP/1.1\r\nhost: x\r\nx-api-key: ${KEY}\r\n`;
    const client = openRaw(gateway.port, `GET /v1/runs/w/wait?timeout=60 ${head}\r\n`
      + `POST /v1/runs/w/cancel ${head}content-length: 0\r\n\r\n`);
    await upstream.has(0, '/v1/runs/w');
    assert.equal(upstream.received.length, 1);
    answers[0]?.();
    await upstream.has(1, '/v1/runs/w/cancel');
    answers[1]?.();
    await client.until(/(?:HTTP\/1\.1 [^]*){2}/);
    client.socket.destroy();
  });

  it('what is not below /v1, or is ours, never leaves', async () => {
    const { gateway, upstream } = pair();
    for (const [method, path, status] of [
      ['GET', '/', 404], ['GET', '/admin', 404], ['GET', '/v1', 404], ['GET', '/v11/x', 404],
      ['GET', '/livez', 200], ['GET', '/v1/runs/a%2fb/stream', 400],
      ['POST', '/v1/runs/r/stream', 405],
      ['GET', '/v1/runs/stream', 400], ['OPTIONS', '/v1/things', 405], ['TRACE', '/v1/things', 405],
    ] as const) {
      const answered = await gateway.call(method, path, { 'x-api-key': KEY });
      assert.equal(answered.status, status, `${method} ${path}`);
    }
    assert.deepEqual(upstream.received, []);
  });
}

for (const [name, start] of STARTERS) {
  describe(`passing on: ${name}`, () => passingTests(start));
}
