/**
 * `watchRun` over servers that do to it what networks, proxies and gateways do: cuts anywhere,
 * silence, refusals that pass and refusals that do not, and the end of a run told in any of them.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { WatchError, watchRun } from '../../src/client/index.ts';
import type { Opened, Reconnect, RunEvent, WatchOptions } from '../../src/client/index.ts';
import { Watch } from '../../src/client/watch.ts';
import { systemClock } from '../../src/core/clock.ts';
import { freePort } from '../support/ports.ts';
import {
  STREAM, cut, event, refusal, reset, scripted, stall, stream,
} from '../support/scripted-sse.ts';
import type { Reply } from '../support/scripted-sse.ts';
import { until } from '../support/wait.ts';
import { all } from '../support/watching.ts';

const KEY = 'lma_a';
const of = (status: string, over: object = {}): object => ({ runId: 'r', status, ...over });
/** `retry: 1` is as soon as may be, so that nobody waits for long. */
const QUEUED = event('progress', 'i1', of('queued'), 1);
const RUNNING = event('progress', 'i2', of('running', { note: 'naïve ☕ 𝄞' }));
const COMPLETE = event('complete', 'i3', of('completed', { n: 1 }), 86_400_000);
const FAILED = event('error', 'i4', of('failed', { errorMessage: 'no' }), 86_400_000);
const PING = event('ping', 'i1', '1795425715');
const TIMEOUT = event('timeout', 'i1', { message: 'Stream timeout after 10 minutes' });
const LOSS = {
  runId: 'r', errorMessage: 'gone', error: 'gone', code: 'NOT_FOUND', retryable: false,
  requestId: 'q1',
};

interface Watched {
  readonly events: RunEvent[];
  readonly reconnects: Reconnect[];
}

async function watched(url: string, options: WatchOptions = {}): Promise<Watched> {
  const reconnects: Reconnect[] = [];
  const onReconnect = (each: Reconnect): void => void reconnects.push(each);
  const events = await all(watchRun(url, { apiKey: KEY, onReconnect, ...options }));
  return { events, reconnects };
}

const names = (events: readonly RunEvent[]): string[] =>
  events.map((each) => ('data' in each ? `${each.type} ${each.data.status}` : each.type));

async function thrown(url: string, options: WatchOptions = {}): Promise<WatchError> {
  return watched(url, options).then(
    ({ events }) => assert.fail(`not thrown: ${names(events).join()}`),
    (error: unknown) => {
      assert.ok(error instanceof WatchError, String(error));
      return error;
    },
  );
}

/** What a gateway does: whoever has a state already gets a ping in its place. */
const resuming = (first: Reply): Reply[] => {
  const states = [['i1', QUEUED], ['i2', RUNNING], ['i3', COMPLETE]] as const;
  return [first, (response, request) => {
    const { 'last-event-id': lastEventId } = request.headers;
    const known = states.findIndex(([id]) => id === lastEventId);
    stream(PING + states.slice(known + 1).map(([, bytes]) => bytes).join(''))(response, request);
  }];
};

