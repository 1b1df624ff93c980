/** Readings of CPU and memory against processes of which it is known what they use. */

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { cpus } from 'node:os';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { startChild } from '../../bench/support/child.ts';
import type { Child } from '../../bench/support/child.ts';
import {
  cpuBetween, isAlive, memoryOf, othersShare, processTree, sampleBusy, sampleCpu,
} from '../../bench/support/usage.ts';
import { until } from '../support/wait.ts';

const NEEDS_PROC = { skip: existsSync('/proc/self/stat') ? false : 'needs /proc' };
const MIB = 2 ** 20;

function startScript(t: TestContext, script: string): Child {
  const child = startChild('script', process.execPath, ['-e', script], { ipc: true });
  t.after(() => child.stop());
  return child;
}

/** Uses as much CPU as it is told, by its own clock, and then says what it used. */
const WORKER = `process.on('message', ({ ms }) => {
  const from = process.cpuUsage();
  const used = () => { const { user, system } = process.cpuUsage(from); return user + system; };
  while (used() < ms * 1000);
  process.send(used() / 1e6);
});
console.log('ready');`;

test('CPU is what a process says that it used', NEEDS_PROC, async (t) => {
  const child = startScript(t, WORKER);
  await child.line(/ready/);
  const before = sampleCpu([child.pid]);
  const seconds = await child.ask({ ms: 200 }) as number;
  const used = cpuBetween(before, sampleCpu([child.pid]));
  const tolerance = used.source === 'ticks' ? 0.03 : 0.02;
  assert.ok(Math.abs(used.seconds - seconds) < tolerance, `${used.seconds} for ${seconds}`);
});

test('CPU of a thread that ended is counted, in ticks', NEEDS_PROC, async (t) => {
  const child = startScript(t, `
    const { Worker } = require('node:worker_threads');
    const work = 'const from = process.cpuUsage();'
      + 'const used = () => { const u = process.cpuUsage(from); return u.user + u.system; };'
      + 'while (used() < 2e5);';
    const wait = "require('node:worker_threads').parentPort.once('message', () => {" + work + "});";
    const thread = new Worker(wait, { eval: true });
    thread.on('online', () => console.log('ready'));
    process.on('message', () => {
      thread.on('exit', () => process.send('done'));
      thread.postMessage('go');
    });`);
  await child.line(/ready/);
  const before = sampleCpu([child.pid]);
  await child.ask({});
  const used = cpuBetween(before, sampleCpu([child.pid]));
  assert.equal(used.source, 'ticks');
  assert.ok(used.seconds > 0.15 && used.seconds < 0.5, `${used.seconds}`);
});

test('what descendants used is ours, also of those that ended', NEEDS_PROC, async (t) => {
  const child = startScript(t, WORKER);
  await child.line(/ready/);
  const before = sampleBusy();
  await child.ask({ ms: 300 });
  const during = sampleBusy();
  await child.stop();
  const after = sampleBusy();
  for (const { own } of [during, after]) {
    assert.ok(own - before.own > 0.25, `${own - before.own} s of the 0.3 are ours`);
  }
  const share = othersShare(before, during);
  assert.ok(share >= 0 && share <= 1.05, String(share));
});

test('who is busy beside us is a share of all cores', () => {
  const cores = cpus().length;
  const before = { machine: 100, own: 10, atMs: 0 };
  const after = { machine: 100 + 2 + 3 * cores, own: 12, atMs: 10_000 };
  assert.ok(Math.abs(othersShare(before, after) - 0.3) < 1e-9);
  assert.equal(othersShare(before, { ...after, own: 1_000 }), 0);
});

test('memory grows by what is taken', NEEDS_PROC, async (t) => {
  const child = startScript(t, `let kept; console.log('ready');
    process.on('message', () => { kept = Buffer.alloc(64 * ${MIB}, 1); process.send('done'); });`);
  await child.line(/ready/);
  const before = memoryOf([child.pid]);
  await child.ask({});
  const after = memoryOf([child.pid]);
  for (const key of ['rssBytes', 'anonBytes'] as const) {
    const grown = (after[key] - before[key]) / MIB;
    assert.ok(grown > 60 && grown < 80, `${key}: ${grown} MiB`);
  }
});

test('a process that ended cannot be measured', NEEDS_PROC, async (t) => {
  const child = startScript(t, WORKER);
  await child.line(/ready/);
  const { pid } = child;
  const before = sampleCpu([pid]);
  await child.stop();
  assert.throws(() => sampleCpu([pid]), /gone/);
  assert.throws(() => memoryOf([pid]), /no memory/);
  assert.throws(() => cpuBetween(before, sampleCpu([])), /ended/);
});

test('children are known with their children, and end with them', NEEDS_PROC, async (t) => {
  // Neither ends by itself, and neither minds SIGTERM.
  const deaf = 'process.on(\'SIGTERM\', () => undefined); setInterval(() => undefined, 1000);';
  const child = startScript(t, `${deaf}
    require('node:child_process').spawn(process.execPath, ['-e', ${JSON.stringify(deaf)}]);
    console.log('ready');`);
  await child.line(/ready/);
  await until('both to be seen', () => child.pids().length === 2);
  const pids = processTree(child.pid);
  assert.deepEqual(pids, child.pids());
  await child.stop(200);
  assert.deepEqual(pids.filter(isAlive), []);
  await child.stop();
});

test('a child that ends or is silent says so, with what it said', async (t) => {
  const gone = startScript(t, 'console.error(\'no luck\')');
  await assert.rejects(gone.line(/ready/), /script ended and said: no luck/);
  const silent = startScript(t, 'setInterval(() => undefined, 1000)');
  await assert.rejects(silent.line(/ready/, 50), /script: \/ready\/: not within 50 ms/);
  const missing = startChild('missing', 'no-such-program-anywhere', []);
  await assert.rejects(missing.line(/ready/), /missing ended and said: .*ENOENT/);
  await missing.stop();
});

test('children do not outlive the process that started them', NEEDS_PROC, async (t) => {
  const url = new URL('../../bench/support/child.ts', import.meta.url);
  const isCompiled = import.meta.url.endsWith('.js');
  const module = isCompiled ? url.href.replace(/\.ts$/, '.js') : url.href;
  const script = `
    import(${JSON.stringify(module)}).then(({ startChild }) => {
      const child = startChild('sleep', 'sleep', ['60']);
      console.log('started ' + child.pid);
      setInterval(() => undefined, 1000);
    });`;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const loader = isCompiled ? [] : ['--import', import.meta.resolve('tsx')];
    const bench = startChild('bench', process.execPath, [...loader, '-e', script]);
    t.after(() => bench.stop());
    const [, pid] = await bench.line(/^started (\d+)$/);
    process.kill(bench.pid, signal);
    await until('its child to be gone', () => !isAlive(Number(pid)));
  }
});
