/**
 * What no HTTP library would send, in front of an upstream that keeps every byte: where requests
 * are passed on, nothing but one well-formed request may come of it, or nothing at all.
 */

import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { KEY, STARTERS } from '../support/gateway.ts';
import type { StartGateway, TestGateway } from '../support/gateway.ts';
import { openRaw } from '../support/raw-client.ts';
import { OK, startRecording } from '../support/recording-upstream.ts';
import type { RecordingUpstream } from '../support/recording-upstream.ts';
import { within } from '../support/wait.ts';

/** Behind a request whose end two parsers may see in different places. */
const SMUGGLED = 'GET /v1/smuggled HTTP/1.1\r\nhost: x\r\n\r\n';
const CHUNKED = `0\r\n\r\n${SMUGGLED}`;

const LAST = 'GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n';

const post = (lines: readonly string[], body: string): string =>
  ['POST /v1/things HTTP/1.1', 'host: x', `x-api-key: ${KEY}`, ...lines, '', body].join('\r\n');
const get = (...lines: string[]): string =>
  ['GET /v1/things HTTP/1.1', 'host: x', ...lines, '', ''].join('\r\n');
const of = (target: string): string => `GET ${target} HTTP/1.1\r\nhost: x\r\n\r\n`;

/** Nothing of these gets through. */
const REFUSED: Readonly<Record<string, string>> = {
  'a length and chunks': post(['content-length: 6', 'transfer-encoding: chunked'], CHUNKED),
  'chunks and a length': post(['transfer-encoding: chunked', 'content-length: 6'], CHUNKED),
  'two lengths': post(['content-length: 0', 'content-length: 44'], SMUGGLED),
  'two equal lengths': post(['content-length: 2', 'content-length: 2'], 'hi'),
  'a list of lengths': post(['content-length: 0, 44'], SMUGGLED),
  'a length with a sign': post(['content-length: +44'], SMUGGLED),
  'a negative length': post(['content-length: -1'], SMUGGLED),
  'a length in hex': post(['content-length: 0x2c'], SMUGGLED),
  'a length beyond all numbers': post(['content-length: 99999999999999999999'], SMUGGLED),
  'a length with a blank inside': post(['content-length: 4 4'], SMUGGLED),
  'a blank before the colon': post(['content-length : 44'], SMUGGLED),
  'a blank before the name': post([' content-length: 44'], SMUGGLED),
  'a coding with a blank before the colon': post(['transfer-encoding : chunked'], CHUNKED),
  'a coding that is none': post(['transfer-encoding: xchunked'], CHUNKED),
  'chunked, and then another coding': post(['transfer-encoding: chunked, identity'], CHUNKED),
  'another coding, and then chunked': post(['transfer-encoding: gzip, chunked'], CHUNKED),
  'chunked twice': post(['transfer-encoding: chunked', 'transfer-encoding: chunked'], CHUNKED),
  'a coding in quotes': post(['transfer-encoding: "chunked"'], CHUNKED),
  'a coding with a vertical tab': post(['transfer-encoding: \x0bchunked'], CHUNKED),
  'a coding on a folded line': post(['transfer-encoding:', ' chunked'], CHUNKED),
  'a folded line': get('x-a: b', '\tc'),
  'a bare LF behind the first line': 'GET /v1/things HTTP/1.1\nhost: x\r\n\r\n',
  'a bare LF behind a header': 'GET /v1/things HTTP/1.1\r\nhost: x\nx-a: b\r\n\r\n',
  'a bare CR in a value': get('x-a: b\rx-smuggled: c'),
  'NUL in a value': get('x-a: b\x00c'),
  'NUL in a name': get('x-\x00a: b'),
  'a blank in a name': get('x a: b'),
  'no name': get(': b'),
  'no colon': get('x-a'),
  'no host': 'GET /v1/things HTTP/1.1\r\n\r\n',
  'two hosts': get('host: y'),
  'a body of a GET': get('content-length: 44') + SMUGGLED,
  'chunks of a GET': get('transfer-encoding: chunked') + CHUNKED,
  'too much head': get(`x-a: ${'a'.repeat(17_000)}`),
  'too long a target': of(`/v1/${'a'.repeat(17_000)}`),
  'NUL in the target': of('/v1/a\x00b'),
  'a blank in the target': of('/v1/a b'),
  'bytes in the target that are not ASCII': of('/v1/\xe4'),
  'a fragment in the target': of('/v1/a#b'),
  'another host by two slashes': of('//evil.example/v1/things'),
  'a way out': of('/v1/../admin'),
  'a way out in the middle': of('/v1/a/../../admin'),
  'an encoded way out': of('/v1/%2e%2e/admin'),
  'a half encoded way out': of('/v1/.%2E/admin'),
  'a way out with encoded slashes': of('/v1/a%2f..%2f..%2fadmin'),
  'a way out that is encoded twice': of('/v1/%252e%252e/admin'),
  'a way out that is encoded three times': of('/v1/%25252e%25252e/admin'),
  'a way out behind what is no encoding': of('/v1/%25zz/%252e%252e/%252e%252e/admin'),
  'a way out in overlong UTF-8': of('/v1/%25c0%25ae%25c0%25ae/admin'),
  'a way out with a parameter': of('/v1/..;x=1/admin'),
  'a way out with backslashes': of('/v1/..\\admin'),
  'a way out with encoded backslashes': of('/v1/%5c..%5cadmin'),
  'an encoded line break': of('/v1/a%0d%0aHost:%20evil.example'),
  'an encoded NUL': of('/v1/a%00b'),
  'two slashes within': of('/v1/a//b'),
  'no encoding': of('/v1/%zz'),
  'absolute form to somewhere else': of('http://evil.example/admin'),
  'a way out in absolute form': of('http://x/v1/../admin'),
  'CONNECT': 'CONNECT evil.example:443 HTTP/1.1\r\nhost: evil.example:443\r\n\r\n',
  'CONNECT with our path': 'CONNECT /v1/things HTTP/1.1\r\nhost: x\r\n\r\n',
  'a method that there is not': 'SMUGGLE /v1/things HTTP/1.1\r\nhost: x\r\n\r\n',
  'a method in lower case': 'get /v1/things HTTP/1.1\r\nhost: x\r\n\r\n',
  'TRACE': 'TRACE /v1/things HTTP/1.1\r\nhost: x\r\n\r\n',
  'HTTP/2': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
  'another version': 'GET /v1/things HTTP/3.9\r\nhost: x\r\n\r\n',
  'a circle': get(`via: ${Array(8).fill('1.1 runcast').join(', ')}`),
};

