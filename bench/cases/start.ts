/**
 * How long the command takes until somebody can connect, against the shortest Node program that
 * listens at all. Both are started as people start them, from compiled files, one at a time and
 * in turn; the clock runs from before the spawn until a connection is accepted.
 */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { within } from '../../test/support/wait.ts';
import { ROOT } from '../support/machine.ts';
import { judge } from '../support/report.ts';
import type { CaseOptions, CaseResult, Row, Target } from '../support/report.ts';
import { interleave, median } from '../support/statistics.ts';

const CLI = join(ROOT, 'dist', 'cli.js');
const BARE = `
  const server = require('node:http').createServer((request, response) => response.end());
  server.listen(0, '127.0.0.1', () => {
    console.log('http://127.0.0.1:' + server.address().port + '/');
  });
`;
/** Nothing listens on port 9: a start must not need upstream. */
const RUNCAST = ['serve', '--upstream', 'http://127.0.0.1:9', '--port', '0'];
const ROWS: Readonly<Record<string, readonly string[]>> = {
  runcast: [CLI, ...RUNCAST],
  'node -e, bare server': ['-e', BARE],
};
/** A start takes some 50 ms and varies by as much: one alone says little. */
const STARTS_A_REPEAT = 9;
const DEADLINE_MS = 10_000;
const PORT = /http:\/\/127\.0\.0\.1:(\d+)\//;

const TARGET: Target = {
  text: 'Start to listening', contender: 'runcast', figure: 'listening after', limit: 1.5,
  over: 'node -e, bare server',
};

/** Starts both sides in turn; a repeat is the median of several starts. */
export async function run({ repeats, quick, log }: CaseOptions): Promise<CaseResult> {
  const isBuilt = existsSync(CLI);
  const here = Object.keys(ROWS).filter((row) => isBuilt || row !== TARGET.contender);
  // The check, and the warm-up too: from here on the files are in the page cache.
  for (const row of here) await startOnce(row);
  const figures = await interleave(here, repeats, async (row, repeat) => {
    log(`start: ${row}, ${repeat + 1} of ${repeats}`);
    const times: number[] = [];
    for (let i = 0; i < (quick ? 1 : STARTS_A_REPEAT); i++) times.push(await startOnce(row));
    return [{ name: 'listening after', unit: 'ms', value: median(times) }];
  });
  const rows = [...figures].map(([contender, found]): Row =>
    ({ contender, figures: found, notes: [] }));
  return {
    name: 'start', title: 'Start', rows, targets: [judge(TARGET, rows)],
    skipped: isBuilt ? [] : ['runcast: dist is not built'],
    what: 'Median of 9 starts: wall time from spawn to the first TCP connection accepted at the '
      + 'printed address, '
      + 'the two sides in turn; each start is followed by a request that must get an HTTP answer.',
  };
}

async function startOnce(row: string): Promise<number> {
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(RUNCAST_|NODE_)/.test(name)));
  const startedAt = performance.now();
  const child = spawn(process.execPath, ROWS[row] ?? [], {
    env, cwd: ROOT, stdio: ['ignore', 'pipe', 'ignore'],
  });
  const onExit = (): void => { child.kill('SIGKILL'); };
  process.once('exit', onExit);
  try {
    const port = await within(DEADLINE_MS, `the address of ${row}`, printedPort(child));
    const ms = await within(DEADLINE_MS, `a connection to ${row}`, connected(port, startedAt));
    const { status } = await fetch(`http://127.0.0.1:${port}/livez`);
    assert.equal(status, 200, `${row} listens but does not answer`);
    return ms;
  } finally {
    process.off('exit', onExit);
    const gone = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : 0;
    child.kill('SIGKILL');
    await gone;
  }
}

async function printedPort(child: ChildProcess): Promise<number> {
  let text = '';
  for await (const part of child.stdout ?? []) {
    text += String(part);
    const port = PORT.exec(text)?.[1];
    if (port !== undefined) return Number(port);
  }
  throw new Error(`ended without an address: ${text}`);
}

function connected(port: number, startedAt: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => {
      resolve(performance.now() - startedAt);
      socket.destroy();
    });
    socket.once('error', reject);
  });
}
