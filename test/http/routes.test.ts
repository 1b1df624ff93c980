/**
 * Method and raw target into a route. Targets stand here as they come off the wire: what a URL
 * parser would tidy away must be seen, and refused, as it was sent.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { refuse } from '../../src/core/errors.ts';
import { parseAdminRoute, parseRoute, type Route } from '../../src/http/routes.ts';

const BAD_ID = refuse('VALIDATION_ERROR', { error: 'runId must match ^[A-Za-z0-9_-]{1,128}$' });

function streamOf(target: string): { runId: string; query: URLSearchParams } {
  const route = parseRoute('GET', target);
  if (route.kind !== 'stream') assert.fail(`${target} is ${JSON.stringify(route)}`);
  return route;
}

/** The code of the refusal, or the kind of what it was taken for. */
function codeOf(route: Route): string {
  return route.kind === 'refused' ? route.refusal.code : route.kind;
}

describe('the stream of a run', () => {
  for (const [segment, runId] of [
    ['a', 'a'], ['-', '-'], ['_', '_'], ['AZaz09_-', 'AZaz09_-'], ['stream', 'stream'],
    ['__proto__', '__proto__'], ['constructor', 'constructor'], ['healthz', 'healthz'],
    ['%61bc', 'abc'], ['%5F%2d', '_-'], ['%5f%2D', '_-'],
    ['a'.repeat(128), 'a'.repeat(128)], ['%61'.repeat(128), 'a'.repeat(128)],
  ] as const) {
    it(`is found under ${segment.slice(0, 20)}, decoded once`, () => {
      assert.equal(streamOf(`/v1/runs/${segment}/stream`).runId, runId);
    });
  }

  for (const [what, segments] of Object.entries({
    'empty': [''],
    'too long by one': ['a'.repeat(129), '%61'.repeat(129), `${'a'.repeat(128)}%61`],
    'a way out of its folder': [
      '.', '..', '%2e', '%2e%2e', '%2E%2E', '.%2e', '../a', '..%2fa', '..%2Fa', 'a/..', 'a/../b',
      '../../admin', '%2e%2e/%2e%2e', '%2e%2e%2f%2e%2e%2fetc%2fpasswd', '..\\a', '..%5ca', '...',
    ],
    'more than one segment': [
      'a/b', 'a/', '/a', '/', '//', 'a//b', 'a%2fb', 'a%2Fb', '%2f', '%2fa', 'a%5cb', 'a\\b',
      'a/stream', 'stream/stream',
    ],
    'holding NUL, CR or LF': [
      '%00', 'a%00', '%00a', 'a\0', 'a%0d%0ax-evil:%201', 'a\r\nb', 'a\n', '\na', '%0a', 'a%0a',
      'a%0D', 'a\r', 'a%0a/stream', 'a\u2028', 'a%e2%80%a8',
    ],
    'badly escaped': [
      '%', '%2', '%zz', 'a%', '%6', '%%61', '%u0061', '%c3', '%c3%28', '%ff', '%80', '%ed%a0%80',
      '%c0%ae%c0%ae', '%f5%80%80%80',
    ],
    'escaped twice': ['%2561', '%252e%252e', '%252f', '%2500', '%25', '%25252e'],
    'made of other characters': [
      'a b', 'a%20b', ' a', 'a ', '%20', 'a+b', 'a.b', 'a~b', 'a:b', 'a;b', 'a;v=1', 'a,b', 'a@b',
      'a*b', 'a"b', '\'', '<a>', '{runId}', 'a|b', 'a&b', 'a=b', 'a#b', 'a%23b', 'a%3fb', 'é',
      '%c3%a9', '\uFF41', '%ef%bd%81', '\u212A', '%e2%84%aa', '🌍', 'a\t', 'a\x7f', '\u202Ea',
    ],
  })) {
    it(`is refused where the id is ${what}`, () => {
      for (const segment of segments) {
        const target = `/v1/runs/${segment}/stream`;
        assert.deepEqual(parseRoute('GET', target), { kind: 'refused', refusal: BAD_ID }, target);
      }
    });
  }

  it('takes its query as it comes', () => {
    for (const [query, pairs] of [
      ['', []], ['?', []], ['?lastEventId=a-_9', [['lastEventId', 'a-_9']]],
      ['?a=1&a=2&b', [['a', '1'], ['a', '2'], ['b', '']]],
      ['?a=?b', [['a', '?b']]], ['?a=/v1/runs/b/stream', [['a', '/v1/runs/b/stream']]],
      ['?a=%zz&b=%c3', [['a', '%zz'], ['b', '\uFFFD']]], ['?a=%00%0d%0a', [['a', '\0\r\n']]],
    ] as const) {
      const { runId, query: read } = streamOf(`/v1/runs/r1/stream${query}`);
      assert.equal(runId, 'r1');
      assert.deepEqual([...read], pairs, query);
    }
  });

  it('is found in absolute-form, whose authority means nothing', () => {
    for (const authority of [
      'http://gateway.test', 'HTTP://Gateway.test', 'https://evil.test:8443', 'http://[::1]:80',
      'http://lma_a:x@evil.test', 'hTTps://',
    ]) {
      const { runId, query } = streamOf(`${authority}/v1/runs/r1/stream?a=1`);
      assert.deepEqual([runId, query.get('a')], ['r1', '1'], authority);
      assert.equal(codeOf(parseRoute('GET', `${authority}/v1/runs/..%2f/stream`)), BAD_ID.code);
      assert.equal(codeOf(parseRoute('GET', `${authority}/v1/../v1/runs/r1/stream`)), 'NOT_FOUND');
      assert.equal(codeOf(parseRoute('GET', authority)), 'NOT_FOUND');
      assert.equal(codeOf(parseRoute('GET', `${authority}?/v1/runs/r1/stream`)), 'NOT_FOUND');
      assert.equal(codeOf(parseRoute('GET', `${authority}#/v1/runs/r1/stream`)), 'NOT_FOUND');
    }
  });

  it('is not found at what only looks like its path', () => {
    for (const target of [
      '', '*', '/', '//', '/v1', '/stream', 'v1/runs/r1/stream', ' /v1/runs/r1/stream',
      '//evil.test/v1/runs/r1/stream', '///v1/runs/r1/stream', '//v1/runs/r1/stream',
      '/v1//runs/r1/stream', '/v1/./runs/r1/stream', '/../v1/runs/r1/stream',
      '/x/v1/runs/r1/stream', '/v1/x/../runs/r1/stream', '/V1/runs/r1/stream',
      '/v1/Runs/r1/stream', '/v1/runs/r1/Stream',
      '/v2/runs/r1/stream', '/v1/%72uns/r1/stream', '/v1/runs/r1/%73tream', '/v1/runs/',
      '/v1%2fruns/r1/stream', '/v1/runs/r1/stream/', '/v1/runs/r1/stream//',
      '/v1/runs/r1/stream/x', '/v1/runs/r1/stream%2f', '/v1/runs/r1/streams', '/v1/run/r1/stream',
      '/v1/runs/r1/stream.json', '/v1/runs/r1/stream;x', '/v1/runs/r1/stream#x',
      '/v1/runs/r1/stream\n', '/v1/runs/r1/stream%00',
      '\\v1\\runs\\r1\\stream', '/x?/v1/runs/r1/stream', '?/v1/runs/r1/stream',
      'http:/v1/runs/r1/stream', 'ftp://evil.test/v1/runs/r1/stream', 'evil.test:443',
      'http://a/http://b/v1/runs/r1/stream', 'file:///v1/runs/r1/stream',
    ]) assert.equal(codeOf(parseRoute('GET', target)), 'NOT_FOUND', JSON.stringify(target));
  });

  it('may only be got', () => {
    for (const method of ['POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'TRACE', 'get', 'GET ', '']) {
      assert.deepEqual(parseRoute(method, '/v1/runs/r1/stream?a=1'), {
        kind: 'refused', refusal: refuse('METHOD_NOT_ALLOWED'), allow: 'GET',
      }, method);
    }
  });

  it('is not looked for long, however long the target', () => {
    const began = performance.now();
    for (const part of ['/stream', '/', '%', '%2e', 'a', '?', '//', '/v1/runs/']) {
      const target = `/v1/runs/${part.repeat(100_000)}/stream`;
      assert.notEqual(codeOf(parseRoute('GET', target)), 'stream', part);
    }
    assert.ok(performance.now() - began < 2_000);
  });

  it('never says back what was asked for', () => {
    for (const target of ['/v1/runs/<b>/stream', '/<b>', '/v1/runs/%3Cb%3E/stream']) {
      assert.doesNotMatch(JSON.stringify(parseRoute('GET', target)), /b>|%3Cb/, target);
    }
  });
});

describe('the health of the gateway', () => {
  it('is there with and without a query, and for HEAD', () => {
    for (const target of ['/healthz', '/healthz?', '/healthz?a=1', 'http://x/healthz']) {
      for (const method of ['GET', 'HEAD']) {
        assert.deepEqual(parseRoute(method, target), { kind: 'health' }, `${method} ${target}`);
      }
    }
  });

  it('has a port of its own where there is one, which has nothing else', () => {
    const offers = { publish: true, webhooks: true, page: true, forward: false, probes: false };
    for (const path of ['/livez', '/readyz', '/healthz', '/metrics?a']) {
      assert.equal(codeOf(parseRoute('GET', path, offers)), 'NOT_FOUND', path);
      assert.deepEqual(parseAdminRoute('GET', path), parseRoute('GET', path));
      assert.equal(codeOf(parseAdminRoute('PUT', path)), 'METHOD_NOT_ALLOWED');
    }
    for (const path of ['/', '/v1/runs/r1', '/v1/runs/r1/stream', '/doctor', '/metrics/']) {
      assert.equal(codeOf(parseAdminRoute('GET', path)), 'NOT_FOUND', path);
    }
  });

  it('is nowhere else, and takes no other method', () => {
    for (const target of ['/healthz/', '/Healthz', '//healthz', '/healthz/x', '/healthz%20']) {
      assert.equal(codeOf(parseRoute('GET', target)), 'NOT_FOUND', target);
    }
    for (const method of ['POST', 'PUT', 'DELETE', 'head']) {
      assert.deepEqual(parseRoute(method, '/healthz'), {
        kind: 'refused', refusal: refuse('METHOD_NOT_ALLOWED'), allow: 'GET, HEAD',
      }, method);
    }
  });
});