/** Chunks that are none: a head may be on its way already, but no end that would make it whole. */
const BROKEN: Readonly<Record<string, string>> = {
  'a chunk size that is no number': 'zz\r\nhi\r\n0\r\n\r\n',
  'a chunk size with 0x': '0x2\r\nhi\r\n0\r\n\r\n',
  'a negative chunk size': '-2\r\nhi\r\n0\r\n\r\n',
  'a chunk size beyond all numbers': 'fffffffffffffffff\r\nhi\r\n0\r\n\r\n',
  'a chunk longer than it says': '2\r\nhigh\r\n0\r\n\r\n',
  'bare LF in chunks': '2\nhi\n0\n\n',
  'a bare LF in a chunk extension': `2;\nxx\r\n4c\r\n0\r\n\r\n${SMUGGLED}`,
  'a length in the trailer': '2\r\nhi\r\n0\r\ncontent-length: 9\r\n\r\n',
  'a chunk extension without end': `2;${'a'.repeat(20_000)}\r\nhi\r\n0\r\n\r\n`,
};

export function rawTests(start: StartGateway): void {
  let gateway: TestGateway;
  let upstream: RecordingUpstream;
  before(async () => {
    upstream = await startRecording();
    gateway = await start({ forward: true, through: upstream });
  });
  after(async () => {
    await gateway.stop();
    await upstream.close();
  });
  beforeEach(() => {
    upstream.received.length = 0;
    upstream.answer = OK;
  });

  /** All answers, once the gateway has closed. */
  const send = async (bytes: string): Promise<string> => {
    const raw = openRaw(gateway.port, Buffer.from(bytes, 'latin1'));
    const isOver = raw.closed.then(() => true);
    await Promise.race([raw.until(/HTTP\/1\.1 [2-5]/).catch(() => ''), isOver]);
    // Whatever was left of it to be taken for a request has had its turn before this one.
    raw.socket.write(LAST);
    await within(20_000, 'the end of the connection', isOver);
    raw.socket.destroy();
    const text = raw.received().toString('latin1');
    return text.endsWith('"ok"}') ? text.slice(0, text.lastIndexOf('HTTP/1.1 200')) : text;
  };

  for (const [what, bytes] of Object.entries(REFUSED)) {
    it(`${what}: nothing reaches upstream`, async () => {
      const answer = await send(bytes);
      assert.doesNotMatch(answer, /^HTTP\/1.1 [2 3]/, answer);
      assert.deepEqual(upstream.received, []);
    });
  }

  for (const [what, body] of Object.entries(BROKEN)) {
    it(`${what}: upstream sees no whole request`, async () => {
      upstream.answer = () => undefined;
      assert.match(await send(post(['transfer-encoding: chunked'], body)), /^(?:HTTP\/1\.1 400|$)/);
      assert.ok(upstream.received.length <= 1);
      const [text = ''] = upstream.received;
      assert.doesNotMatch(text, /smuggled/);
      assert.doesNotMatch(text, /(^|\r\n)0\r\n\r\n$/);
    });
  }

  it('a header that is named by Connection cannot take our own away', async () => {
    await send(post(['connection: content-length, host, via, x-forwarded-for',
      'content-length: 2'], 'hi'));
    const [text = ''] = upstream.received;
    assert.match(text, /\r\ncontent-length: 2\r\n/i);
    assert.match(text, /\r\nvia: 1.1 runcast\r\n/);
    assert.match(text, /\r\nx-forwarded-for: 127.0.0.1\r\n/);
    assert.match(text, new RegExp(`\r\nhost: ${new URL(upstream.origin).host}\r\n`));
  });

  it('a length behind two hundred other headers is still a length', async () => {
    const others = Array.from({ length: 205 }, (_, i) => `x-${i}: 1`);
    await send(post([...others, 'content-length: 2'], 'hi'));
    assert.match(upstream.received[0] ?? '', /\r\ncontent-length: 2\r\n[^]*\r\n\r\nhi$/i);
  });

  it('chunks are read and framed anew, without extensions and trailers', async () => {
    upstream.answer = (socket) => {
      const look = (): void => {
        if (upstream.received[0]?.endsWith('\r\n0\r\n\r\n')) socket.write(OK);
      };
      socket.on('data', look);
      look();
    };
    await send(post(['transfer-encoding: Chunked', 'connection: close'],
      '2;x=y\r\nhi\r\n000\r\nX-Smuggled: 1\r\n\r\n'));
    const [head = '', body] = (await upstream.has(0, '0\r\n\r\n')).split(/(?<=\r\n)\r\n(?=2)/);
    assert.equal(body, '2\r\nhi\r\n0\r\n\r\n');
    assert.match(head, /\r\ntransfer-encoding: chunked\r\n/i);
    assert.doesNotMatch(head, /smuggled|content-length/i);
  });

  it('absolute form goes to upstream and nowhere else', async () => {
    await send('GET http://evil.example/v1/things?a HTTP/1.1\r\nhost: evil.example\r\n'
      + 'connection: close\r\n\r\n');
    const [text = ''] = upstream.received;
    assert.match(text, /^GET \/v1\/things\?a HTTP\/1.1\r\n/);
    assert.match(text, new RegExp(`\r\nhost: ${new URL(upstream.origin).host}\r\n`));
  });

  it('two requests in one packet have a connection each, one after the other', async () => {
    const answer = await send(post(['content-length: 2'], 'hi') + SMUGGLED);
    assert.equal(answer.match(/\r\n\r\nok/g)?.length, 2);
    assert.equal(upstream.received.length, 2);
    assert.ok(upstream.received.every((text) => text.match(/ HTTP\/1\.1\r\n/g)?.length === 1));
  });

  it('names that mean something to JavaScript are names', async () => {
    await send(get('__proto__: a', 'constructor: b', 'connection: close'));
    const [text = ''] = upstream.received;
    assert.match(text, /\r\n__proto__: a\r\n/);
    assert.match(text, /\r\nconstructor: b\r\n/);
  });

  it('bytes that are not ASCII in a value stay the bytes that they are', async () => {
    await send(get('x-name: J\xf6rg \xe2\x82\xac', 'connection: close'));
    assert.match(upstream.received[0] ?? '', /\r\nx-name: J\xf6rg \xe2\x82\xac\r\n/);
  });

  for (const [what, lines] of Object.entries({
    'a line break in a value': ['x-a: b\rset-cookie: evil=1'],
    'NUL in a value': ['x-a: b\x00c'],
    'two lengths': ['content-length: 2', 'content-length: 20'],
    'a folded line': ['x-a: b', ' c'],
  })) {
    it(`${what} of upstream's answer is a 502`, async () => {
      upstream.answer = ['HTTP/1.1 200 OK', ...lines, '', 'ok'].join('\r\n');
      const answer = await send(get('connection: close'));
      assert.match(answer, /^HTTP\/1.1 502 /);
      assert.doesNotMatch(answer, /evil/);
    });
  }

  it('what upstream sends behind its answer is nobody\'s', async () => {
    upstream.answer = `${OK}HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil`;
    const answer = await send(get() + of('/v1/next'));
    assert.equal(answer.match(/\r\n\r\nok/g)?.length, 2);
    assert.doesNotMatch(answer, /evil/);
  });
}

for (const [name, start] of STARTERS) {
  describe(`passing raw bytes on: ${name}`, () => rawTests(start));
}
