/**
 * A contender with its streams open: started in processes of its own, filled by the load client,
 * checked, warmed up, and gone at the end whatever happened. What is measured is the case's.
 */

import assert from 'node:assert/strict';

import { clientNotes } from './account.ts';
import type { Contender, Running, Workload } from './contender.ts';
import { Load } from './load.ts';
import type { Measured, Opened } from './load.ts';
import { cpuBetween, memoryOf, othersShare, sampleBusy, sampleCpu } from './usage.ts';

/** Who streams what to how many. */
export interface Setting<C extends Contender = Contender> {
  readonly contender: C;
  readonly workload: Workload;
  readonly streams: number;
  /** Connections a second. Default 2,500. */
  readonly ratePerSecond?: number;
  /** Of the load client. Default: as many as it takes. */
  readonly processes?: number;
  /** Default: each one is a failure of the case. */
  readonly mayFail?: boolean;
}

/** While it stands. */
export interface Stage<R extends Running = Running> {
  readonly running: R;
  readonly load: Load;
  readonly opened: Opened;
  /** Before the first stream, without the processes' warm-up. */
  readonly emptyRssBytes: number;
}

/** What a window of time cost the contender, and what arrived in it. */
export interface Window extends Measured {
  readonly cpuSeconds: number;
  /** Of the contender, microseconds for each event that was read. */
  readonly cpuUsPerEvent: number;
  readonly rssBytes: number;
  /** Of all cores, 0 to 1: what processes had that are none of the bench's. */
  readonly othersShare: number;
}

const WARM_UP_MS = 2_000;
const RATE_PER_SECOND = 2_500;
/** Joined and gone before the memory of an empty contender is read: code and pools are there. */
const RUN_IN_STREAMS = 200;
/** Less than this moves no figure that its repeats would not. */
const QUIET_SHARE = 0.05;

/** Opens the streams, calls `work`, and takes everything down. */
export async function onStage<C extends Contender, T>(
  setting: Setting<C>, work: (stage: Stage<Awaited<ReturnType<C['start']>>>) => Promise<T>,
): Promise<T> {
  const { contender, workload } = setting;
  const running = await contender.start(workload) as Awaited<ReturnType<C['start']>>;
  try {
    await (await openLoad(running, setting, RUN_IN_STREAMS)).load.close();
    const emptyRssBytes = memoryOf(running.pids()).rssBytes;
    const { load, opened } = await openLoad(running, setting, setting.streams);
    try {
      if (setting.mayFail !== true) {
        assert.deepEqual([opened.failed, opened.lost], [{}, {}], `${contender.name} failed`);
        assert.equal(opened.openNow, setting.streams, `${contender.name} holds all`);
      }
      return await work({ running, load, opened, emptyRssBytes });
    } finally {
      await load.close();
    }
  } finally {
    await running.stop();
  }
}

/** A window of measuring behind a warm-up that does not count. */
export async function measureWindow(
  { running, load }: Stage, ms: number, warmUpMs = WARM_UP_MS,
): Promise<Window> {
  if (warmUpMs > 0) {
    const { lost, lostBefore } = await load.measure(warmUpMs);
    assert.deepEqual({ lost, lostBefore }, { lost: {}, lostBefore: 0 }, 'lost while warming up');
  }
  const busy = sampleBusy();
  const before = sampleCpu(running.pids());
  const measured = await load.measure(ms);
  const { seconds } = cpuBetween(before, sampleCpu(running.pids()));
  const events = Object.values(measured.events).reduce((sum, count) => sum + count, 0);
  return {
    ...measured, cpuSeconds: seconds, cpuUsPerEvent: seconds / events * 1e6,
    rssBytes: memoryOf(running.pids()).rssBytes, othersShare: othersShare(busy, sampleBusy()),
  };
}

/** What a reader of the window's figures must know: who else was at work, and too much. */
export function windowNotes(window: Window): string[] {
  const { othersShare: share } = window;
  return [...clientNotes('in the window', window), ...share <= QUIET_SHARE ? [] : [
    `processes that are none of the bench's had ${Math.round(share * 100)} % of all cores`,
  ]];
}

/**
 * Every stream was there all the time and saw every change: without that its costs say nothing.
 * One state at the window's end may still be under way; one that is jumped over is a fault.
 */
export function assertComplete(
  name: string, measured: Measured, streams: number, changeEveryMs: number,
): void {
  const expected = Math.floor(measured.seconds * 1000 / changeEveryMs);
  const {
    lost, lostBefore, openNow, statesSkipped, backwards, strangeTimes, perStreamStates,
  } = measured;
  assert.deepEqual({ lost, lostBefore, openNow, backwards, strangeTimes },
    { lost: {}, lostBefore: 0, openNow: streams, backwards: 0, strangeTimes: 0 },
    `${name}: a stream was lost, or told of the past`);
  assert.equal(statesSkipped, 0, `${name}: streams jumped over states`);
  assert.ok((perStreamStates?.min ?? 0) >= expected - 1, `${name}: a stream saw only `
    + `${perStreamStates?.min} of ${expected} states`);
}

function openLoad(
  { url, headers }: Running, setting: Setting, streams: number,
): Promise<{ load: Load; opened: Opened }> {
  const { workload, ratePerSecond = RATE_PER_SECOND, processes } = setting;
  return Load.open({
    url, headers, streams: Math.min(streams, setting.streams), runs: workload.runs, ratePerSecond,
    changeEveryMs: workload.changeEveryMs, gzip: workload.compress,
    ...processes === undefined ? {} : { processes },
  });
}