describe('a watch', () => {
  it('tells each state once, as an object and as it came, and ends by itself', async (t) => {
    const { url, asked } = await scripted(t, stream(QUEUED + PING + RUNNING + COMPLETE));
    const { events, reconnects } = await watched(url);
    assert.deepEqual(names(events), ['progress queued', 'progress running', 'complete completed']);
    const last = events.at(-1);
    assert.ok(last?.type === 'complete');
    assert.equal(last.json, '{"runId":"r","status":"completed","n":1}');
    assert.equal(last.id, 'i3');
    assert.equal(last.runId, 'r');
    assert.deepEqual(reconnects, []);
    assert.equal(asked.length, 1);
    assert.equal(asked[0]?.headers['x-api-key'], KEY);
    assert.equal(asked[0]?.headers.accept, 'text/event-stream');
  });

  const whole = Buffer.from(QUEUED + RUNNING + COMPLETE);
  it('loses, repeats and half shows nothing, wherever the stream is cut', async (t) => {
    // Several at once: each is a server of its own, and two connections.
    const positions = Array.from({ length: whole.length }, (_, i) => i);
    const next = async (): Promise<void> => {
      for (let at = positions.pop(); at !== undefined; at = positions.pop()) {
        const { url, asked } = await scripted(t, ...resuming(cut(whole.subarray(0, at))));
        // What is cut before its first `retry` would otherwise wait as long as it may.
        const { events } = await watched(url).catch((error: unknown) =>
          assert.fail(`cut at ${at}: ${String(error)}`));
        assert.deepEqual(
          names(events), ['progress queued', 'progress running', 'complete completed'],
          `cut at ${at}`,
        );
        assert.equal(asked.length, 2, `cut at ${at}`);
      }
    };
    await Promise.all(Array.from({ length: 64 }, next));
  });

  it('comes back with the id of the last whole event', async (t) => {
    const half = RUNNING.slice(0, -1);
    const { url, asked } = await scripted(t, cut(QUEUED + half), stream(COMPLETE));
    const { reconnects } = await watched(url);
    assert.equal(asked[0]?.headers['last-event-id'], undefined);
    assert.equal(asked[1]?.headers['last-event-id'], 'i1');
    assert.equal(reconnects[0]?.reason, 'broken');
    assert.equal(reconnects[0]?.lastEventId, 'i1');
    assert.equal(reconnects[0]?.delayMs, 250);
  });

  it('comes back without an id that no header can carry, and with it in a URL', async (t) => {
    for (const id of ['ид', 'a\u0001b', 'a\u00e9']) {
      const queued = event('progress', id, of('queued'), 1);
      const byKey = await scripted(t, cut(queued), stream(queued + COMPLETE));
      const opened: string[] = [];
      const onOpen = ({ lastEventId }: Opened): void => void opened.push(lastEventId);
      const { events } = await watched(byKey.url, { onOpen });
      assert.deepEqual(names(events), ['progress queued', 'complete completed']);
      assert.equal(byKey.asked[1]?.headers['last-event-id'], undefined);
      assert.deepEqual(opened, ['', '']);
      const byTicket = await scripted(t, cut(queued), stream(COMPLETE));
      await all(watchRun(byTicket.url, { ticket: 't' }));
      const { searchParams } = new URL(byTicket.asked[1]?.url ?? '', byTicket.url);
      assert.equal(searchParams.get('lastEventId'), id);
    }
  });

  it('takes a stream that is cut in an event for broken, whatever fetch makes of it', async (t) => {
    const closing: Reply = (response) => {
      response.writeHead(200, { ...STREAM, connection: 'close' });
      response.write(QUEUED + RUNNING.slice(0, -1), () => response.socket?.destroySoon());
    };
    const { url } = await scripted(t, closing, stream(COMPLETE));
    const { reconnects } = await watched(url);
    assert.equal(reconnects[0]?.reason, 'broken');
  });

  it('tells no state twice, even where ids are not understood', async (t) => {
    const { url } = await scripted(t, stream(QUEUED + RUNNING), stream(RUNNING + COMPLETE));
    const { events, reconnects } = await watched(url);
    assert.deepEqual(names(events), ['progress queued', 'progress running', 'complete completed']);
    assert.equal(reconnects[0]?.reason, 'ended');
  });

  it('ends without an event where there is nothing that its caller has not seen', async (t) => {
    const { url, asked } = await scripted(t, refusal(204, ''));
    assert.deepEqual((await watched(url, { lastEventId: 'i3' })).events, []);
    assert.equal(asked[0]?.headers['last-event-id'], 'i3');
  });

  it('tells a run that failed from access that was lost', async (t) => {
    const failed = await scripted(t, stream(QUEUED + FAILED));
    const lost = await scripted(t, stream(QUEUED + event('error', 'i1', LOSS)));
    const [, one] = (await watched(failed.url)).events;
    const [, other] = (await watched(lost.url)).events;
    assert.ok(one?.type === 'error');
    assert.equal(one.data.errorMessage, 'no');
    assert.deepEqual(other, {
      type: 'lost', runId: 'r', id: 'i1', code: 'NOT_FOUND', errorMessage: 'gone', requestId: 'q1',
    });
  });

  it('takes no failed run for lost access, whatever its state has beside its status', async (t) => {
    const oom = { runId: 'r', code: 'OOM', errorMessage: 'no memory', requestId: 'q1' };
    const states = [
      { ...oom, state: 'failed' }, oom, { ...LOSS, state: 'failed' }, { ...LOSS, error: 'other' },
    ];
    for (const data of states) {
      const { url } = await scripted(t, stream(event('error', 'i1', data)));
      const { events } = await watched(url);
      assert.deepEqual(events.map((each) => 'data' in each && each.data), [data]);
    }
  });

  it('goes on at once after a timeout', async (t) => {
    const late = event('progress', 'i1', of('queued'), 60_000);
    const { url } = await scripted(t, stream(late + TIMEOUT), stream(COMPLETE));
    const { reconnects } = await watched(url);
    assert.equal(reconnects[0]?.reason, 'timeout');
    assert.ok(Number(reconnects[0]?.delayMs) <= 1_000);
  });

  it('takes a stream without a byte for dead', async (t) => {
    const { url, open } = await scripted(t, stall(QUEUED), stream(COMPLETE));
    const { events, reconnects } = await watched(url, { idleTimeoutMs: 150 });
    assert.deepEqual(names(events), ['progress queued', 'complete completed']);
    assert.equal(reconnects[0]?.reason, 'silent');
    await until('the dead one is closed', () => open() === 0);
  });

  it('comes back after an event that is no JSON, and does not show it', async (t) => {
    const bad = event('progress', 'x', '{');
    const { url } = await scripted(t, stream(QUEUED + bad), stream(COMPLETE));
    const { events, reconnects } = await watched(url);
    assert.deepEqual(names(events), ['progress queued', 'complete completed']);
    assert.equal(reconnects[0]?.lastEventId, 'i1');
  });
});

