/**
 * Where and how a number was measured: without this it says nothing. Taken once, before the
 * measuring begins, since the load of that moment is one of the facts.
 */

import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem, type } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The facts, each as people read it. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly kernel: string;
  /** Runnable processes over the last minute when the bench began: near 0 on an idle machine. */
  readonly loadBefore: number;
  readonly node: string;
  /** Abbreviated, with `+changes` where the tree differs from it; `unknown` without git. */
  readonly commit: string;
  /** ISO 8601, UTC, to the second. */
  readonly date: string;
  /** What was typed, with the values of headers blotted out: a key must not end in a report. */
  readonly command: string;
}

/** Root of the repository, however deep below it this module runs, compiled or not. */
export const ROOT = rootAbove(dirname(fileURLToPath(import.meta.url)));

/** What the bench writes itself: a change there changes nothing that is measured. */
const WRITTEN_HERE = [':!bench/results', ':!README.md'];

/** The facts of this moment, this machine and this process. */
export function describeMachine(): Machine {
  const [first] = cpus();
  return {
    cpu: (first?.model ?? 'unknown CPU').replace(/\s+/g, ' ').trim(),
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: `${type()} ${release()}`,
    loadBefore: Math.round((loadavg()[0] ?? 0) * 100) / 100,
    node: process.version,
    commit: commitOf(ROOT),
    date: `${new Date().toISOString().slice(0, 19)}Z`,
    command: commandLine(process.execArgv, process.argv),
  };
}

/** One line, without what identifies the one run: for a table's head and a chart's foot. */
export function machineLine({ cpu, cores, memoryGiB, kernel, node, commit }: Machine): string {
  const hardware = `${cpu}, ${cores} cores, ${memoryGiB} GiB`;
  return [hardware, kernel, `Node ${node}`, `commit ${commit}`].join(' · ');
}

/** As it can be typed again at the root. `npm run` is not seen from inside, so `node` is. */
export function commandLine(flags: readonly string[], argv: readonly string[]): string {
  const [, script = '', ...args] = argv;
  const words = ['node', ...flags, relative(ROOT, script), ...args];
  return words.map((word) => quoted(withoutSecret(word))).join(' ');
}

/** A header keeps its name only, also behind `--header=`; a URL loses who and with what. */
function withoutSecret(word: string): string {
  return word.replace(/^((?:--header=)?[\w-]+:\s*)(?!\/\/).*$/s, '$1…')
    .replace(/:\/\/[^/?#]*@/, '://…@')
    .replace(/([?&](?:key|token|ticket)=)[^&#]*/gi, '$1…');
}

function quoted(word: string): string {
  return /^[\w@%+=:,./…-]+$/.test(word) ? word : `'${word.replaceAll('\'', '\'\\\'\'')}'`;
}

function commitOf(cwd: string): string {
  const git = (...args: string[]): string =>
    execFileSync('git', args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  try {
    const changes = git('status', '--porcelain', '--', '.', ...WRITTEN_HERE);
    return git('rev-parse', '--short', 'HEAD').trim() + (changes === '' ? '' : '+changes');
  } catch {
    return 'unknown';
  }
}

function rootAbove(from: string): string {
  const file = join(from, 'package.json');
  if (existsSync(file) && readFileSync(file, 'utf8').includes('"name": "runcast"')) return from;
  if (from === dirname(from)) throw new Error('no package.json of runcast above the bench');
  return rootAbove(dirname(from));
}
