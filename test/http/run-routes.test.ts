/** The routes of a run beside its stream: which there are, under which methods, and for whom. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { parseRoute } from '../../src/http/routes.ts';
import type { Route } from '../../src/http/routes.ts';

const ALL = { publish: true, webhooks: true, forward: false };

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
        ['GET', ''], ['PUT', ''], ['GET', '/wait'], ['POST', '/poke'],
      ] as const) {
        assert.equal(what(method, `/v1/runs/${id}${path}`, ALL), 'VALIDATION_ERROR', id + path);
      }
    }
  });

  it('are nowhere else', () => {
    for (const target of [
      '/v1/runs', '/v1/runs/', '/v1/runs//', '/v1/runs/a/', '/v1/runs/a/b', '/v1/runs/a/Wait',
      '/v1/runs/a/wait/', '/v1/runs/stream', '/v1/webhooks', '/v1/webhooks/runs/', '/v1/Runs/a',
    ]) assert.equal(what('GET', target, ALL), 'NOT_FOUND', target);
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