describe('a refusal', () => {
  const body = { error: 'The API key is not valid', code: 'AUTH_INVALID_KEY', requestId: 'q7' };

  it('that does not pass is thrown with its code, status and request id', async (t) => {
    for (const status of [400, 401, 403, 404, 405]) {
      const { url, asked } = await scripted(t, refusal(status, body));
      const error = await thrown(url);
      assert.equal(error.code, 'AUTH_INVALID_KEY');
      assert.equal(error.status, status);
      assert.equal(error.requestId, 'q7');
      assert.equal(error.message, body.error);
      assert.equal(asked.length, 1);
    }
  });

  it('in the gateway’s words once there was a stream is access that was lost', async (t) => {
    const { url } = await scripted(t, cut(QUEUED), refusal(401, body));
    const { events } = await watched(url);
    assert.deepEqual(names(events), ['progress queued', 'lost']);
  });

  it('in a proxy’s words once there was a stream passes', async (t) => {
    const proxy = refusal(404, 'default backend - 404');
    const { url } = await scripted(t, cut(QUEUED), proxy, stream(COMPLETE));
    const { events, reconnects } = await watched(url);
    assert.deepEqual(names(events), ['progress queued', 'complete completed']);
    assert.equal(reconnects[1]?.reason, 'refused');
    assert.equal(reconnects[1]?.status, 404);
  });

  it('that passes is tried again when Retry-After says so', async (t) => {
    const { url } = await scripted(
      t, refusal(503, 'busy', { 'retry-after': '1' }), stream(COMPLETE),
    );
    const { events, reconnects } = await watched(url);
    assert.deepEqual(names(events), ['complete completed']);
    const [{ reason, status, delayMs = 0 } = {}] = reconnects;
    assert.deepEqual([reason, status], ['refused', 503]);
    assert.ok(delayMs >= 1_000 && delayMs <= 1_100, String(delayMs));
  });

  it('told as a stream of one ping is no sign of life, and comes back as it says', async (t) => {
    const headers = { 'x-runcast-refused': '503 RESOURCE_UNAVAILABLE' };
    const ping = event('ping', '-', '1795425715', 300);
    const { url } = await scripted(t, stream(ping, headers), stream(COMPLETE));
    const { reconnects } = await watched(url, { onPing: () => assert.fail('no sign of life') });
    assert.equal(reconnects.length, 1);
    assert.deepEqual(reconnects[0], {
      reason: 'refused', detail: '503 RESOURCE_UNAVAILABLE', status: 503, failures: 1,
      delayMs: 300, lastEventId: '',
    });
  });

  it('told as a stream that says to come back in a day is tried again soon', async (t) => {
    const headers = { 'x-runcast-refused': '503 RESOURCE_UNAVAILABLE' };
    const ping = event('ping', '-', '1795425715', 86_400_000);
    const { url } = await scripted(t, stream(ping, headers), stream(COMPLETE));
    const { reconnects } = await watched(url);
    assert.ok(Number(reconnects[0]?.delayMs) <= 2_000, String(reconnects[0]?.delayMs));
  });

  it('is anything that is no stream, and a redirect, which would get the key', async (t) => {
    const html = await scripted(t, refusal(200, '<p>', { 'content-type': 'text/html' }));
    assert.equal((await thrown(html.url)).code, 'NOT_A_STREAM');
    const other = await scripted(t, stream(COMPLETE));
    const moved = await scripted(t, refusal(302, '', { location: other.url }));
    assert.equal((await thrown(moved.url)).code, 'REDIRECTED');
    assert.equal(other.asked.length, 0);
  });

  it('of a URL or key that is none is at once and repeats neither', async () => {
    for (const url of ['ftp://u:hush@h/x', 'http://u:hush@h/x?ticket=t', 'https://hush@h/x']) {
      assert.throws(() => watchRun(url), (error: unknown) =>
        error instanceof WatchError && error.code === 'VALIDATION_ERROR'
        && !/hush|ticket/.test(error.message));
    }
    const { message } = await thrown('http://127.0.0.1:1/v1/runs/r/stream', { apiKey: 'lma_a\n' });
    assert.doesNotMatch(message, /lma_/);
  });

  it('is nobody there, with its reason, until the caller’s patience is over', async (t) => {
    const { url } = await scripted(t, reset);
    const nowhere = `http://127.0.0.1:${await freePort()}/v1/runs/r/stream`;
    const ways = [[url, /ECONNRESET|closed/], [nowhere, /ECONNREFUSED/]] as const;
    for (const [where, detail] of ways) {
      const reconnects: Reconnect[] = [];
      const onReconnect = (each: Reconnect): void => void reconnects.push(each);
      const options = { giveUpAfterMs: 600, onReconnect };
      const watch = new Watch(new URL(where), ['r'], options, systemClock, () => 0);
      await assert.rejects(all(watch.events()), { code: 'GAVE_UP', message: detail });
      assert.ok(reconnects.length > 0);
      for (const each of reconnects) {
        assert.equal(each.reason, 'unreachable');
        assert.match(each.detail, detail);
      }
    }
  });
});

