/** Whose time counts: what a caller takes between two events is not the gateway's silence. */

import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { describe, it } from 'node:test';
import type { WatchOptions } from '../../src/client/index.ts';
import { Watch } from '../../src/client/watch.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { cut, event, refusal, scripted, stall, stream } from '../support/scripted-sse.ts';
import { within } from '../support/wait.ts';

const MS = 30_000;
const QUEUED = event('progress', 'i1', { runId: 'r', status: 'queued' }, 1);
const COMPLETE = event('complete', 'i2', { runId: 'r', status: 'completed' });

/** Its pauses between two connections are over at once; no other time passes by itself. */
function watchWith(clock: FakeClock, url: string, options: WatchOptions) {
  const onReconnect = ({ delayMs }: { delayMs: number }): void =>
    void setImmediate(() => clock.advance(delayMs));
  return new Watch(new URL(url), ['r'], { onReconnect, ...options }, clock, () => 0).events();
}

describe('a caller that takes a minute', () => {
  it('is not taken for a connection that is dead', async (t) => {
    let response: ServerResponse | undefined;
    const { url, asked } = await scripted(t, (each, request) => {
      response = each;
      stall(QUEUED)(each, request);
    });
    const clock = new FakeClock();
    const events = watchWith(clock, url, { idleTimeoutMs: 45_000 });
    assert.equal((await within(MS, 'the first state', events.next())).value?.type, 'progress');
    clock.advance(60_000);
    response?.end(COMPLETE);
    assert.equal((await within(MS, 'the end', events.next())).value?.type, 'complete');
    assert.equal(asked.length, 1);
  });

  it('before its first event, or after one, has not used up giveUpAfterMs', async (t) => {
    const { url } = await scripted(t, refusal(503, 'busy'), cut(QUEUED), stream(COMPLETE));
    const clock = new FakeClock();
    const events = watchWith(clock, url, { giveUpAfterMs: 10_000 });
    for (const type of ['progress', 'complete']) {
      clock.advance(60_000);
      assert.equal((await within(MS, type, events.next())).value?.type, type);
    }
  });

  it('gives up all the same when nothing is heard while it waits', async (t) => {
    const { url, asked } = await scripted(t, refusal(503, 'busy'));
    const events = watchWith(new FakeClock(), url, { giveUpAfterMs: 1_000 });
    await assert.rejects(within(MS, 'the end', events.next()), { code: 'GAVE_UP', status: 503 });
    assert.ok(asked.length > 1);
  });
});
