/**
 * The program as a user starts it: `serve` over a run API and over the demo, what it prints and
 * logs, how it takes mistakes and signals, and that no key ever stands in anything it writes.
 */

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { VERSION } from '../../src/core/version.ts';
import { startCli } from '../support/cli.ts';
import type { Cli, CliOptions } from '../support/cli.ts';
import { assertEnded, assertRetry, names } from '../support/gateway.ts';
import { openRaw, openStream } from '../support/sse-client.ts';
import type { SseStream } from '../support/sse-client.ts';
import { execution, hang, raw, refused, startUpstream, state } from '../support/upstream.ts';
import type { Upstream } from '../support/upstream.ts';
import { until, within } from '../support/wait.ts';

const KEY = { 'x-api-key': 'lma_a' };
const SHORT = ['--port', '0', '--poll-interval', '60ms', '--ping-interval', '200ms'];

interface Serving {
  readonly cli: Cli;
  readonly upstream: Upstream;
  readonly port: number;
  join(runId: string, headers?: Record<string, string>): Promise<SseStream>;
}

/** Over a scripted upstream, listening. */
async function serve(
  t: TestContext, args: readonly string[] = [], options: CliOptions = {},
): Promise<Serving> {
  const upstream = await startUpstream();
  const cli = startCli(['serve', '--upstream', upstream.origin, ...SHORT, ...args], options);
  t.after(async () => {
    await cli.stop();
    await upstream.close();
  });
  const port = await portOf(cli);
  const join = async (runId: string, headers: Record<string, string> = KEY) => {
    const stream = await openStream(`http://127.0.0.1:${port}/v1/runs/${runId}/stream`, {
      headers, headMs: 10_000,
    });
    t.after(() => stream.destroy());
    return stream;
  };
  return { cli, upstream, port, join };
}

