/**
 * How contenders come to be processes: entries are bundled into one plain JavaScript file that
 * `node` runs alone, C is compiled where there is a compiler. What is made for one run of the
 * bench is in one temporary folder, gone when it ends.
 */

import { execFile, execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { startChild } from '../support/child.ts';
import type { Child, ChildOptions } from '../support/child.ts';
import type { Running } from '../support/contender.ts';

type Build = (options: object) => Promise<unknown>;

const HERE = dirname(fileURLToPath(import.meta.url));
const runFile = promisify(execFile);
const compiled = new Map<string, Promise<string>>();
let folder: string | undefined;

/** The folder with runcast's package.json: this file may itself have been compiled elsewhere. */
export function repositoryRoot(from = HERE): string {
  if (existsSync(join(from, 'package.json'))) return from;
  if (from === dirname(from)) throw new Error('no package.json above the bench');
  return repositoryRoot(dirname(from));
}

/** Gone when this process exits. */
export function temporaryFolder(): string {
  if (folder !== undefined) return folder;
  const made = mkdtempSync(join(tmpdir(), 'runcast-bench-'));
  process.on('exit', () => rmSync(made, { recursive: true, force: true }));
  folder = made;
  return made;
}

/** Runs an entry, a path from this folder without its ending, with a plan for it. */
export async function startEntry(
  label: string, entry: string, plan: object, options: ChildOptions = {},
): Promise<Child> {
  const file = await once(entry, () => bundle(entry));
  return startChild(label, process.execPath, [file, JSON.stringify(plan)], options);
}

/** A C program of this folder, compiled. */
export function compiledC(name: string): Promise<string> {
  return once(name, async () => {
    const source = join(repositoryRoot(), 'bench', 'contenders', `${name}.c`);
    const output = join(temporaryFolder(), name);
    await runFile('cc', ['-O2', '-o', output, source]);
    return output;
  });
}

/** Is there such a program, and does it start? */
export function hasProgram(command: string, args: readonly string[]): boolean {
  try {
    execFileSync(command, args, { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** A server that is one child and says `listening on PORT`. Stops it if it does not. */
export async function listening(child: Child): Promise<Running> {
  try {
    const [, port] = await child.line(/^listening on (\d+)$/);
    return {
      url: `http://127.0.0.1:${port}/v1/runs/{run}/stream`,
      headers: {},
      pids: () => child.pids(),
      stop: () => child.stop(),
    };
  } catch (error) {
    await child.stop();
    throw error;
  }
}

function once(name: string, make: () => Promise<string>): Promise<string> {
  const made = compiled.get(name) ?? make();
  compiled.set(name, made);
  return made;
}

async function bundle(entry: string): Promise<string> {
  // esbuild is no dependency of ours: it comes with tsx, and is asked for from there.
  const { build } = createRequire(import.meta.resolve('tsx'))('esbuild') as { build: Build };
  const outfile = join(temporaryFolder(), `${entry.replace(/\W+/g, '-')}.mjs`);
  const entryPoint = join(HERE, `${entry}${extname(import.meta.url)}`);
  await build({
    entryPoints: [entryPoint], outfile, bundle: true, platform: 'node', format: 'esm',
    target: 'node20', logLevel: 'error',
  });
  return outfile;
}
