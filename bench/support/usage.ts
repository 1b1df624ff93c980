/**
 * CPU time and memory of processes, read from outside, from /proc: Linux only.
 *
 * CPU comes in nanoseconds from the scheduler, which counts each thread by itself. What a thread
 * used that ended between two samples is lost to it, so then, and on kernels without schedstat,
 * that process's clock ticks are taken: whole ones of mostly 10 ms. Work that the kernel does for
 * a socket on the sender's side, and on the loopback most of the receiver's too, is the sender's.
 */

import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { cpus } from 'node:os';

/** Where a figure of CPU time comes from. */
export type CpuSource = 'schedstat' | 'ticks';

/** At one moment. */
export interface CpuSample {
  readonly processes: ReadonlyMap<number, ProcessCpu>;
}

/** Between two moments. */
export interface CpuUsage {
  readonly seconds: number;
  /** `ticks` if it is so for one process. */
  readonly source: CpuSource;
}

/** CPU seconds since ever: of all the machine, and of this process with its descendants. */
export interface BusySample {
  readonly machine: number;
  readonly own: number;
  readonly atMs: number;
}

/** Of several processes together. */
export interface MemoryUsage {
  /** VmRSS; pages that processes share count for each of them. */
  readonly rssBytes: number;
  /** The part of it that is no file's: heaps, stacks, buffers. */
  readonly anonBytes: number;
}

interface ProcessCpu {
  /** Nanoseconds by thread; undefined without schedstat. */
  readonly threads: ReadonlyMap<string, number> | undefined;
  readonly tickSeconds: number;
}

interface Stat {
  readonly state: string;
  readonly parent: number;
  readonly ticks: number;
  /** Of children that ended. */
  readonly childTicks: number;
}

let ticksPerSecond: number | undefined;

/** Throws where one of the processes is gone. */
export function sampleCpu(pids: readonly number[]): CpuSample {
  return { processes: new Map(pids.map((pid) => [pid, cpuOf(pid)])) };
}

/** What they used from `before` to `after`. One that is only in `after` counts from its start. */
export function cpuBetween(before: CpuSample, after: CpuSample): CpuUsage {
  for (const pid of before.processes.keys()) {
    if (!after.processes.has(pid)) throw new Error(`process ${pid} ended while it was measured`);
  }
  const usages = [...after.processes].map(([pid, cpu]) => used(before.processes.get(pid), cpu));
  return {
    seconds: usages.reduce((sum, { seconds }) => sum + seconds, 0),
    source: usages.some(({ source }) => source === 'ticks') ? 'ticks' : 'schedstat',
  };
}

/** Throws where one of the processes is gone. */
export function memoryOf(pids: readonly number[]): MemoryUsage {
  let rssBytes = 0;
  let anonBytes = 0;
  for (const pid of pids) {
    const status = read(pid, 'status');
    const kib = (name: string): number =>
      Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status ?? '')?.[1] ?? NaN);
    if (Number.isNaN(kib('VmRSS'))) throw new Error(`no memory of process ${pid} to be read`);
    rssBytes += kib('VmRSS') * 1024;
    anonBytes += kib('RssAnon') * 1024;
  }
  return { rssBytes, anonBytes };
}

/** Of this moment; in ticks, and interrupts, whoever they are for, are in none. */
export function sampleBusy(): BusySample {
  const [line = ''] = readFileSync('/proc/stat', 'utf8').split('\n', 1);
  const [, user = 0, nice = 0, system = 0, , , , , steal = 0] = line.split(/\s+/).map(Number);
  const own = processTree(process.pid).map(statOf)
    .reduce((sum, stat) => sum + (stat === undefined ? 0 : stat.ticks + stat.childTicks), 0);
  const second = ticksASecond();
  return {
    machine: (user + nice + system + steal) / second, own: own / second, atMs: performance.now(),
  };
}

/** The share of all cores, 0 to 1, that went to neither this process nor its descendants. */
export function othersShare(before: BusySample, after: BusySample): number {
  const others = after.machine - before.machine - (after.own - before.own);
  const seconds = (after.atMs - before.atMs) / 1000;
  return Math.max(0, others / seconds / cpus().length);
}

/** The process and all its descendants, parents first; empty where there is no such process. */
export function processTree(root: number): readonly number[] {
  const children = new Map<number, number[]>();
  for (const pid of readdirSync('/proc').map(Number).filter((number) => number > 0)) {
    const parent = statOf(pid)?.parent;
    if (parent !== undefined) children.set(parent, [...children.get(parent) ?? [], pid]);
  }
  const tree = isAlive(root) ? [root] : [];
  for (const pid of tree) tree.push(...(children.get(pid) ?? []).filter(isAlive));
  return tree;
}

/** Neither gone nor a zombie. */
export function isAlive(pid: number): boolean {
  const stat = statOf(pid);
  return stat !== undefined && stat.state !== 'Z' && stat.state !== 'X';
}

function used(before: ProcessCpu | undefined, after: ProcessCpu): CpuUsage {
  const threads = after.threads;
  const lost = [...before?.threads?.keys() ?? []].some((thread) => !threads?.has(thread));
  if (threads === undefined || lost) {
    return { seconds: after.tickSeconds - (before?.tickSeconds ?? 0), source: 'ticks' };
  }
  let ns = 0;
  for (const [thread, now] of threads) ns += now - (before?.threads?.get(thread) ?? 0);
  return { seconds: ns / 1e9, source: 'schedstat' };
}

function cpuOf(pid: number): ProcessCpu {
  const stat = statOf(pid);
  if (stat === undefined || stat.state === 'Z') throw new Error(`process ${pid} is gone`);
  return { threads: threadsOf(pid), tickSeconds: stat.ticks / ticksASecond() };
}

function ticksASecond(): number {
  ticksPerSecond ??= Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));
  return ticksPerSecond;
}

function threadsOf(pid: number): Map<string, number> | undefined {
  const threads = new Map<string, number>();
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    const line = read(pid, `task/${thread}/schedstat`);
    // A thread may end between the listing and this; a kernel without schedstat has it nowhere.
    if (line !== undefined) threads.set(thread, Number(line.split(' ')[0]));
  }
  return threads.size > 0 ? threads : undefined;
}

function statOf(pid: number): Stat | undefined {
  // The name, in brackets, may have anything in it.
  const fields = read(pid, 'stat')?.replace(/^.*\) /s, '').split(' ');
  if (fields === undefined) return undefined;
  const [state = '', parent = ''] = fields;
  const [user = 0, system = 0, childUser = 0, childSystem = 0] = fields.slice(11, 15).map(Number);
  return {
    state, parent: Number(parent), ticks: user + system, childTicks: childUser + childSystem,
  };
}

/** Undefined where it is gone. */
function read(pid: number, file: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return undefined;
  }
}
