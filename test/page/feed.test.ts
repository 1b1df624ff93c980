/** A feed over a real connection: where it goes on from, and what ends it. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';

import { Feed } from '../../src/page/feed.ts';
import type { FeedListener, Why } from '../../src/page/feed.ts';
import { event, refusal, scripted, stall } from '../support/scripted-sse.ts';
import type { Reply, Scripted } from '../support/scripted-sse.ts';
import { until } from '../support/wait.ts';

const running = (runId: string, id: string): string =>
  event('progress', id, { runId, status: 'running' });
const complete = (runId: string, id: string): string =>
  event('complete', id, { runId, status: 'completed' });

interface Lab {
  readonly feed: Feed;
  readonly server: Scripted;
  /** What was told, a word or two each. */
  readonly told: string[];
  readonly failed: Why[];
}

async function lab(
  t: TestContext, replies: readonly Reply[], onEvent?: FeedListener['onEvent'],
): Promise<Lab> {
  const server = await scripted(t, ...replies);
  const told: string[] = [];
  const failed: Why[] = [];
  const feed = new Feed(new URL(server.origin), 'lma_a', {
    onEvent: onEvent ?? (({ type, runId, id }) => void told.push(`${type} ${runId} ${id}`)),
    onFailed: (runIds, why) => void (told.push(`failed ${runIds.join()}`), failed.push(why)),
    onOpen: () => undefined, onReconnect: () => undefined, onPing: () => undefined,
    onState: () => undefined,
  });
  t.after(() => feed.rest(true));
  return { feed, server, told, failed };
}

/** Of each request: its runs, and where it goes on from. */
const asked = ({ asked: requests }: Scripted): string[] => requests.map(({ url = '', headers }) => {
  const runIds = new URL(url, 'http://a').searchParams.getAll('runId');
  return `${runIds.join()} ${headers['last-event-id'] ?? '-'}`;
});

describe('a feed', () => {
  it('goes on with each run from where that one stands', async (t) => {
    const { feed, server, told } = await lab(t, [
      stall(running('a', 'a1')),
      stall(running('b', 'a1.b1') + running('a', 'a2.b1')),
      stall(complete('a', 'a3.b1.none') + running('c', 'a3.b1.c1')),
      stall(event('ping', 'b1', 1)),
    ]);
    for (const runId of ['a', 'b', 'c']) {
      feed.add(runId);
      await until(`the last of ${runId}`, () =>
        told.length === { a: 1, b: 3, c: 5 }[runId] && feed.state.kind === 'live');
    }
    assert.deepEqual(told, ['progress a a1', 'progress b b1', 'progress a a2', 'complete a a3',
      'progress c c1'], 'each with an id of its own');
    feed.add('b');
    feed.remove('a');
    assert.equal(server.asked.length, 3, 'nothing is new');
    feed.remove('c');
    await until('one more', () => server.asked.length === 4);
    assert.deepEqual(asked(server), ['a -', 'a,b a1.none', 'a,b,c a2.b1.none', 'b b1']);
    await until('one connection', () => server.open() === 1);
    feed.remove('b');
    assert.equal(feed.state.kind, 'idle');
    await until('no connection', () => server.open() === 0);
  });

  it('rests without a connection, and comes back to where it was', async (t) => {
    const { feed, server, told } = await lab(t, [stall(running('a', 'a1'))]);
    feed.add('a');
    await until('its state', () => told.length === 1);
    feed.rest(true);
    assert.equal(feed.state.kind, 'resting');
    await until('no connection', () => server.open() === 0);
    feed.rest(false);
    await until('one again', () => server.open() === 1);
    assert.deepEqual(asked(server), ['a -', 'a a1']);
  });

  it('that is refused says so of all its runs, and follows others', async (t) => {
    const no = { error: 'No such key', code: 'AUTH_INVALID_KEY', retryable: false };
    const { feed, server, told, failed } = await lab(t, [
      refusal(401, no), stall(running('b', 'b1')),
    ]);
    feed.add('a');
    await until('the refusal', () => feed.state.kind === 'refused');
    assert.deepEqual(failed.map(({ code }) => code), ['AUTH_INVALID_KEY']);
    feed.add('b');
    await until('the other one', () => feed.state.kind === 'live' && told.length === 2);
    assert.deepEqual(asked(server), ['a -', 'b -']);
  });

  it('says so where what is told of an event throws, instead of standing still', async (t) => {
    const bytes = complete('a', 'a1.none') + running('b', 'a1.b1');
    const { feed, server, told, failed } = await lab(t, [stall(''), stall(bytes)], ({ runId }) => {
      if (runId === 'b') throw new TypeError('no text');
    });
    feed.add('a');
    await until('the first', () => server.asked.length === 1);
    feed.add('b');
    await until('its end', () => feed.state.kind === 'failed');
    assert.deepEqual(told, ['failed b'], 'the other one is over');
    assert.match(failed[0]?.errorMessage ?? '', /mistake: no text$/);
    await until('no connection', () => server.open() === 0);
  });
});
