/**
 * `runcast watch` as its users start it: in a pipe, in a script, in a terminal (a pseudo terminal
 * of util-linux' `script`), over the real gateway and over servers that fail; and its exit codes.
 */

import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { extname } from 'node:path';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { startCli, startNode } from '../support/cli.ts';
import type { Cli, Exit } from '../support/cli.ts';
import { gatewayFor, startGateway } from '../support/gateway.ts';
import type { TestGateway } from '../support/gateway.ts';
import { cut, event, refusal, scripted, stall, stream } from '../support/scripted-sse.ts';
import { refused, state } from '../support/upstream.ts';
import { until, within } from '../support/wait.ts';

const KEY = { RUNCAST_API_KEY: 'lma_a' };
const MS = 60_000;
const NODES = (status: string, value: unknown = null): Record<string, unknown> => ({
  outputs: [{ id: 'n', label: 'Script', type: 'text', value, status, error: null }],
  progress: { totalOutputs: 1, percentComplete: value === null ? 10 : 100 },
});

const EXTENSION = extname(import.meta.url);
const DIST = process.env['TEST_DIST'] !== undefined;

/** The program as a shell has it. */
const CLI = (() => {
  const path = DIST ? '../../dist/cli.js' : `../../src/cli${EXTENSION}`;
  const loader = DIST || EXTENSION === '.js' ? '' : `--import=${import.meta.resolve('tsx')}`;
  return `'${process.execPath}' ${loader} '${fileURLToPath(new URL(path, import.meta.url))}'`;
})();

const inShell = (command: string): Promise<{ stdout: string; stderr: string }> =>
  promisify(execFile)('sh', ['-c', command], { env: { ...process.env, ...KEY } });

function watch(t: TestContext, args: readonly string[], env: Record<string, string> = KEY): Cli {
  const cli = startCli(['watch', ...args], { env });
  t.after(() => cli.stop());
  return cli;
}

const exitOf = (cli: Cli): Promise<Exit> => within(MS, 'the end of runcast watch', cli.exited);

/** A gateway, and a run there that a test takes on step by step. */
async function withRun(t: TestContext): Promise<TestGateway> {
  const gateway = await gatewayFor(t, startGateway);
  gateway.upstream.run('r1', state('running', NODES('pending')));
  return gateway;
}

