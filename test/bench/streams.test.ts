/** The command `streams`: its mistakes all at once, and a load on runcast with its demo. */

import assert from 'node:assert/strict';
import { extname } from 'node:path';
import { it } from 'node:test';
import { planFrom } from '../../bench/streams.ts';
import { startCli, startNode } from '../support/cli.ts';
import type { Cli } from '../support/cli.ts';
import { until, within } from '../support/wait.ts';

const RUN = new URL(`../../bench/run${extname(import.meta.url)}`, import.meta.url);

async function ended(cli: Cli): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const { code } = await within(9_000, 'the end of streams', cli.exited);
  return { code, stdout: cli.stdout, stderr: cli.stderr };
}

it('reports every mistake at once, and exits with 2', async () => {
  const { code, stdout, stderr } = await ended(startNode(RUN, [
    'streams', '--url', 'http://10.0.0.1/x', '--streams', '0', '--rate', 'fast', '--what', '1',
    '--json=yes', '--header', 'x-api-key lma_secret', '--seconds',
  ]));
  assert.deepEqual([code, stdout], [2, '']);
  const said = ['10.0.0.1', '\'0\'', '\'fast\'', '--what', '--json', '--header', '--seconds'];
  for (const text of said) assert.ok(stderr.includes(text), `${text} in ${stderr}`);
  assert.ok(!stderr.includes('lma_secret'), 'a key is not repeated');
});

it('loads this machine only, unless it is told that the owner knows', () => {
  const problems = (...args: string[]): number => {
    const plan = planFrom(args);
    return 'problems' in plan ? plan.problems.length : 0;
  };
  for (const host of ['127.0.0.1:1', 'localhost', '127.9.9.9:80']) {
    assert.equal(problems('--url', `http://${host}/{run}/{n}`), 0, host);
  }
  for (const host of ['127.evil.example', '8.8.8.8', 'localhost.example', '127.0.0.1@8.8.8.8']) {
    assert.equal(problems('--url', `http://${host}/`), 1, host);
  }
  assert.equal(problems('--url', 'http://8.8.8.8/', '--remote'), 0);
  assert.equal(problems('--url', 'https://127.0.0.1/'), 1);
  assert.equal(problems(), 1);
});

it('is no success where it was told to stop before every stream was open', async (t) => {
  const cli = startCli(['serve', '--port', '0']);
  t.after(() => cli.stop());
  const [, port] = await cli.stdoutLine(/http:\/\/127\.0\.0\.1:(\d+)\//);
  const url = `http://127.0.0.1:${port}/v1/runs/demo-1/stream`;
  const streams = startNode(RUN, ['streams', '--url', url, '--streams', '1000', '--rate', '10',
    '--header', 'x-api-key: lma_demo']);
  t.after(() => streams.stop());
  await until('the first stream', () => /\b[1-9]\d* open/.test(streams.stderr));
  streams.kill('SIGINT');
  const { code, stdout, stderr } = await ended(streams);
  assert.equal(code, 1, stderr);
  assert.match(stdout, /^cut short\nopened +\d{1,2} of 1000/);
  assert.match(stdout, /^failed +none[^]*^lost +0$/m);
});

it('holds streams of the demo, and says what came of them', async (t) => {
  const cli = startCli(['serve', '--port', '0', '--poll-interval', '100ms']);
  t.after(() => cli.stop());
  const [, port] = await cli.stdoutLine(/http:\/\/127\.0\.0\.1:(\d+)\//);
  const args = ['streams', '--url', `http://127.0.0.1:${port}/v1/runs/demo-{n}/stream`, '--streams',
    '40', '--rate', '400', '--seconds', '1'];
  const key = ['--header', 'x-api-key: lma_demo'];
  const [good, bad] = await Promise.all([
    ended(startNode(RUN, [...args, ...key])), ended(startNode(RUN, [...args, '--json'])),
  ]);
  assert.equal(good.code, 0, good.stderr);
  assert.match(good.stdout, /^opened +40 of 40/);
  assert.match(good.stdout, /^events +progress \d+/m);
  assert.match(good.stdout, /^delivery +not measured/m);
  assert.match(good.stdout, /^lost +0$/m);
  assert.match(good.stderr, /40 open/);
  assert.ok(!/lma_demo/.test(good.stdout + good.stderr), 'no key in what it writes');
  assert.equal(bad.code, 1);
  const { opened } = JSON.parse(bad.stdout) as { opened: { failed: Record<string, number> } };
  assert.deepEqual(opened.failed, { 401: 40 });
});
