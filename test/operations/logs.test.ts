/**
 * The log of the program: that nobody has to read it for streams to go on, and that no key, ticket
 * or secret stands in it, or in anything else that can be collected, whatever happens.
 */

import assert from 'node:assert/strict';
import { Agent, request } from 'node:http';
import { extname } from 'node:path';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';

import { startCli, startNode } from '../support/cli.ts';
import type { Cli } from '../support/cli.ts';
import { get, metric, workersOf } from '../support/processes.ts';
import { Signer } from '../support/signing.ts';
import { openStream, rawRequest } from '../support/sse-client.ts';
import {
  execution, hang, raw, redirect, refused, reset, startUpstream, state, truncate,
} from '../support/upstream.ts';
import type { Upstream } from '../support/upstream.ts';
import { until, within } from '../support/wait.ts';

const KEY = 'lma_canary';
const PUBLISH_KEY = 'canary-publish-key';
const TICKET_SECRET = 'canary-secret-of-tickets';

interface Started {
  readonly cli: Cli;
  readonly upstream: Upstream;
  readonly url: string;
  readonly port: number;
}

async function start(
  t: TestContext, flags: readonly string[], isLogRead = true,
): Promise<Started> {
  const upstream = await startUpstream();
  const cli = startCli([
    'serve', '--port', '0', '--upstream', upstream.origin, '--log-level', 'debug',
    '--poll-interval', '40ms', '--drain-timeout', '200ms', ...flags,
  ], { isLogRead });
  t.after(async () => {
    await cli.stop(10_000);
    await upstream.close();
  });
  const [, url = ''] = await cli.stdoutLine(/ is at (http:\S+)\/ /, 60_000);
  return { cli, upstream, url, port: Number(new URL(url).port) };
}

/** More than a pipe holds, and than a socket does: each makes three lines of the log. */
const REQUESTS = 1_200;

async function makeLines(url: string): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: 20 });
  const headers = { 'x-api-key': 'lma_a', 'accept': 'application/json' };
  const one = (n: number): Promise<void> => new Promise((resolve, reject) => {
    request(`${url}/v1/runs/bad-${n}`, { agent, headers }, (res) => {
      res.resume().once('end', resolve);
    }).on('error', reject).end();
  });
  await within(60_000, 'all answers', Promise.all(
    Array.from({ length: REQUESTS }, (_, n) => one(n))));
  agent.destroy();
}

/** While its successor starts, what it inherits would be waited for by the primary, too. */
async function loseWorker(
  t: TestContext, primary: number, url: string, upstream: Upstream,
): Promise<void> {
  const [lost = 0] = workersOf(primary);
  process.kill(lost, 'SIGKILL');
  await until('that it is gone', () => !workersOf(primary).includes(lost));
  let n = 0;
  await until('its successor, with lines all the time', async () => {
    upstream.run(`late-${++n}`, refused(500, 'INTERNAL'));
    await fetch(`${url}/v1/runs/late-${n}`, { headers: { 'x-api-key': KEY } })
      .then((answer) => answer.arrayBuffer()).catch(() => undefined);
    return workersOf(primary).length === 2;
  }, 30_000);
  upstream.run('after', state('running'));
  const stream = await openStream(`${url}/v1/runs/after/stream`, {
    headers: { 'x-api-key': KEY },
  });
  t.after(() => stream.destroy());
  await stream.next('progress');
}

/** A compiler that is started inherits stderr, which is waited for then: see stderr-log.ts. */
const skip = process.env['TEST_DIST'] === undefined && 'only what was built is without a compiler';

function unreadTests(workers: string): void {
  it(`stops no stream, with --workers ${workers}`, { skip }, async (t) => {
    const { cli, upstream, url, port } = await start(t, ['--workers', workers], false);
    upstream.run('r', state('running', { step: 0 }));
    const stream = await openStream(`${url}/v1/runs/r/stream`, { headers: { 'x-api-key': KEY } });
    t.after(() => stream.destroy());
    for (let n = 0; n < REQUESTS; n++) upstream.run(`bad-${n}`, refused(500, 'INTERNAL'));
    await makeLines(url);
    upstream.run('r', state('running', { step: 1 }));
    await stream.next(({ data }) => data.includes('"step":1'));
    assert.equal(await metric(port, 'runcast_log_lines_dropped_total'), 0, 'it could wait');
    assert.equal(cli.stderr, '');
    if (workers !== '1') await loseWorker(t, cli.pid ?? 0, url, upstream);
    cli.readLog();
    await until('all lines', () =>
      cli.stderr.split('"msg":"upstream trouble"').length > REQUESTS);
  });
}