describe('who wants no more', () => {
  const opened = async (t: TestContext, ...replies: Reply[]) => {
    const abort = new AbortController();
    const server = await scripted(t, ...replies);
    return { ...server, abort, options: { apiKey: KEY, signal: abort.signal } };
  };

  it('aborts: the iterator ends without an error and the connection is closed', async (t) => {
    const { url, options, abort, open } = await opened(t, stall(QUEUED));
    for await (const each of watchRun(url, options)) {
      assert.equal(each.type, 'progress');
      setImmediate(() => abort.abort());
    }
    await until('the connection is closed', () => open() === 0);
  });

  it('aborts in a pause between two connections, and before the first', async (t) => {
    const busy = refusal(503, '', { 'retry-after': '60' });
    const { url, options, abort, asked } = await opened(t, busy);
    const onReconnect = (): void => void setImmediate(() => abort.abort());
    assert.deepEqual(await all(watchRun(url, { ...options, onReconnect }), 20_000), []);
    assert.deepEqual(await all(watchRun(url, options)), []);
    assert.equal(asked.length, 1);
  });

  it('breaks out of the loop, and the connection is closed', async (t) => {
    const { url, open } = await opened(t, stall(QUEUED + RUNNING));
    for await (const each of watchRun(url, { apiKey: KEY })) {
      assert.equal(each.type, 'progress');
      break;
    }
    await until('the connection is closed', () => open() === 0);
  });
});
