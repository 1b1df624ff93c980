/**
 * The command line as a child process, as a user starts it: from source under tsx, or the
 * compiled file when the tests themselves run compiled. Each child is ended by its own id, at
 * the latest when this process ends.
 */

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { within } from './wait.ts';

export interface CliOptions {
  /** On top of this process's environment without its `RUNCAST_*`. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Its limit on open files. Default: ours. */
  readonly openFiles?: number;
  /** False: nobody reads its stderr, until `readLog()` is called. Default: it is read. */
  readonly isLogRead?: boolean;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** `runcast ...args`: what was built, where the tests were told to; else from their own source. */
export function startCli(args: readonly string[], options: CliOptions = {}): Cli {
  // Three processes that each compile the source first are most of what the suites cost.
  if (process.env['TEST_DIST'] !== undefined) {
    return startNode(new URL('../../dist/cli.js', import.meta.url), args, options, []);
  }
  const script = new URL(`../../src/cli${extname(import.meta.url)}`, import.meta.url);
  return startNode(script, args, options);
}

/** Any script, by default with this process's own loader flags. */
export function startNode(
  script: URL, args: readonly string[], options: CliOptions = {}, flags = loaderFlags(),
): Cli {
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(RUNCAST_|NODE_TEST_)/.test(name)),
  );
  const command = [process.execPath, ...flags, fileURLToPath(script), ...args];
  const { openFiles } = options;
  const limited = openFiles === undefined
    ? command : ['sh', '-c', `ulimit -n ${openFiles} && exec "$0" "$@"`, ...command];
  const [program = '', ...rest] = limited;
  return new Cli(spawn(program, rest, {
    env: { ...env, ...options.env },
    cwd: options.cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
  }), options.isLogRead);
}

export class Cli {
  /** All so far. */
  stdout = '';
  stderr = '';
  /** Resolves when the process is gone and its output is in. */
  readonly exited: Promise<Exit>;

  readonly #child: ChildProcess;
  readonly #watchers = new Set<() => void>();
  #exit: Exit | undefined;

  constructor(child: ChildProcess, isLogRead = true) {
    this.#child = child;
    running.add(child);
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
      this.#wake();
    });
    if (isLogRead) this.readLog();
    this.exited = new Promise((resolve) => {
      const onExit = (exit: Exit): void => {
        running.delete(child);
        this.#exit ??= exit;
        resolve(this.#exit);
        this.#wake();
      };
      child.once('error', (error) => {
        this.stderr += String(error);
        onExit({ code: null, signal: null });
      });
      child.once('close', (code, signal) => onExit({ code, signal }));
      // Its workers share its pipes and may outlive it: `close` is not waited for without end.
      child.once('exit', (code, signal) => {
        setTimeout(() => onExit({ code, signal }), 500).unref();
      });
    });
  }

  /** From now on; once. */
  readLog(): void {
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
      this.#wake();
    });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** The first line of stdout, past or to come, that matches; rejects if the process ends. */
  stdoutLine(regex: RegExp, ms = 30_000): Promise<RegExpExecArray> {
    return this.#line('stdout', regex, ms);
  }

  /** The same for stderr, where the log is. */
  stderrLine(regex: RegExp, ms = 30_000): Promise<RegExpExecArray> {
    return this.#line('stderr', regex, ms);
  }

  kill(signal: NodeJS.Signals = 'SIGTERM'): void {
    this.#child.kill(signal);
  }

  /** SIGTERM, and SIGKILL if that does not help: coverage is written only by a tidy exit. */
  async stop(graceMs = 2_000): Promise<Exit> {
    if (this.#exit === undefined) this.kill('SIGTERM');
    const killer = setTimeout(() => this.kill('SIGKILL'), graceMs);
    const exit = await this.exited;
    clearTimeout(killer);
    return exit;
  }

  #line(from: 'stdout' | 'stderr', regex: RegExp, ms: number): Promise<RegExpExecArray> {
    let look = (): void => undefined;
    const found = new Promise<RegExpExecArray>((resolve, reject) => {
      look = () => {
        // The last piece is not a line until its end has come or the process is gone.
        const lines = this[from].split('\n').slice(0, this.#exit === undefined ? -1 : undefined);
        const match = lines.map((line) => regex.exec(line)).find((hit) => hit !== null);
        if (match) resolve(match);
        else if (this.#exit !== undefined) reject(new Error(`no line matched ${regex}`));
      };
    });
    this.#watchers.add(look);
    look();
    return within(ms, `${regex} on ${from}`, found).catch((error: Error) => {
      error.message += `\n${this.#story()}`;
      throw error;
    }).finally(() => this.#watchers.delete(look));
  }

  #wake(): void {
    for (const look of [...this.#watchers]) look();
  }

  #story(): string {
    const state = this.#exit === undefined ? 'is running' : `ended: ${JSON.stringify(this.#exit)}`;
    return `the process ${state}\nstdout: ${this.stdout}\nstderr: ${this.stderr}`;
  }
}

/** This process's flags without the test runner's, loaders made independent of the cwd. */
function loaderFlags(): string[] {
  const flags: string[] = [];
  let flag = '';
  for (const arg of process.execArgv) {
    const isValue = !arg.startsWith('-');
    if (!isValue) flag = arg;
    if (/^--(experimental-)?test/.test(flag)) continue;
    const inline = /^--import=(.*)$/.exec(arg)?.[1];
    if (inline !== undefined) flags.push(`--import=${import.meta.resolve(inline)}`);
    else flags.push(isValue && flag === '--import' ? import.meta.resolve(arg) : arg);
  }
  return flags;
}
