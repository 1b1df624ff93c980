/**
 * `runcast/client` in Chromium, from the very modules that Node runs: to the end of a run with a
 * restart of the gateway in the middle, to what does not pass, and out of the loop.
 */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../../../src/core/clock.ts';
import { Tickets } from '../../../src/http/tickets.ts';
import { createGateway } from '../../../src/index.ts';
import { noBrowser, startBrowser } from '../../support/browser.ts';
import type { Browser } from '../../support/browser.ts';
import { startUpstream, state } from '../../support/upstream.ts';
import type { Upstream } from '../../support/upstream.ts';
import { until } from '../../support/wait.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const MS = 60_000;
const SECRET = 'a-secret-of-these-tests';
/** `start(url, options)` in the page; what it is told is in `seen`, how it ended in `end`. */
const HTML = `<!doctype html><title>client</title><link rel="icon" href="data:,">
<script type="module">
import { watchRun } from '/client/index.js';
const abort = new AbortController();
Object.assign(window, {
  seen: [], end: '', abort,
  async start(url, options) {
    const note = (what) => ({ reason, lastEventId }) =>
      window.seen.push(what + ' ' + (reason ?? lastEventId));
    try {
      for await (const event of watchRun(url, {
        ...options, signal: abort.signal, onReconnect: note('again'), onOpen: note('open'),
      })) window.seen.push(event.type + ' ' + (event.data?.status ?? event.code) + ' ' + event.id);
      window.end = 'done';
    } catch (error) {
      window.end = error.name + ' ' + error.code + ' ' + error.status;
    }
  },
});
</script>`;

let browser: Browser;

interface Site {
  readonly origin: string;
  readonly upstream: Upstream;
  /** The gateway goes, and another one comes. */
  restart(): Promise<void>;
  streams(): number;
}

async function startSite(t: TestContext): Promise<Site> {
  const upstream = await startUpstream();
  const options = {
    upstream: upstream.origin, pollIntervalMs: 40, drainTimeoutMs: 50, ticketSecrets: [SECRET],
  };
  let gateway = createGateway(options);
  const server = createServer((request, response) => {
    const { url = '/' } = request;
    if (url === '/v1/runs/moved/stream') {
      response.writeHead(302, { location: '/v1/runs/r/stream' }).end();
    } else if (url.startsWith('/v1/')) {
      gateway.handler(request, response);
    } else if (url === '/') {
      response.writeHead(200, { 'content-type': 'text/html' }).end(HTML);
    } else {
      const type = { 'content-type': 'text/javascript' };
      readFile(`${ROOT}dist${url}`).then(
        (text) => response.writeHead(200, type).end(text),
        () => response.writeHead(404).end(),
      );
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(async () => {
    server.close();
    server.closeAllConnections();
    await gateway.close();
    await upstream.close();
  });
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const restart = async (): Promise<void> => {
    const before = gateway;
    gateway = createGateway(options);
    await before.close();
  };
  return { origin, upstream, restart, streams: () => gateway.stats().streams };
}

/** As the gateway sealed it yesterday. */
function expired(runId: string): string {
  const clock = { ...systemClock, wallNow: () => Date.now() - 24 * 3_600_000 };
  const options = { clock, ticketSecrets: [SECRET], streamTimeoutMs: 0 };
  return new Tickets(options).seal(runId, { value: 'lma_a', header: 'x-api-key' }).text;
}

const seen = (): Promise<string[]> => browser.evaluate('return window.seen');
const ended = async (): Promise<string> => {
  await until('the end of the loop', async () =>
    await browser.evaluate('return window.end') !== '', MS);
  return browser.evaluate('return window.end');
};
const start = (url: string, options: object): Promise<void> =>
  browser.evaluate('start(arguments[0], arguments[1])', url, options);

describe('runcast/client in Chromium', { skip: noBrowser }, () => {
  before(async () => {
    execFileSync('npm', ['run', '-s', 'build'], { cwd: ROOT });
    browser = await startBrowser();
  });
  after(() => browser.quit());

  it('follows a run to its end over a gateway that starts again', async (t) => {
    const site = await startSite(t);
    site.upstream.run('r', state('running'));
    await browser.open(`${site.origin}/`);
    await start('/v1/runs/r/stream', { apiKey: 'lma_a' });
    await until('the first state', async () => (await seen()).length === 2, MS);
    await site.restart();
    await until('the second stream', async () => (await seen()).length === 4, MS);
    site.upstream.run('r', state('completed'));
    assert.equal(await ended(), 'done');
    const [first, progress = '', again, open, complete = ''] = await seen();
    const id = progress.split(' ').at(-1);
    assert.deepEqual([first, again, open], ['open ', 'again ended', `open ${id}`]);
    assert.match(progress, /^progress running /);
    assert.match(complete, /^complete completed /);
  });

  it('throws what does not pass, and carries no key after a redirect', async (t) => {
    const site = await startSite(t);
    for (const [url, end] of [
      ['/v1/runs/a.b/stream', 'VALIDATION_ERROR 400'], ['/v1/runs/moved/stream', 'REDIRECTED 0'],
      ['/', 'NOT_A_STREAM 200'],
    ] as const) {
      await browser.open(`${site.origin}/`);
      await start(url, { apiKey: 'lma_a' });
      assert.equal(await ended(), `WatchError ${end}`);
    }
    await browser.open(`${site.origin}/`);
    await start('/v1/runs/r/stream', { ticket: expired('r') });
    assert.equal(await ended(), 'WatchError TICKET_EXPIRED 401');
    assert.equal(site.upstream.count('r'), 0);
  });

  it('leaves the loop when it is told to, and the connection is closed', async (t) => {
    const site = await startSite(t);
    site.upstream.run('r', state('running'));
    await browser.open(`${site.origin}/`);
    await start('/v1/runs/r/stream', { apiKey: 'lma_a' });
    await until('the first state', async () => (await seen()).length === 2, MS);
    await browser.evaluate('abort.abort()');
    assert.equal(await ended(), 'done');
    await until('no stream', () => site.streams() === 0, MS);
  });
});