describe('runcast watch in a pipe', () => {
  it('writes a line for what changed, and is 0 when the run is complete', async (t) => {
    const gateway = await withRun(t);
    const cli = watch(t, ['r1', '--url', gateway.origin]);
    await cli.stdoutLine(/^r1 running 10 %$/, MS);
    gateway.upstream.run('r1', state('completed', NODES('completed', 'A quiet \x1b[2Jmorning')));
    assert.deepEqual(await exitOf(cli), { code: 0, signal: null });
    assert.deepEqual(cli.stdout.split('\n'), [
      'r1 running 10 %', 'r1 Script completed A quiet  [2Jmorning', 'r1 completed 100 %', '',
    ]);
    assert.equal(cli.stderr, '');
  });

  it('is 1 when the run has failed or was cancelled', async (t) => {
    const gateway = await withRun(t);
    for (const status of ['failed', 'cancelled']) {
      gateway.upstream.run(status, state(status, { errorMessage: 'No answer' }));
      const cli = watch(t, [`${gateway.origin}/v1/runs/${status}`]);
      assert.equal((await exitOf(cli)).code, 1);
      assert.match(cli.stdout, new RegExp(`^${status} ${status}.*: No answer$`, 'm'));
    }
  });

  it('is 3 where the run cannot be followed, and says why', async (t) => {
    const gateway = await withRun(t);
    gateway.upstream.run('no', refused(403, 'FORBIDDEN', 'Not yours'));
    const cli = watch(t, ['no', '--url', gateway.origin]);
    assert.equal((await exitOf(cli)).code, 3);
    assert.match(cli.stderr, /^runcast: Not yours \(FORBIDDEN\)$/m);
    assert.equal(cli.stdout, '');
  });

  it('is 3 when access is lost on the way, and when nobody is there', async (t) => {
    const loss = { runId: 'r', errorMessage: 'Gone', error: 'Gone', code: 'NOT_FOUND',
      retryable: false, requestId: 'q' };
    const lost = await scripted(t, stream(event('error', 'i', loss)));
    const one = watch(t, [lost.url]);
    const busy = await scripted(t, refusal(503, 'busy', { 'retry-after': '60' }));
    const other = watch(t, [busy.url, '--give-up', '2s']);
    assert.equal((await exitOf(one)).code, 3);
    assert.match(one.stderr, /Gone \(NOT_FOUND\)/);
    assert.equal((await exitOf(other)).code, 3);
    assert.match(other.stderr, /GAVE_UP/);
  });

  it('is 2 for bad usage, with every mistake, and shows no key', async (t) => {
    const cli = watch(t, ['a b', '--url', 'ftp://x', '--nope', '--give-up', 'x'], {});
    assert.equal((await exitOf(cli)).code, 2);
    for (const part of ['--url', '--nope', '--give-up', 'a run id', 'runcast watch --help lists']) {
      assert.ok(cli.stderr.includes(part), cli.stderr);
    }
    const keyless = watch(t, ['r1'], {});
    assert.equal((await exitOf(keyless)).code, 2);
    assert.match(keyless.stderr, /RUNCAST_API_KEY/);
    const help = watch(t, ['--help'], {});
    assert.equal((await exitOf(help)).code, 0);
    assert.match(help.stdout, /RUNCAST_API_KEY is safer/);
  });

  it('reconnects, and says so on stderr', async (t) => {
    const first = event('progress', 'i1', { runId: 'r', status: 'running' }, 1);
    const last = event('complete', 'i2', { runId: 'r', status: 'completed' });
    const { url } = await scripted(t, cut(first), stream(last));
    const cli = watch(t, [url]);
    assert.equal((await exitOf(cli)).code, 0);
    assert.deepEqual(cli.stdout.split('\n'), ['r running', 'r completed', '']);
    assert.match(cli.stderr, /^runcast: .*; again in 0\.3 s$/m);
  });

  it('--json writes upstream’s own JSON, an event a line', async (t) => {
    const data = '{"runId":"r","status":"completed","n":9007199254740993,"t":"\u009b2J"}';
    const { url } = await scripted(t, stream(event('complete', 'i1', data)));
    const cli = watch(t, ['--json', url]);
    assert.equal((await exitOf(cli)).code, 0);
    const told = data.replace('\u009b', '\\u009b');
    assert.equal(cli.stdout, `{"type":"complete","runId":"r","id":"i1","data":${told}}\n`);
  });

  it('ends with 128 and its number on a signal', async (t) => {
    const { url } = await scripted(t, stall(event('progress', 'i', { runId: 'r', status: 'x' })));
    for (const [signal, code] of [['SIGINT', 130], ['SIGHUP', 129], ['SIGQUIT', 131]] as const) {
      const cli = watch(t, [url]);
      await cli.stdoutLine(/^r x$/, MS);
      cli.kill(signal);
      assert.deepEqual(await exitOf(cli), { code, signal: null });
      assert.equal(cli.stderr, '');
    }
  });

  const noFull = existsSync('/dev/full') ? false : 'no /dev/full';
  it('is 3 where it cannot write, and says why', { skip: noFull }, async (t) => {
    const progress = event('progress', 'i', { runId: 'r', status: 'x' });
    const complete = event('complete', 'i', { runId: 'r', status: 'completed' });
    for (const reply of [stall(progress), stream(complete)]) {
      const { url } = await scripted(t, reply);
      const command = `${CLI} watch '${url}' > /dev/full; echo "exit=$?"`;
      const { stdout, stderr } = await within(MS, 'the end of runcast watch', inShell(command));
      assert.equal(stdout, 'exit=3\n');
      assert.match(stderr, /^runcast: cannot write: .*ENOSPC.*\n$/);
    }
  });
});

