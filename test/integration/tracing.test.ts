/** What a request is known by, in upstream's log as in its own answer: request id and trace. */

import assert from 'node:assert/strict';
import type { OutgoingHttpHeaders } from 'node:http';
import { describe, it } from 'node:test';

import { KEY, STARTERS, useGateway } from '../support/gateway.ts';
import type { StartGateway } from '../support/gateway.ts';
import { delay, state } from '../support/upstream.ts';
import { until } from '../support/wait.ts';

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const PARENT = 'b7ad6b7169203331';
const TRACED = {
  'x-request-id': 'asked-1', 'traceparent': `00-${TRACE}-${PARENT}-01`, 'tracestate': 'vendor=a',
};
const NAMES = ['x-request-id', 'traceparent', 'tracestate'];

function tracingTests(start: StartGateway): void {
  const gateway = useGateway(start);

  /** Of each request for the run, in order of arrival. */
  const toldUpstream = (runId: string): (string | undefined)[][] =>
    gateway().upstream.requests.filter((request) => request.runId === runId)
      .map(({ headers }) => NAMES.map((name) => headers[name]?.toString()));

  for (const [what, path] of [
    ['stream', '/stream'], ['wait', '/wait?timeout=1'], ['look', ''],
  ] as const) {
    it(`is told to upstream with the proof for a ${what}`, async () => {
      const runId = `traced-${what}`;
      gateway().upstream.run(runId, state('completed'));
      const answer = await fetch(`${gateway().origin}/v1/runs/${runId}${path}`, {
        headers: { 'x-api-key': KEY, ...TRACED },
      });
      await answer.text();
      assert.equal(answer.headers.get('x-request-id'), 'asked-1');
      const [[id, traceparent = '', tracestate] = []] = toldUpstream(runId);
      assert.deepEqual([id, tracestate], ['asked-1', 'vendor=a']);
      assert.match(traceparent, new RegExp(`^00-${TRACE}-[0-9a-f]{16}-01$`));
      assert.ok(!traceparent.includes(PARENT), 'our request is a part of the trace by itself');
    });
  }

  it('is told for each run of a stream of several', async () => {
    const { origin, upstream } = gateway();
    for (const runId of ['m1', 'm2']) upstream.run(runId, state('completed'));
    await (await fetch(`${origin}/v1/runs/stream?runId=m1&runId=m2`, {
      headers: { 'x-api-key': KEY, ...TRACED },
    })).text();
    for (const runId of ['m1', 'm2']) assert.equal(toldUpstream(runId)[0]?.[0], 'asked-1');
  });

  it('is no poll\'s: that is for all who watch', async () => {
    gateway().upstream.run('polled', state('running'));
    const stream = await gateway().join('polled', { headers: TRACED });
    await until('three requests', () => toldUpstream('polled').length >= 3);
    stream.destroy();
    const [proof, ...polls] = toldUpstream('polled');
    assert.equal(proof?.[0], 'asked-1');
    assert.deepEqual(polls[0], [undefined, undefined, undefined]);
    assert.deepEqual(polls[1], [undefined, undefined, undefined]);
  });

  it('is the first one\'s where several wait for one answer', async () => {
    gateway().upstream.run('shared', delay(100, state('completed')));
    const ask = (headers: OutgoingHttpHeaders): Promise<unknown> =>
      gateway().ask('shared', { headers });
    const first = ask({ 'x-request-id': 'first' });
    await until('the proof', () => toldUpstream('shared').length === 1);
    await Promise.all([first, ask({ 'x-request-id': 'second' })]);
    assert.deepEqual(toldUpstream('shared').map(([id]) => id), ['first']);
  });

  it('has an id of ours where the client has none, and no trace of what is none', async () => {
    gateway().upstream.run('odd', state('completed'));
    const answer = await gateway().ask('odd', {
      headers: { 'x-request-id': 'a b', 'traceparent': '00-0-0-00', 'tracestate': 'vendor=a' },
    });
    const id = answer.headers['x-request-id'];
    assert.match(String(id), /^[0-9a-f-]{36}$/);
    assert.deepEqual(toldUpstream('odd'), [[id, undefined, undefined]]);
  });
}

for (const [name, start] of STARTERS) describe(`tracing, ${name}`, () => tracingTests(start));
