/**
 * The program as real processes, seen from outside: who its workers are, whose connection a
 * client has and how much memory they take, all read from /proc (Linux). Beside it what is asked
 * on connections of their own: one that is kept alive might be with a worker that stands still.
 */

import assert from 'node:assert/strict';
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { request } from 'node:http';
import { text } from 'node:stream/consumers';
import type { TestContext } from 'node:test';
import type { GatewayStats } from '../../src/index.ts';
import { startCli } from './cli.ts';
import type { Cli, CliOptions } from './cli.ts';
import { TestGateway } from './gateway.ts';
import type { JoinOptions } from './gateway.ts';
import type { SseStream } from './sse-client.ts';
import { startUpstream } from './upstream.ts';
import type { Upstream } from './upstream.ts';
import { within } from './wait.ts';

export interface ProgramOptions {
  readonly flags?: readonly string[];
  /** One that is running already, and that its starter closes. */
  readonly upstream?: Upstream;
  /** Default: one that is free. */
  readonly port?: number;
  readonly openFiles?: number;
}

const SHORT = ['--poll-interval', '40ms', '--ping-interval', '250ms', '--log-level', 'info'];

/** `runcast serve`, listening; gone with its workers when the test is over, however it ends. */
export async function startProgram(
  t: TestContext, workers: number, options: ProgramOptions = {},
): Promise<Program> {
  const { flags = [], upstream, port = 0 } = options;
  const api = upstream ?? await startUpstream();
  const all = ['--upstream', api.origin, '--port', `${port}`, ...flags];
  const cli = startProcesses(t, workers, all, options);
  const [, url = ''] = await cli.stdoutLine(/ is at (http:\S+)\/ /, 20_000);
  const program = new Program(cli, api, upstream === undefined, url);
  t.after(() => program.stop());
  return program;
}

/** The same as soon as it is a process. */
export function startProcesses(
  t: TestContext, workers: number, flags: readonly string[], options: CliOptions = {},
): Cli {
  const cli = startCli(['serve', '--workers', `${workers}`, ...SHORT, ...flags], options);
  t.after(async () => {
    const left = workersOf(cli.pid ?? 0);
    await cli.stop(8_000);
    for (const pid of left) if (isWorker(pid)) process.kill(pid, 'SIGKILL');
  });
  return cli;
}

export class Program extends TestGateway {
  readonly cli: Cli;
  readonly pid: number;

  constructor(cli: Cli, upstream: Upstream, ownsUpstream: boolean, url: string) {
    const { port } = new URL(url);
    const stats = async (): Promise<GatewayStats> => {
      const { streams, runs } = JSON.parse(await get(Number(port), '/healthz')) as GatewayStats;
      return { streams, runs };
    };
    const close = async (): Promise<void> => void await cli.stop(8_000);
    super(upstream, ownsUpstream, url, stats, close);
    assert.ok(cli.pid !== undefined, 'a program that listens has a pid');
    this.cli = cli;
    this.pid = cli.pid;
  }

  /** Pids, the oldest first. */
  workers(): number[] {
    return workersOf(this.pid);
  }

  /** Of all its processes. */
  rssBytes(): number {
    return [this.pid, ...this.workers()].reduce((sum, pid) => sum + rssBytes(pid), 0);
  }

  /** A stream that this worker holds: the others stand still while it is opened. */
  async joinOn(worker: number, runId: string, options?: JoinOptions): Promise<SseStream> {
    const before = clientsOf(worker, this.port);
    const others = this.workers().filter((pid) => pid !== worker);
    for (const pid of others) process.kill(pid, 'SIGSTOP');
    try {
      const stream = await this.join(runId, options);
      // A refusal is over by now.
      const isRefused = 'x-runcast-refused' in stream.response.headers;
      const more = [...clientsOf(worker, this.port)].filter((port) => !before.has(port));
      assert.ok(isRefused || more.length > 0, `a client more with ${worker}`);
      return stream;
    } finally {
      for (const pid of others) process.kill(pid, 'SIGCONT');
    }
  }

  /** What was logged, with this message. */
  logged(msg: string): Record<string, unknown>[] {
    return this.cli.stderr.split('\n').filter((line) => line.startsWith('{') && line.endsWith('}'))
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .filter((line) => line['msg'] === msg);
  }
}

/** The body at a path, over a connection of its own; of whatever status. */
export async function get(port: number, path: string, ms = 20_000): Promise<string> {
  return (await ask(port, path, ms)).body;
}

/** Status and body; rejects where nobody answers. */
export function ask(
  port: number, path: string, ms = 20_000,
): Promise<{ readonly status: number; readonly body: string }> {
  const answered = new Promise<{ status: number; body: string }>((resolve, reject) => {
    const req = request({ port, host: '127.0.0.1', path, agent: false }, (res) => {
      const { statusCode: status = 0 } = res;
      text(res).then((body) => resolve({ status, body }), reject);
    });
    req.on('error', reject).end();
  });
  return within(ms, `an answer at ${path}`, answered);
}

/** A metric's value, of one label's value if it has labels; 0 where it is not there. */
export async function metric(port: number, name: string, label?: string): Promise<number> {
  const line = label === undefined ? `^${name} (\\S+)$` : `^${name}\\{\\w+="${label}"\\} (\\S+)$`;
  return Number(new RegExp(line, 'm').exec(await get(port, '/metrics'))?.[1] ?? 0);
}

/** Its workers that run or stand still, the oldest first. */
export function workersOf(primary: number): number[] {
  const pids = readdirSync('/proc').map(Number).filter((pid) => pid > 0);
  return pids.filter((pid) => statOf(pid)?.parent === primary && isWorker(pid))
    .sort((a, b) => a - b);
}

/** Neither gone nor a zombie. */
export function isAlive(pid: number): boolean {
  const stat = statOf(pid);
  return stat !== undefined && stat.state !== 'Z';
}

export function rssBytes(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(read(pid, 'status') ?? '')?.[1] ?? 0) * 1024;
}

/** The ports of the clients whose connections to `port` this process holds. */
export function clientsOf(pid: number, port: number): ReadonlySet<number> {
  const inodes = new Set(socketsOf(pid));
  const clients = new Set<number>();
  for (const line of (read(pid, 'net/tcp') ?? '').split('\n')) {
    const [, local = '', remote = '', state, , , , , , inode = ''] = line.trim().split(/\s+/);
    const isMine = state === '01' && portIn(local) === port && inodes.has(inode);
    if (isMine) clients.add(portIn(remote));
  }
  return clients;
}

const portIn = (address: string): number => parseInt(address.split(':')[1] ?? '', 16);

function socketsOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).map((fd) => linkOf(`/proc/${pid}/fd/${fd}`))
      .map((link) => /^socket:\[(\d+)\]$/.exec(link)?.[1] ?? '');
  } catch {
    return [];
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}

function isWorker(pid: number): boolean {
  return isAlive(pid) && /cluster\/worker\.[jt]s/.test(read(pid, 'cmdline') ?? '');
}

function statOf(pid: number): { readonly state: string; readonly parent: number } | undefined {
  // The name, in brackets, may have anything in it.
  const stat = read(pid, 'stat')?.replace(/^.*\) /s, '');
  if (stat === undefined) return undefined;
  const [state = '', parent = ''] = stat.split(' ');
  return { state, parent: Number(parent) };
}

/** Undefined where the process is gone. */
function read(pid: number, file: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return undefined;
  }
}