async function portOf(cli: Cli): Promise<number> {
  const [, port] = await cli.stdoutLine(/http:\/\/127\.0\.0\.1:(\d+)\//, 20_000);
  return Number(port);
}

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** To its own end. */
async function run(args: readonly string[], options: CliOptions = {}): Promise<Ended> {
  const cli = startCli(args, options);
  const { code } = await within(20_000, `runcast ${args.join(' ')}`, cli.exited);
  return { code, stdout: cli.stdout, stderr: cli.stderr };
}

const logOf = ({ stderr }: { readonly stderr: string }): Record<string, unknown>[] =>
  stderr.trimEnd().split('\n').map((line) => JSON.parse(line) as Record<string, unknown>);

function serveTests(): void {
  it('streams a run of the given upstream, and logs JSON lines', async (t) => {
    const { cli, upstream, join } = await serve(t);
    upstream.run('r1', state('running'));
    const stream = await join('r1');
    assert.equal((await stream.next('progress')).data, JSON.stringify(execution('r1', 'running')));
    await stream.next('ping');
    upstream.run('r1', state('completed'));
    await stream.next('complete');
    await assertEnded(stream);
    assert.deepEqual(await cli.stop(5_000), { code: 0, signal: null });
    const lines = logOf(cli);
    assert.ok(lines.length >= 2, cli.stderr);
    for (const { level, time, msg } of lines) {
      assert.match(String(level), /^(debug|info|warn|error)$/);
      assert.equal(new Date(String(time)).toISOString(), time);
      assert.ok(typeof msg === 'string' && msg.length > 0);
    }
    assert.equal(cli.stdout.trimEnd().split('\n').length, 1, 'one readable line');
  });

  it('takes paths, fields, statuses and keys of another run API', async (t) => {
    const upstream = await startUpstream();
    t.after(() => upstream.close());
    const cli = startCli([
      'serve', '--upstream', `${upstream.origin}/base/`, ...SHORT, '--key-prefix', '',
      '--upstream-path', '/jobs/{runId}/state', '--status-field', 'phase',
      '--complete-on', 'done,fine', '--error-on', 'broken',
    ]);
    t.after(() => cli.stop());
    upstream.run('/base/jobs/j1/state', raw('{"phase":"busy","status":"completed"}'));
    const url = `http://127.0.0.1:${await portOf(cli)}/v1/runs/j1/stream`;
    const stream = await openStream(url, { headers: { authorization: 'Bearer sk-1' } });
    await stream.next('progress');
    upstream.run('/base/jobs/j1/state', raw('{"phase":"fine"}'));
    assert.equal((await stream.next('complete')).data, '{"phase":"fine"}');
    assert.equal(upstream.requests[0]?.key, 'sk-1');
  });

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    it(`ends streams cleanly and without a verdict on ${signal}, and exits 0`, async (t) => {
      const { cli, upstream, port, join } = await serve(t, ['--drain-timeout', '1500ms']);
      upstream.run('r1', state('running'));
      const streams = await Promise.all(Array.from({ length: 40 }, () => join('r1')));
      const firsts = await Promise.all(streams.map((stream) => stream.next('progress')));
      const silent = openRaw(port, '');
      const halfway = openRaw(port, 'GET /v1/runs/r1/stream HTTP/1.1\r\nhost: x\r\n');
      const signalledAt = performance.now();
      cli.kill(signal);
      for (const [i, stream] of streams.entries()) {
        await assertEnded(stream);
        assert.deepEqual(names(stream, 'ping'), ['progress']);
        const last = stream.events.at(-1);
        assert.deepEqual([last?.event, last?.id], ['ping', firsts[i]?.id]);
        assertRetry(last?.retry);
      }
      const exit = await within(5_000, 'the exit', cli.exited);
      assert.deepEqual(exit, { code: 0, signal: null });
      assert.ok(performance.now() - signalledAt < 4_000);
      const ends = streams.map(({ events }) => events.at(-1)?.at ?? 0);
      assert.ok(Math.max(...ends) - Math.min(...ends) > 200, 'not all at once');
      assert.ok(new Set(streams.map(({ events }) => events.at(-1)?.retry)).size > 10);
      for (const { closed } of [silent, halfway]) assert.notEqual(await closed, 'local');
      logOf(cli);
    });
  }

  it('does not wait on a signal for readers that do not read', async (t) => {
    const { cli, upstream, join } = await serve(t, ['--drain-timeout', '500ms']);
    const pad = 'x'.repeat(2_000_000);
    upstream.run('r1', ({ n }) => state('running', { n: Math.min(n, 40), pad }));
    upstream.run('r2', hang());
    const stalled = await join('r1');
    await stalled.next('progress');
    stalled.pause();
    const from = upstream.count('r1');
    await until('a full pipe', () => upstream.count('r1') - from > 15);
    const pending = join('r2').catch(() => undefined);
    await upstream.next('r2');
    cli.kill('SIGTERM');
    assert.deepEqual(await within(5_000, 'the exit', cli.exited), { code: 0, signal: null });
    stalled.resume();
    assert.notEqual(await stalled.ended, 'end');
    await pending;
  });

  it('says why when its port is taken, and exits 1', async (t) => {
    const server = createServer().listen(0, '127.0.0.1');
    t.after(() => server.close());
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    for (const upstream of [['--upstream', 'http://127.0.0.1:9'], []]) {
      const cli = await run(['serve', ...upstream, '--port', String(port)]);
      assert.equal(cli.code, 1);
      const reason = logOf(cli).find(({ level }) => level === 'error');
      assert.match(JSON.stringify(reason), /EADDRINUSE/);
      assert.equal(cli.stdout, '');
    }
  });

  it('writes no key anywhere, whatever happens to it', async (t) => {
    const { cli, upstream, port, join } = await serve(t, [
      '--log-level', 'debug', '--upstream-timeout', '1200ms',
    ]);
    const canary = 'lma_CANARY7f3a';
    upstream.run('good', state('running'));
    upstream.run('bad', refused(401, 'AUTH_INVALID_KEY', `No key ${canary} here`));
    upstream.run('late', hang());
    upstream.run('odd', raw(`{"data":"${canary}"`));
    const seen: SseStream[] = [];
    for (const runId of ['good', 'bad', 'late', 'odd', 'unknown', 'a%20b']) {
      seen.push(...await Promise.all([
        { 'x-api-key': canary }, { authorization: `Bearer ${canary}` },
        { 'x-api-key': `CANARY ${canary}` }, { authorization: canary },
      ].map((headers) => join(runId, headers))));
    }
    upstream.run('good', refused(403, 'FORBIDDEN', `Key ${canary} was revoked`));
    await seen[0]?.next('error');
    const garbage = openRaw(port, `GET / HTTP/1.1\r\nx-api-key : ${canary}\r\n\r\n`);
    await garbage.closed;
    await upstream.stop();
    seen.push(await join('other', { 'x-api-key': canary }));
    await cli.stop(5_000);
    const shown = seen.map((stream) => stream.raw.toString()).join('\n');
    const leak = /CANARY/;
    assert.doesNotMatch(cli.stdout, leak);
    assert.doesNotMatch(cli.stderr, leak);
    assert.doesNotMatch(shown, leak);
    assert.doesNotMatch(garbage.received().toString(), leak);
    assert.match(cli.stderr, /"debug"/, 'that it did log');
  });
}