describe('a line of the log', () => {
  for (const workers of ['1', '2']) {
    it(`is found by the id in an answer, with --workers ${workers}`, async (t) => {
      const { cli, upstream, url } = await start(t, ['--workers', workers]);
      upstream.run('down', refused(500, 'INTERNAL'));
      const traceId = '0af7651916cd43dd8448eb211c80319c';
      const answer = await fetch(`${url}/v1/runs/down`, {
        headers: { 'x-api-key': KEY, 'traceparent': `00-${traceId}-b7ad6b7169203331-01` },
      });
      const { requestId } = await answer.json() as { requestId: string };
      const about = (): Record<string, unknown>[] => cli.stderr.trimEnd().split('\n')
        .map((line) => JSON.parse(line) as Record<string, unknown>)
        .filter((line) => line['requestId'] === requestId);
      await until('three lines', () => about().length === 3);
      assert.deepEqual(about().map(({ time, ...line }) => (assert.ok(time), line))
        .sort((one, other) => String(one['msg']).localeCompare(String(other['msg']))), [
        { level: 'debug', msg: 'refused', requestId, traceId, status: 502,
          code: 'UPSTREAM_UNAVAILABLE' },
        { level: 'debug', msg: 'request', requestId, traceId, method: 'GET', route: 'status',
          runId: 'down' },
        { level: 'debug', msg: 'upstream trouble', requestId, traceId, why: 'status 500' },
      ]);
    });
  }
});

describe('a log that nobody reads', () => {
  for (const workers of ['1', '2']) unreadTests(workers);

  it('has a limit; beyond it lines are dropped, counted, and told of later', async (t) => {
    const script = new URL(`talkative${extname(import.meta.url)}`, import.meta.url);
    // Compiled before.
    await within(30_000, 'a first run', startNode(script, []).exited);
    const cli = startNode(script, [], { isLogRead: false });
    t.after(() => cli.stop());
    const [, all, dropped, waiting] = await cli
      .stdoutLine(/^alive, (\d+) lines, (\d+) dropped, (\d+) bytes wait$/) as unknown as string[];
    assert.ok(Number(waiting) < 1.1 * 1024 * 1024, `${waiting} bytes`);
    cli.readLog();
    assert.equal((await within(20_000, 'the end', cli.exited)).code, 0);
    const lines = cli.stderr.trimEnd().split('\n')
      .map((line) => JSON.parse(line) as { msg: string; lines?: number });
    assert.equal(lines.filter(({ msg }) => msg === 'a line').length,
      Number(all) - Number(dropped));
    assert.deepEqual(lines.slice(-2).map(({ msg, lines: n }) => [msg, n]),
      [['log lines were dropped', Number(dropped)], ['the last line', undefined]]);
  });
});

/** Of whatever kind an answer is, it may hold the key: upstream was sent it. */
const ANSWERS = {
  text: raw(`no JSON, ${KEY}`), field: raw(JSON.stringify({ [KEY]: KEY })),
  error: refused(500, KEY, `failed for ${KEY}`),
  busy: refused(429, KEY, KEY, { 'retry-after': '1' }),
  away: redirect(`/v1/runs/x?key=${KEY}`), cut: reset(), short: truncate(`{"status":"${KEY}`),
  late: hang(), head: raw('{}', { status: 500, headers: { 'x-echo': KEY } }),
};

