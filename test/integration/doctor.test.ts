/**
 * The doctor's routes on the gateway itself: what they tell and what they never tell, how much of
 * it there is at once, and how it ends; and `runcast doctor` against it.
 */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { describe, it } from 'node:test';
import { systemClock } from '../../src/core/clock.ts';
import { createGateway } from '../../src/index.ts';
import { MAX_PROBES } from '../../src/doctor/probes.ts';
import type { Facts } from '../../src/doctor/probes.ts';
import { startCli } from '../support/cli.ts';
import { STARTERS, gatewayFor, startGateway, useGateway } from '../support/gateway.ts';
import type { StartGateway, TestGateway } from '../support/gateway.ts';
import { openRaw } from '../support/raw-client.ts';
import { openStream } from '../support/sse-client.ts';
import type { SseStream } from '../support/sse-client.ts';
import { state } from '../support/upstream.ts';
import { until, within } from '../support/wait.ts';

const NONCE = 'abcdef0123456789';
const PROBE = `/doctor/stream?nonce=${NONCE}`;

const probe = (gateway: TestGateway, query: string, headers = {}): Promise<SseStream> =>
  openStream(`${gateway.origin}${PROBE}${query}`, { headers });

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

async function doctor(...args: string[]): Promise<Ended> {
  const cli = startCli(['doctor', ...args]);
  const { code } = await within(60_000, 'the end of runcast doctor', cli.exited);
  return { code, stdout: cli.stdout, stderr: cli.stderr };
}

function doctorTests(start: StartGateway): void {
  const gateway = useGateway(start);

  it('tells how watched headers arrived, and none of what is in them', async () => {
    const hush = 'hush-hush';
    const path = `/doctor.json?nonce=${NONCE}`;
    const { text: body, status, headers } = await gateway().call('GET', path, {
      'x-api-key': `doctor-${NONCE}`, 'authorization': `Bearer ${hush}`, 'last-event-id': NONCE,
      'accept': 'text/event-stream', 'x-forwarded-for': hush, 'cookie': hush, 'x-other': hush,
    });
    const facts = JSON.parse(body) as Facts;
    assert.equal(status, 200);
    assert.deepEqual(facts.requestHeaders, {
      'x-api-key': 'whole', 'authorization': 'changed', 'last-event-id': 'whole',
      'accept': 'whole', 'accept-encoding': 'missing',
    });
    assert.deepEqual(facts.proxyHeaders, ['x-forwarded-for']);
    assert.deepEqual([facts.nonce, facts.httpVersion, facts.pingIntervalMs], [NONCE, '1.1', 250]);
    assert.equal(headers['x-runcast-doctor'], NONCE);
    assert.deepEqual(facts.responseHeaders?.map((name) => headers[name]),
      [`"${NONCE}"`, '1', '200 PROBE'], 'what clients of runs depend on, to be looked for');
    assert.ok(!`${body}${JSON.stringify(headers)}`.includes(hush));
    assert.deepEqual(gateway().upstream.requests, [], 'upstream hears nothing of it');
  });

  it('says nothing back that was made up: a nonce is plain, or none', async () => {
    for (const bad of ['', 'short', '%0d%0ax-evil:%201', 'A'.repeat(16), 'a'.repeat(65)]) {
      const { text, headers } = await gateway().call('GET', `/doctor.json?nonce=${bad}`);
      assert.equal((JSON.parse(text) as Facts).nonce, null, bad);
      assert.equal(headers['x-runcast-doctor'], undefined);
    }
  });

  it('streams at the pace that was asked for, under the head of a stream, and ends', async () => {
    for (const [query, coding] of [['', null], ['&gzip=1', 'gzip']] as const) {
      const url = `${gateway().origin}${PROBE}&gapMs=100&seconds=0.45${query}`;
      const { headers, body } = await fetch(url, { headers: { 'accept-encoding': 'gzip' } });
      assert.equal(headers.get('content-type'), 'text/event-stream');
      assert.equal(headers.get('cache-control'), 'no-store, no-transform');
      assert.equal(headers.get('content-encoding'), coding);
      assert.equal(headers.get('x-runcast-doctor'), NONCE);
      // A gzip stream whose trailer is not right would fail here.
      assert.ok(body !== null);
      const whole = await within(20_000, 'its end', text(body));
      const form = /event: (\w+)\nid: \d+\ndata: \{"sentMs":(\d+)\}\n\n/g;
      const events = [...whole.matchAll(form)];
      assert.equal(events.map(([event]) => event).join(''), whole);
      const types = events.map(([, type]) => type);
      assert.deepEqual(types, [...types.slice(1).fill('tick'), 'done']);
      const sent = events.map(([, , ms]) => Number(ms));
      // A timer may fire a little early.
      assert.ok(sent.slice(0, -1).every((ms, i) => ms >= i * 100 - 3), sent.join());
      assert.ok(sent.length > 1 && (sent.at(-1) ?? 0) >= 447, sent.join());
    }
  });

  it('takes bounded questions only', async () => {
    for (const bad of ['gapMs=49', 'gapMs=120001', 'seconds=121', 'seconds=0', 'seconds=1e9',
      'gapMs=-1', 'gapMs=', 'seconds=Infinity', 'gapMs=NaN']) {
      assert.equal((await gateway().call('GET', `/doctor/stream?${bad}`)).status, 400, bad);
    }
    for (const path of ['/doctor', '/doctor.json', '/doctor/stream']) {
      assert.equal((await gateway().call('POST', path)).status, 405, path);
      const body = await gateway().call('GET', path, { 'content-length': 1 }, 'x');
      assert.equal(body.status, 400, path);
    }
    for (const path of ['/doctor/', '/doctors', '/doctor/js/', '/doctor/js/cli.js',
      '/doctor/js/../cli.js', '/doctor/js/%2e%2e/cli.js', '/doctor/js/doctor/../cli.js']) {
      assert.equal((await gateway().call('GET', path)).status, 404, path);
    }
  });

  it('has a page for who asks for HTML, strict in what it may load, and facts for others',
    async () => {
      const { text, headers } = await gateway().call('GET', '/doctor', { accept: 'text/html,*/*' });
      const policy = String(headers['content-security-policy']);
      assert.match(policy, /^default-src 'none'; script-src 'self'; /);
      assert.ok(!/unsafe|\*|https?:/.test(policy), policy);
      assert.ok(!/<script(?![^>]*\ssrc=)| on\w+=| style=/i.test(text));
      assert.match(text, /<script type="module" src="doctor\/js\/doctor\/page\.js">/);
      const facts = await gateway().call('GET', '/doctor', { accept: '*/*' });
      assert.ok('requestHeaders' in (JSON.parse(facts.text) as object));
      const head = await gateway().call('HEAD', '/doctor', { accept: 'text/html' });
      assert.deepEqual([head.status, head.text], [200, '']);
    });

  it('takes no request behind a probe on its connection', async () => {
    const get = (path: string): string => `GET ${path} HTTP/1.1\r\nhost: a\r\n\r\n`;
    const raw = openRaw(gateway().port, get(`${PROBE}&seconds=60&gapMs=60000`));
    await raw.until('event: tick');
    raw.socket.write(get('/livez'));
    await within(20_000, 'the end of the connection', raw.closed);
    assert.ok(!raw.received().includes('"ok"'), raw.received().toString());
  });
}

