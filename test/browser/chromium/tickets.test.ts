/**
 * Tickets in Chromium, as a page of another origin uses them: an EventSource that outlives its
 * ticket, what stops it, and how its page goes on.
 */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, it } from 'node:test';

import { systemClock } from '../../../src/core/clock.ts';
import { Tickets } from '../../../src/http/tickets.ts';
import { createGateway } from '../../../src/index.ts';
import type { GatewayOptions } from '../../../src/index.ts';
import { noBrowser, startBrowser } from '../../support/browser.ts';
import type { Browser } from '../../support/browser.ts';
import { KEY } from '../../support/gateway.ts';
import { startUpstream, state } from '../../support/upstream.ts';
import type { Upstream } from '../../support/upstream.ts';
import { until } from '../../support/wait.ts';
import { CLOSED, CONNECTING, HTML, openSource } from '../page.ts';

const SECRET = 'a-secret-of-these-tests';
const LIFETIME_MS = 15 * 60_000;
/** The longest `retry:`, and time to connect. */
const RETURN_MS = 15_000;

/** As the gateway seals them, `agoMs` ago. */
function sealedAgo(agoMs: number, runId: string): { text: string; expiresAtMs: number } {
  const clock = { ...systemClock, wallNow: () => Date.now() - agoMs };
  const options = { clock, ticketSecrets: [SECRET], streamTimeoutMs: 0 };
  return new Tickets(options).seal(runId, { value: KEY, header: 'x-api-key' });
}

describe('a ticket in Chromium', { skip: noBrowser }, () => {
  let browser: Browser;
  let upstream: Upstream;
  const site = createServer((_, response) => {
    response.writeHead(200, { 'content-type': 'text/html' }).end(HTML);
  });
  let options: GatewayOptions;

  before(async () => {
    [browser, upstream] = await Promise.all([startBrowser(), startUpstream()]);
    site.listen(0, '127.0.0.1');
    await once(site, 'listening');
    const origin = `http://127.0.0.1:${(site.address() as AddressInfo).port}`;
    options = {
      upstream: upstream.origin, port: 0, pollIntervalMs: 40, drainTimeoutMs: 100,
      ticketSecrets: [SECRET], allowedOrigins: [origin],
    };
    await browser.open(`${origin}/`);
  });
  after(async () => {
    site.close();
    site.closeAllConnections();
    await Promise.all([browser?.quit(), upstream?.close()]);
  });

  it('lets a stream live on, stops its return, and a new one goes on from there', async (t) => {
    upstream.run('r', state('running', { step: 1 }));
    const first = createGateway(options);
    const { url, port } = await first.listen();
    t.after(() => first.close());
    const { text, expiresAtMs } = sealedAgo(LIFETIME_MS - 3_000, 'r');
    const log = await openSource(browser, `${url}/v1/runs/r/stream?ticket=${text}`);
    await log.until('a state', () => log.of('event').length === 1);
    await until('that it has expired', () => Date.now() > expiresAtMs);
    upstream.run('r', state('running', { step: 2 }));
    await log.until('what is new', () => log.of('event').some(({ data }) =>
      data.includes('"step":2')));

    await first.close();
    const second = createGateway({ ...options, port });
    await second.listen();
    t.after(() => second.close());
    await log.until('a return', () => log.of('lost').length === 2, RETURN_MS);
    assert.deepEqual(log.of('lost').map(({ readyState }) => readyState), [CONNECTING, CLOSED]);

    const answer = await fetch(`${url}/v1/runs/r/ticket`, {
      method: 'POST', headers: { 'x-api-key': KEY },
    });
    const { data } = await answer.json() as { data: { url: string } };
    const [known] = log.of('event').filter(({ event }) => event === 'progress').slice(-1);
    const again = await openSource(browser, `${url}${data.url}&lastEventId=${known?.id}`);
    await again.until('an event', () => again.of('event').length === 1);
    upstream.run('r', state('completed', { step: 3 }));
    await again.until('the end', () => again.of('event').length === 2);
    assert.deepEqual(again.of('event').map(({ event }) => event), ['ping', 'complete']);
  });
});
