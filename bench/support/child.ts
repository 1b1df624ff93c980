/**
 * Processes that the bench starts, and that end with it for certain: each one by its own id and
 * with the processes that it started itself, at the latest when this process exits. Only a
 * SIGKILL of the bench leaves the rest to them: their stdin is a pipe whose end they may watch.
 */

import { spawn } from 'node:child_process';
import type { ChildProcess, StdioOptions } from 'node:child_process';
import { within } from '../../test/support/wait.ts';
import { isAlive, processTree } from './usage.ts';

/** How a child is started beside its arguments. */
export interface ChildOptions {
  readonly cwd?: string;
  /** A channel for {@link Child.ask}. */
  readonly ipc?: boolean;
}

/** What would make a child another program than the one that people run, or a slower one. */
const NOT_INHERITED = /^(RUNCAST_|NODE_TEST_|NODE_OPTIONS$|NODE_V8_COVERAGE$)/;
const STOP_SIGNALS = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;
/** Of what a child says, only the end is kept. */
const MAX_KEPT_CHARACTERS = 64 * 1024;
const running = new Set<Child>();
let isGuarding = false;

/** Starts `command`; `label` names it in errors. Whoever starts one stops it. */
export function startChild(
  label: string, command: string, args: readonly string[], options: ChildOptions = {},
): Child {
  guard();
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !NOT_INHERITED.test(name)),
  );
  const stdio: StdioOptions = ['pipe', 'pipe', 'pipe', ...(options.ipc ? ['ipc' as const] : [])];
  return new Child(label, spawn(command, args, { env, stdio, cwd: options.cwd }));
}

/** One process and what it says. */
export class Child {
  readonly label: string;
  /** Both outputs, the end of them. */
  said = '';
  readonly #process: ChildProcess;
  readonly #gone: Promise<void>;
  readonly #watchers = new Set<() => void>();
  #isGone = false;

  constructor(label: string, child: ChildProcess) {
    this.label = label;
    this.#process = child;
    running.add(this);
    for (const output of [child.stdout, child.stderr]) {
      output?.setEncoding('utf8').on('data', (text: string) => this.#onText(text));
    }
    // It may be gone before it has read.
    child.stdin?.on('error', () => undefined);
    this.#gone = new Promise((resolve) => {
      const onGone = (): void => {
        this.#isGone = true;
        running.delete(this);
        resolve();
        this.#wake();
      };
      child.once('exit', onGone);
      child.on('error', (error) => {
        this.#onText(String(error));
        if (child.pid === undefined) onGone();
      });
    });
  }

  /** Throws where it could not be started. */
  get pid(): number {
    if (this.#process.pid === undefined) throw new Error(`${this.label}: ${this.said}`);
    return this.#process.pid;
  }

  /** Its own and those of all its descendants; none once it is gone. */
  pids(): readonly number[] {
    return this.#isGone ? [] : processTree(this.pid);
  }

  /** The first line, said already or to come, that matches; rejects if it ends before. */
  line(pattern: RegExp, ms = 10_000): Promise<RegExpExecArray> {
    let look = (): void => undefined;
    const found = new Promise<RegExpExecArray>((resolve, reject) => {
      look = () => {
        const lines = this.said.split('\n').slice(0, -1);
        const match = lines.map((line) => pattern.exec(line)).find((hit) => hit !== null);
        if (match) resolve(match);
        else if (this.#isGone) reject(new Error(`${this.label} ended and said: ${this.said}`));
      };
    });
    this.#watchers.add(look);
    look();
    return within(ms, `${this.label}: ${pattern}`, found)
      .finally(() => this.#watchers.delete(look));
  }

  /** Sends a question over its channel; resolves with its next message. One at a time. */
  async ask(question: object, ms = 5_000): Promise<unknown> {
    const answered = new Promise<unknown>((resolve) => this.#process.once('message', resolve));
    this.#process.send(question);
    return within(ms, `${this.label}: an answer to ${JSON.stringify(question)}`, answered);
  }

  /** SIGTERM, then SIGKILL; resolves when it and its descendants are gone. Idempotent. */
  async stop(graceMs = 3_000): Promise<void> {
    const family = this.#isGone ? [] : processTree(this.pid);
    this.#process.kill('SIGTERM');
    await within(graceMs, this.label, this.#gone).catch(() => this.kill());
    await within(2_000, `${this.label}: its end`, this.#gone);
    for (let waitedMs = 0; family.some(isAlive) && waitedMs < 2_000; waitedMs += 10) {
      if (waitedMs === 1_000) killAll(family);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  /** SIGKILL to it and all its descendants, at once. */
  kill(): void {
    if (!this.#isGone && this.#process.pid !== undefined) killAll(processTree(this.pid));
  }

  #onText(text: string): void {
    this.said = (this.said + text).slice(-MAX_KEPT_CHARACTERS);
    this.#wake();
  }

  #wake(): void {
    for (const look of [...this.#watchers]) look();
  }
}

function killAll(pids: readonly number[]): void {
  for (const pid of pids) {
    try {
      if (isAlive(pid)) process.kill(pid, 'SIGKILL');
    } catch {
      // It was faster.
    }
  }
}

function guard(): void {
  if (isGuarding) return;
  isGuarding = true;
  process.on('exit', () => {
    for (const child of running) child.kill();
  });
  for (const [signal, code] of Object.entries(STOP_SIGNALS)) {
    // Whoever else listens, a progress line on a terminal say, had their turn before.
    process.on(signal, () => setImmediate(() => process.exit(code)));
  }
}