for (const [name, start] of STARTERS) {
  describe(`the doctor of ${name}`, () => doctorTests(start));
}

describe('probes', () => {
  it('are so many at once, then a 503; runs are not affected', async (t) => {
    const gateway = await gatewayFor(t, startGateway);
    const open = await Promise.all(Array.from({ length: MAX_PROBES }, () =>
      probe(gateway, '&seconds=60&gapMs=60000')));
    assert.equal((await gateway.call('GET', PROBE)).status, 503);
    const told = await probe(gateway, '');
    assert.equal(told.response.headers['x-runcast-refused'], '503 RESOURCE_UNAVAILABLE');
    const { text } = await gateway.call('GET', '/metrics');
    assert.match(text, /^runcast_limit_total\{limit="probes"\} 2$/m);
    gateway.upstream.run('r', state('running'));
    const stream = await gateway.join('r');
    await stream.next('progress');
    const { code, stdout } = await doctor(gateway.origin, '--idle', '1');
    assert.equal(code, 3, 'what was not measured is not well');
    assert.match(stdout, /^could not be measured: .*buffering, compression, silence; try again$/m);
    assert.match(stdout, /^unknown {2}buffering .*503 RESOURCE_UNAVAILABLE$/m);
    open[0]?.destroy();
    await until('a free place', async () => {
      const again = await probe(gateway, '&seconds=0.1&gapMs=50');
      return again.response.headers['x-runcast-refused'] === undefined;
    });
    for (const each of open) each.destroy();
  });

  it('end with a shutdown, also in a server of somebody else\'s', async (t) => {
    const gateway = await gatewayFor(t, startGateway);
    const stream = await probe(gateway, '&seconds=60&gapMs=60000');
    await gateway.close();
    assert.notEqual(await within(20_000, 'its end', stream.ended), 'end');

    const mounted = createGateway({ upstream: gateway.upstream.origin });
    const server = createServer(mounted.handler).listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => {
      server.close();
      server.closeAllConnections();
    });
    const { port } = server.address() as AddressInfo;
    const other = await openStream(`http://127.0.0.1:${port}${PROBE}&seconds=60`);
    await mounted.close();
    await within(20_000, 'its end', other.ended);
    const late = await fetch(`http://127.0.0.1:${port}${PROBE}&seconds=60`);
    assert.equal(late.status, 503, 'one that came after the end');
    assert.match(await late.text(), /shutting down/);
    await within(20_000, 'the end of the host', new Promise((resolve) => server.close(resolve)));
  });
});

