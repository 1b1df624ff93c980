/**
 * better-sse, the most used SSE library of Node, installed from npm at a pinned version into a
 * folder of its own outside of this package, and kept there for the next run of the bench.
 */

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import type { Contender } from '../support/contender.ts';
import { hasProgram, listening, startEntry } from './processes.ts';

const VERSION = '0.16.1';
const FOLDER = join(tmpdir(), `runcast-bench-better-sse-${VERSION}`);
const MODULE = join(FOLDER, 'node_modules', 'better-sse', 'build', 'index.mjs');
const INSTALL_MS = 60_000;
const runFile = promisify(execFile);

/** A session per client, a channel per run. */
export const betterSse: Contender = {
  name: 'better-sse',
  async unavailable() {
    if (isBetterSseInstalled() || hasProgram('npm', ['--version'])) return undefined;
    return 'better-sse is installed from npm, and there is no `npm`';
  },
  async start(workload) {
    if (!isBetterSseInstalled()) await install();
    const plan = { ...workload, module: pathToFileURL(MODULE).href };
    return listening(await startEntry('better-sse', 'entries/better-sse', plan));
  },
};

/** If not, a start goes to the network first. */
export function isBetterSseInstalled(): boolean {
  return existsSync(MODULE);
}

/** Under another name first: an install that breaks off is not taken for one. */
async function install(): Promise<void> {
  const half = `${FOLDER}-${process.pid}`;
  await mkdir(half, { recursive: true });
  const flags = ['--ignore-scripts', '--no-audit', '--no-fund', '--no-save', '--prefix', half];
  await runFile('npm', ['install', ...flags, `better-sse@${VERSION}`], { timeout: INSTALL_MS });
  // Another bench may have been faster.
  await rename(half, FOLDER).catch(() => rm(half, { recursive: true, force: true }));
}
