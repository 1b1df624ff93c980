/** The routes of a run beside its stream: which there are, under which methods, and for whom. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { parseRoute } from '../../src/http/routes.ts';
import type { Route } from '../../src/http/routes.ts';

const ALL = { publish: true, webhooks: true, page: false, forward: false };

function what(method: string, target: string, offers?: typeof ALL): string {
  const route: Route = parseRoute(method, target, offers);
  if ('runId' in route) return `${route.kind} ${route.runId}`;
  if (route.kind !== 'refused') return route.kind;
  return `${route.refusal.code}${route.allow === undefined ? '' : ` ${route.allow}`}`;
}

describe('the routes of a run', () => {
  it('are told apart by path and method', () => {
    for (const [method, path, expected] of [
      ['GET', '/a', 'status a'], ['HEAD', '/%61', 'status a'], ['GET', '/wait', 'status wait'],
      ['GET', '/a/wait', 'wait a'], ['GET', '/wait/wait', 'wait wait'], ['PUT', '/a', 'publish a'],
      ['POST', '/a/poke', 'poke a'], ['GET', '/a?wait', 'status a'],
      ['GET', '/healthz', 'status healthz'],
      ['POST', '/a/ticket', 'ticket a'], ['GET', '/a/ticket', 'METHOD_NOT_ALLOWED POST'],
      ['POST', '/a', 'METHOD_NOT_ALLOWED GET, HEAD, PUT'],
      ['HEAD', '/a/wait', 'METHOD_NOT_ALLOWED GET'], ['GET', '/a/poke', 'METHOD_NOT_ALLOWED POST'],
      ['PUT', '/a/poke', 'METHOD_NOT_ALLOWED POST'],
    ] as const) assert.equal(what(method, `/v1/runs${path}`, ALL), expected, `${method} ${path}`);
  });

  it('are there only where they are offered', () => {
    assert.equal(what('PUT', '/v1/runs/a'), 'METHOD_NOT_ALLOWED GET, HEAD');
    assert.equal(what('POST', '/v1/webhooks/runs'), 'NOT_FOUND');
    assert.equal(what('POST', '/v1/webhooks/runs', ALL), 'webhook');
    assert.equal(what('GET', '/v1/webhooks/runs', ALL), 'METHOD_NOT_ALLOWED POST');
  });

  it('take ids as the stream does', () => {
    for (const id of ['a.b', '%2e%2e', 'a%2fb', 'a%2fstream', '%', 'a%00', 'a b']) {
      for (const [method, path] of [
        ['GET', ''], ['PUT', ''], ['GET', '/wait'], ['POST', '/poke'], ['POST', '/ticket'],
      ] as const) {
        assert.equal(what(method, `/v1/runs/${id}${path}`, ALL), 'VALIDATION_ERROR', id + path);
      }
    }
  });

  it('are found below a base path, whether or not somebody has taken it off', () => {
    const idAt = (target: string): unknown => {
      const route = parseRoute('GET', target, ALL, '/base');
      return 'runId' in route ? route.runId : route.kind;
    };
    assert.deepEqual([
      '/base/v1/runs/a', '/v1/runs/a', 'http://b/base/v1/runs/a', '/base/livez',
      '/base/base/v1/runs/a', '/basev1/runs/a', '/Base/v1/runs/a', '/base', '/base/',
    ].map(idAt), ['a', 'a', 'a', 'live', ...Array<string>(5).fill('refused')]);
  });

  it('are nowhere else', () => {
    for (const target of [
      '/v1/runs', '/v1/runs/', '/v1/runs//', '/v1/runs/a/', '/v1/runs/a/b', '/v1/runs/a/Wait',
      '/v1/runs/a/wait/', '/v1/runs/stream/', '/v1/webhooks', '/v1/webhooks/runs/', '/v1/Runs/a',
    ]) assert.equal(what('GET', target, ALL), 'NOT_FOUND', target);
  });
});

describe('a stream of several runs', () => {
  const read = (query: string): Route => parseRoute('GET', `/v1/runs/stream${query}`);
  const listOf = (count: number): string =>
    Array.from({ length: count }, (_, i) => `runId=run_${i}`).join('&');

  it('is of 1 to 50, in their order, each once', () => {
    for (const [query, ...expected] of [
      ['?runId=a', 'a'], ['?runId=b&runId=a', 'b', 'a'], ['?runId=a&x=1&runId=%62', 'a', 'b'],
      ['?runId=b&runId=a&runId=b', 'b', 'a'], ['?runId=stream', 'stream'],
    ] as const) {
      const route = read(query);
      assert.deepEqual(route.kind === 'streams' && route.runIds, expected, query);
    }
    assert.equal(read(`?${listOf(50)}&${listOf(50)}`).kind, 'streams');
    for (const query of ['', '?', '?runid=a', '?x=a', `?${listOf(51)}`]) {
      assert.equal(what('GET', `/v1/runs/stream${query}`), 'VALIDATION_ERROR', query);
    }
  });

  it('names every id that is none', () => {
    const route = read(`?runId=a&runId=b.c&runId=&runId=%22&runId=${'d'.repeat(129)}`);
    const { error } = route.kind === 'refused' ? route.refusal : assert.fail(route.kind);
    assert.match(error, / not "b\.c", "", "\\"", "d{64}"$/);
  });

  it('is asked for with GET', () => {
    for (const method of ['POST', 'HEAD', 'PUT']) {
      const expected = 'METHOD_NOT_ALLOWED GET';
      assert.equal(what(method, '/v1/runs/stream?runId=a', ALL), expected, method);
    }
  });
});

describe('a wait', () => {
  it('is of whole seconds from 1 to 120, and of 60 where nothing is said', () => {
    for (const [query, ms] of [
      ['', 60_000], ['?', 60_000], ['?timeout=1', 1_000], ['?timeout=120', 120_000],
      ['?a=1&timeout=%35', 5_000],
    ] as const) {
      const route = parseRoute('GET', `/v1/runs/a/wait${query}`);
      assert.deepEqual(route, { kind: 'wait', runId: 'a', timeoutMs: ms }, query);
    }
    for (const bad of [
      '', '0', '121', '999', '-1', '+1', '1.0', '1e2', '0x1', '01', ' 1', '1 ', '1s', 'NaN', '٣',
      '1&timeout=1',
    ]) assert.equal(what('GET', `/v1/runs/a/wait?timeout=${bad}`), 'VALIDATION_ERROR', bad);
  });
});