describe('runcast doctor', () => {
  it('finds nothing wrong where nothing is in between', async (t) => {
    const gateway = await gatewayFor(t, startGateway);
    const { code, stdout } = await doctor(gateway.origin);
    assert.equal(code, 0, stdout);
    assert.match(stdout, /^http\S+, on the way: nothing that can be seen\n\n(?:ok .*\n){6}\nno /);
    assert.match(stdout, /^ok +silence +0\.\d s without an event/m, 'as long as between pings');
  });

  it('speaks JSON, under a prefix as well', async (t) => {
    const gateway = await gatewayFor(t, startGateway);
    const server = createServer((request, response) => {
      request.url = request.url?.replace('/base', '') ?? '/';
      const onward = new URL(request.url, gateway.origin);
      void fetch(onward, { headers: { accept: String(request.headers.accept) } })
        .then(async (answer) => response.end(await answer.text()));
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => server.close());
    const { port } = server.address() as AddressInfo;
    const { code, stdout } = await doctor(`http://127.0.0.1:${port}/base`, '--idle', '1', '--json');
    const { kind, verdict: all, checks } = JSON.parse(stdout) as
      { kind: string; verdict: string; checks: { verdict: string }[] };
    // This one drops every header, and holds back all bodies.
    assert.deepEqual([code, kind, all], [1, 'report', 'problem'], stdout);
    assert.deepEqual(checks.slice(0, 4).map(({ verdict }) => verdict),
      ['problem', 'problem', 'ok', 'problem']);
  });

  it('tells a limit on all of a response from one on silence', async (t) => {
    const gateway = await gatewayFor(t, startGateway);
    const server = createServer((request, response) => {
      void fetch(new URL(request.url ?? '', gateway.origin)).then(async ({ headers, body }) => {
        response.writeHead(200, { 'content-type': headers.get('content-type') ?? '' });
        systemClock.setTimeout(() => response.destroy(), 4000);
        for await (const part of body ?? []) response.write(part);
        response.end();
      }).catch(() => response.destroy());
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => {
      server.close();
      server.closeAllConnections();
    });
    const { port } = server.address() as AddressInfo;
    const { code, stdout } = await doctor(`http://127.0.0.1:${port}`, '--idle', '6s');
    assert.equal(code, 1);
    assert.match(stdout, /^problem {2}silence +responses are cut after [34]\.\d s, whatever/m);
  });

  it('has codes for what is not there and for what it cannot understand', async (t) => {
    const server = createServer(({ url = '' }, response) => {
      if (url.startsWith('/moved')) response.writeHead(301, { location: 'https://a.test/' }).end();
      else if (url.startsWith('/evil')) response.writeHead(301, { location: '\x9b2J' }).end();
      else response.end('{}');
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => server.close());
    const { port } = server.address() as AddressInfo;
    const stranger = await doctor(`http://127.0.0.1:${port}`);
    assert.deepEqual([stranger.code, stranger.stderr], [3, '']);
    assert.match(stranger.stdout, /answers 200, and not as runcast does/);
    const moved = await doctor(`http://127.0.0.1:${port}/moved`);
    assert.deepEqual([moved.code, moved.stderr], [3, '']);
    assert.match(moved.stdout, /answers 301 \(go to https:\/\/a\.test\/\)/);
    const evil = await doctor(`http://127.0.0.1:${port}/evil`, '--json');
    assert.match(evil.stdout, /\(go to \\u009b2J\)/, 'nothing that a terminal obeys');
    server.close();
    server.closeAllConnections();
    const nobody = await doctor(`http://127.0.0.1:${port}`, '--json');
    assert.equal(nobody.code, 3, nobody.stdout);
    assert.equal((JSON.parse(nobody.stdout) as { kind: string }).kind, 'unreachable');
    const wrong = await doctor('--idle', 'x');
    assert.deepEqual([wrong.code, wrong.stdout], [2, '']);
    assert.match(wrong.stderr, /URL.*\n.*--idle/);
  });
});
