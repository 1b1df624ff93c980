/**
 * Mounted in servers of others, as the README shows it: node:http, Express and Fastify, under a
 * prefix and beside body parsers; and what becomes of it when its host closes.
 */

import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { after, describe, it } from 'node:test';
import type { TestContext } from 'node:test';

import { startNode } from '../support/cli.ts';
import { assertEnded, assertRetry } from '../support/gateway.ts';
import { installed } from '../support/packages.ts';
import { programOf, snippet } from '../support/readme-programs.ts';
import { openStream } from '../support/sse-client.ts';
import { startUpstream, state } from '../support/upstream.ts';
import type { Upstream } from '../support/upstream.ts';
import { within } from '../support/wait.ts';

const KEY = { 'x-api-key': 'lma_a' };
const UPSTREAM = 'http://127.0.0.1:9000';

/** Prints where it listens, and closes the host, not the gateway, when it is told to. */
const TAIL = (close: string): string => `
const say = () => console.log('listens at ' + server.address().port);
if (server.listening) say(); else server.on('listening', say);
process.on('SIGTERM', () => ${close}.close());
`;

interface Host {
  readonly name: string;
  readonly words: readonly string[];
  readonly port: readonly [string, string];
  readonly close: string;
  /** How the gateway is made in its snippet. */
  readonly options: string;
}

const HOSTS: readonly Host[] = [
  { name: 'node:http', words: ["from 'node:http'", '/runs-api'], close: 'server',
    port: ['listen(8080)', "listen(0, '127.0.0.1')"],
    options: `upstream: '${UPSTREAM}', basePath: '/runs-api' ` },
  { name: 'Express 5', words: ["from 'express'"], close: 'server',
    port: ['listen(8080)', "listen(0, '127.0.0.1')"], options: `upstream: '${UPSTREAM}' ` },
  { name: 'Fastify 5', words: ["from 'fastify'"], close: 'app', port: ['port: 8080', 'port: 0'],
    options: `upstream: '${UPSTREAM}', basePath: '/runs-api' ` },
];

const folder = await installed('express@5', 'fastify@5');
after(async () => {
  if (folder !== undefined) await rm(folder, { recursive: true, force: true });
});

async function start(t: TestContext, host: Host, upstream: Upstream) {
  const made = `upstream: '${upstream.origin}', pollIntervalMs: 40, publishKeys: ['pub_1'], `
    + `drainTimeoutMs: 500, ${host.options.includes('basePath') ? "basePath: '/runs-api' " : ''}`;
  const code = await snippet(...host.words) + TAIL(host.close);
  const replace = [host.port, [host.options, made]] as const;
  const cli = startNode(await programOf(t, code, replace, folder), []);
  t.after(() => cli.stop());
  const [, port] = await cli.stdoutLine(/listens at (\d+)/, 60_000);
  return { cli, origin: `http://127.0.0.1:${port}` };
}

function hostTests(host: Host): void {
  it('streams under the prefix, beside the routes of the host', async (t) => {
    const upstream = await startUpstream();
    t.after(() => upstream.close());
    upstream.run('r1', state('running'));
    const { origin } = await start(t, host, upstream);
    assert.equal(await (await fetch(origin)).text(), 'my own route\n');
    const base = `${origin}/runs-api/v1/runs/r1`;
    const stream = await openStream(`${base}/stream`, { headers: KEY });
    t.after(() => stream.destroy());
    await stream.next('progress');
    assert.equal((await fetch(`${base}/nope`, { headers: KEY })).status, 404);
    assert.equal((await fetch(base, { headers: KEY })).status, 200);

    const issued = await fetch(`${base}/ticket`, {
      method: 'POST', headers: { ...KEY, 'content-type': 'application/json' }, body: '{}',
    });
    const { data: { url } } = await issued.json() as { data: { url: string } };
    assert.match(url, /^\/runs-api\/v1\/runs\/r1\/stream\?ticket=/);
    const ticketed = await openStream(new URL(url, origin));
    t.after(() => ticketed.destroy());
    await ticketed.next('progress');

    const published = await fetch(base, {
      method: 'PUT', body: '{"status":"running","n":1.0}',
      headers: { 'authorization': 'Bearer pub_1', 'content-type': 'application/json' },
    });
    assert.equal(published.status, 202);
    await stream.next(({ data }) => data.includes('"n":1.0'));
  });

  it('closes with its host, which would wait for the streams for ever', async (t) => {
    const upstream = await startUpstream();
    t.after(() => upstream.close());
    upstream.run('r1', state('running'));
    const { cli, origin } = await start(t, host, upstream);
    const stream = await openStream(`${origin}/runs-api/v1/runs/r1/stream`, { headers: KEY });
    t.after(() => stream.destroy());
    await stream.next('progress');
    cli.kill('SIGTERM');
    await assertEnded(stream);
    assertRetry(stream.events.at(-1)?.retry);
    // Nothing is left that keeps a process alive: neither a timer nor a socket to upstream.
    assert.equal((await within(20_000, 'the end of the host', cli.exited)).code, 0);
  });
}

describe('the gateway in a server of somebody else\'s', { concurrency: true }, () => {
  for (const host of HOSTS) {
    const isHere = folder !== undefined || host.name === 'node:http';
    const skip = !isHere && 'the npm registry is out of reach';
    describe(host.name, { skip }, () => hostTests(host));
  }
});

describe('a source of one\'s own, as in the README', () => {
  it('is told of runs by the process that works on them', async (t) => {
    const code = await snippet('async admit(runId, key)');
    const program = await programOf(t, code, [['port: 8081', 'port: 0']]);
    const { gateway, tell } = await import(program.href) as {
      gateway: import('../../src/index.ts').Gateway;
      tell: (runId: string, state: object, terminal?: string) => void;
    };
    const { url } = await gateway.listen();
    t.after(() => gateway.close(0));
    tell('r1', { status: 'running' });
    const open = (headers: Record<string, string>) =>
      openStream(`${url}/v1/runs/r1/stream`, { headers });
    assert.equal((await open({ 'x-api-key': 'lma_b' })).response.status, 404);
    const stream = await open(KEY);
    assert.equal((await stream.next('progress')).data, '{"status":"running"}');
    tell('r1', { status: 'running', n: 1 });
    await stream.next(({ data }) => data.includes('"n":1'));
    tell('r1', { status: 'completed' }, 'complete');
    await stream.next('complete');
    await assertEnded(stream);
  });
});
