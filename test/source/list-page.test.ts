import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { firstQuery, nextQuery, readPage } from '../../src/source/list-page.ts';
import { MAPPING } from '../support/fake-source.ts';

const read = (value: unknown, mapping = MAPPING): ReturnType<typeof readPage> =>
  readPage(Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)), mapping);
const RUN = { runId: 'a', status: 'running' };
const nextOf = (pagination: unknown): string | undefined => read({ data: [RUN], pagination })?.next;

describe('a page of the list', () => {
  it('shows runs with their status, and any change of what it says of one', () => {
    const page = read({ data: [RUN, { runId: 'b', status: 'failed', errorMessage: 'x' }] });
    assert.deepEqual(page?.summaries.map(({ runId, isOver }) => [runId, isOver]),
      [['a', false], ['b', true]]);
    const other = read({ data: [{ ...RUN, startedAt: 'now' }] });
    assert.notEqual(other?.summaries[0]?.digest, page?.summaries[0]?.digest);
    assert.equal(read([RUN])?.summaries.length, 1, 'a bare array');
  });

  it('reads a status that is in several members as an answer does', () => {
    const statusFields = ['status', 'conclusion'];
    const page = read([
      { runId: 'a', status: 'completed', conclusion: null },
      { runId: 'b', status: 'completed', conclusion: 'ok' },
    ], { statusFields, completeOn: ['ok'], errorOn: [] });
    assert.deepEqual(page?.summaries.map(({ status, isOver }) => [status, isOver]),
      [['completed', false], ['ok', true]]);
  });

  it('knows the next one by whatever the list goes by', () => {
    assert.equal(nextOf({ nextCursor: 'a b&c' }), 'cursor=a+b%26c');
    // Half of a pair of surrogates, which once ended the process.
    assert.equal(nextOf({ nextCursor: '\ud800' }), 'cursor=%EF%BF%BD');
    assert.equal(nextOf({ next_cursor: 'x' }), 'cursor=x');
    assert.equal(nextOf({ page: 1, totalPages: 2 }), 'page=2');
    assert.equal(nextOf({ page: 3, hasMore: true }), 'page=4');
    assert.equal(nextOf({ offset: 100, limit: 100, total: 201 }), 'offset=200');
    assert.equal(nextOf({ next: 'https://evil.test/v1/runs?limit=9&page=2' }), 'limit=9&page=2');
  });

  it('is asked for by a query that keeps what the one before had', () => {
    assert.equal(firstQuery(), 'limit=100');
    const running = firstQuery('in progress');
    assert.equal(running, 'status=in+progress&limit=100');
    assert.equal(nextQuery(running, 'cursor=a%20b%26c'),
      'status=in+progress&limit=100&cursor=a+b%26c');
    assert.equal(nextQuery('limit=100&page=2', 'page=3&limit=50'), 'limit=50&page=3');
  });

  it('is the last one where nothing says otherwise', () => {
    for (const pagination of [
      undefined, null, {}, { nextCursor: null }, { nextCursor: '' }, { page: 2, totalPages: 2 },
      { nextCursor: 'x', hasMore: false }, { offset: 0, limit: 0, total: 9 },
      { page: '1', pages: 9 }, { next: 'https://api.test/v1/runs' }, { next: 7 }, 'x', [],
    ]) assert.equal(nextOf(pagination), undefined, JSON.stringify(pagination));
    assert.equal(read({ data: [], pagination: { page: 1, totalPages: 9 } })?.next, undefined);
  });

  it('is whole or none where a summary is nested deeper than some Nodes can print', () => {
    const deep = `${'['.repeat(20_000)}${']'.repeat(20_000)}`;
    const page = read(`{"data":[{"runId":"a","status":"running","x":${deep}}]}`);
    // Before V8 of Node 26.12 printing it throws.
    assert.deepEqual((page?.summaries ?? [{ runId: 'a' }]).map(({ runId }) => runId), ['a']);
  });

  it('is none where the body is no list of runs', () => {
    for (const body of ['', '<html>', 'null', '7', '{}', '{"data":{}}', '{"data":[1]}',
      '{"data":[{"id":"a"}]}', '{"data":[{"runId":1,"status":"running"}]}']) {
      assert.equal(read(body), undefined, body);
    }
  });
});