function demoTests(): void {
  it('prints a curl line that works as printed, and tells of its key and place', async (t) => {
    const cli = startCli(['serve', '--port', '0', '--poll-interval', '100ms']);
    t.after(() => cli.stop());
    const port = await portOf(cli);
    const [, line = ''] = await cli.stdoutLine(/^\s*(curl -N .*)$/);
    assert.match(line, new RegExp(`lma_demo.*:${port}/v1/runs/demo-`));
    if (!hasCurl()) return t.skip('there is no curl here');
    const curl = spawn('sh', ['-c', `exec ${line}`]);
    t.after(() => curl.kill());
    let text = '';
    curl.stdout.on('data', (data: Buffer) => (text += String(data)));
    await until('a first event', () => /event: progress\nid: \S+\ndata: \{.+\}\n\n/.test(text));
    assert.match(text, /"runId":"demo-/);
    await until('a run that moves', () => /"status":"running"/.test(text), 10_000);
    cli.kill('SIGTERM');
    const [code] = await within(15_000, 'the end of curl', once(curl, 'close')) as [number];
    assert.equal(code, 0, 'a clean end');
    assert.deepEqual(await within(5_000, 'the exit', cli.exited), { code: 0, signal: null });
  });
}

function argumentTests(): void {
  it('lists every option with --help, and its version with --version', async () => {
    const [help, own] = await Promise.all([run(['serve', '-h', '--nope']), run(['--version'])]);
    assert.deepEqual([help.code, own.code], [0, 0]);
    assert.equal(own.stdout, `${VERSION}\n`);
    for (const flag of [
      'upstream', 'host', 'port', 'poll-interval', 'ping-interval', 'stream-timeout',
      'upstream-timeout', 'max-body', 'key-prefix', 'upstream-path', 'status-field',
      'complete-on', 'error-on', 'slow-timeout', 'drain-timeout', 'log-level',
    ]) assert.match(help.stdout, new RegExp(`--${flag}\\b`));
    assert.deepEqual([help.stderr, own.stderr], ['', '']);
  });

  it('reports all mistakes at once and exits 2', async () => {
    const cli = await run([
      'serve', '--port', '99999', '--poll-interval', '2', '--nope', '--ping-interval=-1s',
      '--upstream', 'ftp://x', '--max-body', 'huge', '--upstream-path', '/runs',
    ], { env: { RUNCAST_STREAM_TIMEOUT: 'soon', RUNCAST_LOG_LEVEL: 'loud' } });
    assert.equal(cli.code, 2);
    assert.equal(cli.stdout, '');
    for (const name of [
      '--port', '--poll-interval', '--nope', '--ping-interval', '--upstream', '--max-body',
      '--upstream-path', 'RUNCAST_STREAM_TIMEOUT', 'RUNCAST_LOG_LEVEL',
    ]) assert.match(cli.stderr, new RegExp(`(^|\\s)${name}\\b`, 'm'));
    for (const value of ['99999', 'ftp://x', 'huge', 'soon', 'loud']) {
      assert.ok(cli.stderr.includes(value), `${value} is shown`);
    }
  });

  for (const [what, args] of [
    ['no command', []], ['an unknown command and another argument', ['serv', 'x']],
    ['options that do not go together', ['serve', '--complete-on', 'a', '--error-on', 'b,a']],
  ] as const) {
    it(`exits 2 with a reason on ${what}`, async () => {
      const cli = await run(args);
      assert.deepEqual([cli.code, cli.stdout], [2, '']);
      assert.ok(cli.stderr.length > 20, cli.stderr);
    });
  }

  it('reads the environment, but lets a flag beat it and Kubernetes be', async (t) => {
    const { port, cli } = await serve(t, ['--ping-interval', '300ms'], {
      env: {
        RUNCAST_PORT: 'tcp://10.0.0.1:80', RUNCAST_PING_INTERVAL: '1h', RUNCAST_KEY_PREFIX: 'sk_',
      },
    });
    assert.ok(port > 0);
    const stream = await openStream(`http://127.0.0.1:${port}/v1/runs/r1/stream`, { headers: KEY });
    await stream.ended;
    assert.match(stream.raw.toString(), /AUTH_INVALID_KEY/, 'the prefix is another');
    assert.deepEqual(await cli.stop(5_000), { code: 0, signal: null });
  });
}

function hasCurl(): boolean {
  try {
    return execFileSync('curl', ['--version']).length > 0;
  } catch {
    return false;
  }
}

describe('the program', { concurrency: true }, () => {
  describe('over a run API', () => serveTests());
  describe('over its own demo', () => demoTests());
  describe('its arguments', () => argumentTests());
});
