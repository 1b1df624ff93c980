/**
 * Repeats: how they are taken, so that rows can be compared, and what they say. Rows that are
 * compared are measured in turn within each repeat, and a ratio is made repeat by repeat before
 * its median is taken: what disturbs the machine for a minute disturbs both sides of it.
 */

import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** One measured thing in one contender: every repeat's value, in the order of the repeats. */
export interface Figure {
  readonly name: string;
  readonly unit: string;
  readonly values: readonly number[];
}

/** What repeats say: the middle one and the outermost. No mean: one bad repeat would move it. */
export interface Summary {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** A figure's value in one repeat. */
export type Reading = Readonly<Omit<Figure, 'values'> & { value: number }>;

/** The middle value, or the mean of the two in the middle. Throws where there is none. */
export function median(values: readonly number[]): number {
  assert.ok(values.length > 0 && values.every(Number.isFinite), `no median of [${values}]`);
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  const upper = sorted[half] ?? NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[half - 1] ?? NaN) + upper) / 2;
}

/** Median and spread. Throws where there are no values. */
export function summarise(values: readonly number[]): Summary {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) };
}

/** What each repeat of `values` is of the same repeat of `base`. Throws where one lacks some. */
export function ratios(values: readonly number[], base: readonly number[]): number[] {
  assert.equal(values.length, base.length, 'rows of a ratio need the same repeats');
  assert.ok(base.every((value) => value > 0), 'the base of a ratio must be above 0');
  return values.map((value, repeat) => value / (base[repeat] ?? NaN));
}

/**
 * Measures each row once a repeat, the order turned round every other time so that no row is
 * always the one behind the same other. Gives each row's figures, in the order of `rows`.
 */
export async function interleave(
  rows: readonly string[], repeats: number,
  measure: (row: string, repeat: number) => Promise<readonly Reading[]>,
): Promise<Map<string, Figure[]>> {
  const taken = new Map<string, (readonly Reading[])[]>(rows.map((row) => [row, []]));
  for (let repeat = 0; repeat < repeats; repeat++) {
    for (const row of repeat % 2 === 0 ? rows : rows.toReversed()) {
      taken.get(row)?.push(await measure(row, repeat));
    }
  }
  return new Map([...taken].map(([row, readings]) => [row, figuresOf(readings)]));
}

/** Repeats of readings turned into one figure for each; all repeats must have the same ones. */
function figuresOf(repeats: readonly (readonly Reading[])[]): Figure[] {
  const named = (repeats[0] ?? []).map(({ name, unit }) => ({ name, unit }));
  return named.map(({ name, unit }, index) => ({
    name, unit,
    values: repeats.map((readings) => {
      const reading = readings[index];
      assert.equal(reading?.name, name, 'each repeat must read the same figures');
      return reading.value;
    }),
  }));
}

/** A process that gives no answer for this long is ended: a bench must stop by itself. */
const OWN_PROCESS_MS = 120_000;

/** Starts `script` as a process of its own, with this one's loader; its answer is the result. */
export function inOwnProcess(script: string, args: readonly string[]): Promise<Reading[]> {
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(script), args, { timeout: OWN_PROCESS_MS });
    const onEnd = (): void => { child.kill('SIGKILL'); };
    process.once('exit', onEnd);
    let answer: Reading[] | undefined;
    child.once('message', (message) => { answer = message as Reading[]; });
    child.once('error', reject);
    child.once('close', (code, signal) => {
      process.off('exit', onEnd);
      if (answer !== undefined && code === 0) resolve(answer);
      else reject(new Error(`${args.join(' ')}: no readings, ended with ${signal ?? code}`));
    });
  });
}

/** The other end of {@link inOwnProcess}: nothing happens unless `script` was started by it. */
export async function answerParent(
  script: string, measure: (args: readonly string[]) => Promise<readonly Reading[]>,
): Promise<void> {
  if (process.send === undefined || process.argv[1] !== fileURLToPath(script)) return;
  const answer = await measure(process.argv.slice(2));
  process.send(answer, () => process.disconnect());
}

/** What was made last, kept where anybody could read it: unused work may be optimised away. */
export let kept: unknown;

/** A batch is at least this long: the process clock is read twice for each. */
const BATCH_US = 4_000;

/**
 * CPU microseconds of one call, over `measureMs` after as long a warm-up that does not count.
 * It is the time of the whole process, so the garbage that a call leaves is paid by it, and
 * another process on the same core is not. `work` is told the number of its turn.
 */
export function cpuUsPerCall(work: (turn: number) => unknown, measureMs: number): number {
  let batch = 1;
  let turn = 0;
  const runBatch = (): number => {
    const start = process.cpuUsage();
    for (let i = 0; i < batch; i++) kept = work(turn++);
    return cpuUsSince(start);
  };
  for (let us = 0; us < measureMs * 1000;) {
    const spent = runBatch();
    if (spent < BATCH_US) batch *= 2;
    us += Math.max(spent, 1);
  }
  let us = 0;
  const first = turn;
  while (us < measureMs * 1000) us += runBatch();
  return us / (turn - first);
}

/** User and system time of this process since `start`, all its threads. */
export function cpuUsSince(start: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(start);
  return user + system;
}
