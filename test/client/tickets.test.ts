/** `watchRun` with a ticket in place of a key. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { watchRun, watchRuns } from '../../src/client/index.ts';
import type { Reconnect } from '../../src/client/index.ts';
import { Watch } from '../../src/client/watch.ts';
import { systemClock } from '../../src/core/clock.ts';
import { cut, event, scripted, stream } from '../support/scripted-sse.ts';
import { all } from '../support/watching.ts';

const QUEUED = event('progress', 'i1', { runId: 'r', status: 'queued' }, 1);
const COMPLETE = event('complete', 'i2', { runId: 'r', status: 'completed' }, 86_400_000);

describe('a ticket', () => {
  it('is asked for at every connection and goes with the id into the URL', async (t) => {
    let n = 0;
    const { url, asked } = await scripted(t, cut(QUEUED), stream(COMPLETE));
    const ticket = (): Promise<string> => Promise.resolve(`t${++n}`);
    await all(watchRun(url, { ticket }));
    const urls = asked.map((each) => each.url);
    assert.deepEqual(urls, [
      '/v1/runs/r/stream?ticket=t1', '/v1/runs/r/stream?ticket=t2&lastEventId=i1',
    ]);
    assert.equal(asked[1]?.headers['last-event-id'], undefined);
  });

  it('of a run that is named twice goes along once, in step with its run', async (t) => {
    const last = event('complete', '1.-', { runId: 'q', status: 'completed' })
      + event('complete', '1.2', { runId: 'r', status: 'completed' });
    const named = ['q', 'r', 'q'];
    const list = ['tq', 'tr', 'tq'];
    for (const ticket of [list, () => list, () => Promise.resolve(list), ['tq', 'tr']]) {
      const { origin, asked } = await scripted(t, stream(last));
      await all(watchRuns(origin, named, { ticket }));
      assert.equal(asked[0]?.url, '/v1/runs/stream?runId=q&runId=r&ticket=tq&ticket=tr');
    }
  });

  it('that cannot be had is asked for again, and nothing of why is shown', async (t) => {
    const { url, asked } = await scripted(t, stream(COMPLETE));
    const failures = [
      (): never => {
        throw new TypeError('fetch https://u:hush@a.test/');
      },
      () => Promise.reject(new Error('hush')),
      () => 't3',
    ];
    const reconnects: Reconnect[] = [];
    const onReconnect = (each: Reconnect): void => void reconnects.push(each);
    const ticket = (): string | Promise<string> => failures.shift()?.() ?? 't4';
    const options = { ticket, onReconnect };
    const watch = new Watch(new URL(url), ['r'], options, systemClock, () => 0);
    const events = await all(watch.events());
    assert.deepEqual(events.map(({ type }) => type), ['complete']);
    assert.deepEqual(reconnects.map(({ reason, detail }) => [reason, detail]), [
      ['unreachable', 'no ticket'], ['unreachable', 'no ticket'],
    ]);
    assert.deepEqual(asked.map((each) => each.url), ['/v1/runs/r/stream?ticket=t3']);
  });

  it('that never comes is given up like a silent stream, and by whoever aborts', async () => {
    const nowhere = 'http://127.0.0.1:1/v1/runs/r/stream';
    const ticket = (): Promise<string> => new Promise(() => undefined);
    const giving = all(watchRun(nowhere, { ticket, idleTimeoutMs: 20, giveUpAfterMs: 10 }));
    await assert.rejects(giving, { code: 'GAVE_UP' });
    const abort = new AbortController();
    const watching = all(watchRun(nowhere, { ticket, signal: abort.signal }));
    setImmediate(() => abort.abort());
    assert.deepEqual(await watching, []);
  });
});
