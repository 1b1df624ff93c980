/** `watchRuns`: whose each event is, whatever the states of the runs say of themselves. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { watchRuns } from '../../src/client/index.ts';
import type { Reconnect, RunEvent } from '../../src/client/index.ts';
import { whoseState } from '../../src/client/states.ts';
import { gatewayFor, startGateway } from '../support/gateway.ts';
import { cut, event, scripted, stream } from '../support/scripted-sse.ts';
import { raw, state } from '../support/upstream.ts';
import { until, within } from '../support/wait.ts';
import { all } from '../support/watching.ts';

const KEY = 'lma_a';
const LOSS = {
  runId: 'b', errorMessage: 'gone', error: 'gone', code: 'NOT_FOUND', retryable: false,
  requestId: 'q1',
};

describe('several runs', () => {
  const a = (type: string, status: string, id: string): string =>
    event(type, id, { runId: 'a', status }, 1);
  const b = (type: string, status: string, id: string): string =>
    event(type, id, { runId: 'b', status });

  it('are told apart on one connection, and the watch ends with the last of them', async (t) => {
    const { origin, asked } = await scripted(
      t,
      cut(a('progress', 'running', '1.-') + b('error', 'failed', '1.7')),
      stream(b('error', 'failed', '1.7') + a('complete', 'completed', '2.7')),
    );
    const events = await all(watchRuns(`${origin}/`, ['a', 'b', 'a'], { apiKey: KEY }));
    assert.deepEqual(events.map(({ runId, type }) => `${runId} ${type}`), [
      'a progress', 'b error', 'a complete',
    ]);
    const path = '/v1/runs/stream?runId=a&runId=b';
    assert.deepEqual(asked.map((each) => each.url), [path, path]);
    assert.equal(asked[1]?.headers['last-event-id'], '1.7');
  });

  it('end with the last of those that were not over where the watch is resumed', async (t) => {
    const gateway = await gatewayFor(t, startGateway);
    gateway.upstream.run('b', state('completed'));
    gateway.upstream.run('a', state('running'));
    const first = watchRuns(gateway.origin, ['a', 'b'], { apiKey: KEY });
    const seen = [await first.next(), await first.next()];
    void first.return();
    const lastEventId = seen[1]?.value?.id ?? '';
    for (const known of [lastEventId, '']) {
      const onReconnect = ({ detail }: Reconnect): void => assert.fail(detail);
      const options = { apiKey: KEY, lastEventId: known, onReconnect };
      const rest = all(watchRuns(gateway.origin, ['a', 'b'], options));
      gateway.upstream.run('a', state('completed'));
      const told = (await rest).map(({ runId }) => runId);
      assert.deepEqual(told.sort(), known === '' ? ['a', 'b'] : ['a']);
    }
  });

  it('go on behind a cut in the last event, even where its retry has come', async (t) => {
    const last = event('complete', '2.7', { runId: 'a', status: 'completed' });
    const whole = `${b('error', 'failed', '1.7')}${last.trimEnd()}\nretry: 86400000\n`;
    const { origin } = await scripted(t, stream(whole), stream(last));
    const events = await all(watchRuns(origin, ['a', 'b'], { apiKey: KEY }));
    assert.deepEqual(events.map(({ runId, type }) => `${runId} ${type}`), [
      'b error', 'a complete',
    ]);
  });

  it('do not end with the access to one of them', async (t) => {
    const { origin } = await scripted(
      t, stream(event('error', '-.-', LOSS) + a('complete', 'completed', '2.-')),
    );
    const events = await all(watchRuns(origin, ['a', 'b'], { apiKey: KEY }));
    assert.deepEqual(events.map(({ runId, type }) => `${runId} ${type}`), ['b lost', 'a complete']);
  });

  it('need not say which they are: their places in the id do', async (t) => {
    const nameless = (type: string, id: string, n: number): string =>
      event(type, id, { id: 'other', n }, 1);
    const { origin, asked } = await scripted(
      t,
      cut(nameless('progress', 'none.1', 1) + nameless('progress', '2.1', 2)),
      stream(nameless('error', '2.3', 3) + nameless('complete', '4.3', 4)),
    );
    const events = await all(watchRuns(origin, ['a', 'b'], { apiKey: KEY }));
    assert.deepEqual(events.map(({ runId, type }) => `${runId} ${type}`), [
      'b progress', 'a progress', 'b error', 'a complete',
    ]);
    assert.equal(asked[1]?.headers['last-event-id'], '2.1');
  });

  it('are one where one was asked for, whatever it calls itself', async (t) => {
    const { origin } = await scripted(t, stream(event('complete', '1', { runId: 'x' })));
    const [only] = await all(watchRuns(origin, ['a'], { apiKey: KEY }));
    assert.equal(only?.runId, 'a');
  });

  it('of an API that puts no runId into them are told apart over a gateway', async (t) => {
    const gateway = await gatewayFor(t, startGateway, {
      upstreamPath: '/jobs/{runId}', statusField: 'state', completeOn: ['done'],
    });
    const show = (runId: string, state: string): void =>
      gateway.upstream.run(`/jobs/${runId}`, raw(JSON.stringify({ job: `/${runId}`, state })));
    for (const runId of ['a', 'b', 'c']) show(runId, 'busy');
    const seen: RunEvent[] = [];
    const watching = (async () => {
      for await (const each of watchRuns(gateway.origin, ['a', 'b', 'c'], { apiKey: KEY })) {
        assert.ok('data' in each);
        assert.equal(each.data['job'], `/${each.runId}`);
        seen.push(each);
      }
    })();
    await until('a state of each', () => seen.length === 3);
    for (const [runId, state] of [['b', 'failed'], ['a', 'done'], ['c', 'done']] as const) {
      const before = seen.length;
      show(runId, state);
      await until(`the end of ${runId}`, () => seen.length > before);
      assert.equal(seen.at(-1)?.runId, runId);
    }
    await within(20_000, 'the end of the watch', watching);
    assert.deepEqual(seen.slice(3).map(({ type }) => type), ['error', 'complete', 'complete']);
  });
});

describe('whose a state is', () => {
  const runIds = ['a', 'b', 'c'];

  it('is told by the one place that has changed, before what it calls itself', () => {
    assert.equal(whoseState(runIds, '1.2.3', '1.4.3', 'a'), 'b');
    assert.equal(whoseState(runIds, '', 'none.none.3', undefined), 'c');
    // The gateway did not get the id that we sent.
    assert.equal(whoseState(runIds, '1.2.3', 'none.4.none', undefined), 'b');
    assert.equal(whoseState(runIds, '1.2.3', '1.refused.3', undefined), 'b');
  });

  it('is what it calls itself where the id tells nothing, if that was asked for', () => {
    for (const [before, now] of [['1.2.3', '1.2.3'], ['', '1.2.3'], ['1.2.3', ''], ['x', 'y']]) {
      assert.equal(whoseState(runIds, before ?? '', now ?? '', 'c'), 'c');
      assert.equal(whoseState(runIds, before ?? '', now ?? '', 'd'), undefined);
      assert.equal(whoseState(runIds, before ?? '', now ?? '', 7), undefined);
    }
  });
});