/** Everything that makes a line or a count. */
async function talk({ upstream, url, port }: Started): Promise<string> {
  const forms = [{ 'x-api-key': KEY }, { authorization: `Bearer ${KEY}` }];
  const ask = async (path: string, init: RequestInit = {}): Promise<string> =>
    (await fetch(url + path, { signal: AbortSignal.timeout(20_000), ...init })).text();
  for (const [runId, answer] of Object.entries(ANSWERS)) {
    if (runId !== 'busy') upstream.run(runId, answer);
  }
  await Promise.all(Object.keys(ANSWERS).flatMap((runId) => forms.map((headers) =>
    ask(`/v1/runs/${runId}`, { headers }))));
  const [headers = {}] = forms;
  upstream.run('r', state('running'));
  const stream = await openStream(`${url}/v1/runs/r/stream`, { headers });
  await stream.next('progress');
  const { data } = JSON.parse(await ask('/v1/runs/r/ticket', { method: 'POST', headers })) as
    { data: { ticket: string } };
  const publisher = { authorization: `Bearer ${PUBLISH_KEY}` };
  const both = { ...forms[0], ...forms[1] };
  const signed = new Signer().deliver(execution('r', 'completed', { by: KEY }));
  const bad: readonly (readonly [string, RequestInit?])[] = [
    [`/v1/runs/r?ticket=${data.ticket}x`], [`/v1/runs/other/stream?ticket=${data.ticket}`],
    [`/v1/runs/r?key=${KEY}`], [`/${KEY}`], [`/v1/runs/${KEY}.${KEY}`, { headers }],
    ['/v1/runs/r', { headers: both }], [`/v1/runs/${KEY}`, { method: 'DELETE', headers }],
    ['/v1/runs/r', { headers: { 'x-api-key': `${KEY}${'x'.repeat(600)}` } }],
    ['/v1/runs/r', { headers: { 'x-api-key': KEY.slice(4) } }],
    ['/v1/runs/r', { method: 'PUT', headers, body: KEY }],
    ['/v1/runs/r', { method: 'PUT', headers: publisher, body: KEY }],
    ['/v1/runs/r/poke', { method: 'POST', headers, body: KEY }],
    ['/v1/webhooks/runs', { method: 'POST', headers: signed.headers as Record<string, string>,
      body: new Uint8Array(signed.body) }],
    [`/doctor/facts?key=${KEY}`, { headers }],
    [`/v1/runs/stream?runId=${KEY}&runId=no`, { headers }],
  ];
  for (const one of bad) await ask(...one);
  await rawRequest(port, `GET / HTTP/1.1\r\nx-api-key ${KEY}\r\n\r\n`);
  await rawRequest(port, `GET / HTTP/1.1\r\nx-api-key: ${KEY}${'x'.repeat(20_000)}\r\n\r\n`);
  upstream.run('r', refused(403, KEY, `not for ${KEY}`));
  await stream.next('error');
  upstream.run('busy', ANSWERS.busy);
  await ask('/v1/runs/busy', { headers });
  return data.ticket;
}

function canaryTests(name: string, flags: readonly string[]): void {
  it(name, async (t) => {
    const started = await start(t, [
      '--upstream-timeout', '500ms', '--publish-key', PUBLISH_KEY, '--upstream-key', `${KEY}_own`,
      '--ticket-secret', TICKET_SECRET, ...flags,
    ]);
    const { cli, upstream, port } = started;
    const ticket = await talk(started);
    assert.ok(upstream.requests.some(({ key }) => key === KEY), 'upstream was sent it');
    await until('counts of all workers', async () =>
      await metric(port, 'runcast_refusals_total', 'TICKET_INVALID') === 2);
    const told = [await get(port, '/metrics'), await get(port, '/healthz')];
    assert.equal((await within(20_000, 'the end', cli.stop(10_000))).code, 0);
    assert.match(cli.stderr, /"upstream trouble"/);
    const all = [cli.stdout, cli.stderr, ...told].join('\n');
    // The key without its prefix, too: it is no more ours to show.
    for (const word of [/canary/, new RegExp(ticket.slice(0, 12))]) assert.doesNotMatch(all, word);
  });
}

describe('no key, ticket or secret is in the log or in the metrics, at its most talkative', () => {
  canaryTests('with one process', []);
  canaryTests('with two workers', ['--workers', '2']);
  for (const source of ['wait', 'list', 'stream']) {
    canaryTests(`with --source ${source}`, ['--source', source]);
  }
});