const hasScript = (() => {
  try {
    return execFileSync('script', ['--version'], { encoding: 'utf8' }).includes('util-linux');
  } catch {
    return false;
  }
})();

const noScript = hasScript ? false : 'no script of util-linux';
describe('runcast watch in a terminal', { skip: noScript }, () => {
  /** Through a pseudo terminal of so many columns. */
  function inTerminal(t: TestContext, url: string, columns = 70, env = '', after = ''): Cli {
    const command = `stty cols ${columns} rows 24; ${env} ${CLI} watch '${url}'; echo "exit=$?"`
      + after;
    const terminal = new URL(`../support/terminal${EXTENSION}`, import.meta.url);
    const cli = startNode(terminal, [command], { env: { ...KEY, TERM: 'xterm', NO_COLOR: '' } });
    t.after(() => cli.stop());
    return cli;
  }
  const under = { runId: 'r', status: 'running', ...NODES('pending') };
  const running = event('progress', 'i1', under, 1);
  const last = event('complete', 'i2', {
    runId: 'r', status: 'completed', ...NODES('completed', 'x\u001b[2Jy'.repeat(40)),
  });

  it('draws a picture in its place, and leaves the terminal as it was', async (t) => {
    const { url } = await scripted(t, cut(running), stream(last));
    for (const columns of [12, 70]) {
      const cli = inTerminal(t, url, columns);
      await exitOf(cli);
      assert.match(cli.stdout, /exit=0/);
      assert.match(cli.stdout, /^\x1b\[\?25l\x1b\[\?7l/);
      assert.match(cli.stdout, /\x1b\[\?7h\x1b\[\?25hexit=0/);
      assert.doesNotMatch(cli.stdout, /\x1b\[2J/);
      assert.match(cli.stdout, /✓\x1b\[0m/);
    }
  });

  it('has no colours with NO_COLOR, and no picture on a dumb terminal', async (t) => {
    const { url } = await scripted(t, stream(last));
    const plain = inTerminal(t, url, 70, 'NO_COLOR=1');
    await exitOf(plain);
    assert.match(plain.stdout, /✓ Script/);
    assert.doesNotMatch(plain.stdout, /\x1b\[\d+m/);
    const dumb = inTerminal(t, url, 70, 'TERM=dumb');
    await exitOf(dumb);
    assert.doesNotMatch(dumb.stdout, /\x1b/);
    assert.match(dumb.stdout, /r completed 100 %/);
  });

  it('on Ctrl-C and Ctrl-\\ shows the cursor again and ends with 130 and 131', async (t) => {
    const { url } = await scripted(t, stall(running));
    for (const [signal, code] of [['SIGINT', 130], ['SIGQUIT', 131]] as const) {
      const cli = inTerminal(t, url);
      await until('the picture', () => cli.stdout.includes('running'), MS);
      cli.kill(signal);
      await exitOf(cli);
      assert.match(cli.stdout, /\x1b\[\?7h\x1b\[\?25h/);
      assert.ok(cli.stdout.includes(`exit=${code}`), cli.stdout);
    }
  });

  it('on Ctrl-Z stops, with the terminal as it was, and draws anew when it goes on', async (t) => {
    const { url } = await scripted(t, stall(running));
    // With its jobs under control the shell goes on behind one that has stopped.
    const cli = inTerminal(t, url, 70, 'set -m;', '; fg; echo "then=$?"');
    for (const [signal, pictures] of [['SIGTSTP', 1], ['SIGINT', 2]] as const) {
      const seen = (): number => cli.stdout.split('\x1b[?25l').at(pictures)?.length ?? 0;
      await until(`picture ${pictures}`, () => seen() > 100, MS);
      cli.kill(signal);
    }
    await exitOf(cli);
    const [, first, second, ...more] = cli.stdout.split('\x1b[?25l\x1b[?7l');
    assert.match(first ?? '', /\x1b\[\?7h\x1b\[\?25h[^\x1b]*exit=148/);
    assert.match(second ?? '', /^\r?r  running[^]*\x1b\[\?25h[^\x1b]*then=130/);
    assert.deepEqual(more, []);
  });
});
