/**
 * Readers that take nothing, beside others that do: how much memory the server holds for them,
 * and whether the others notice. The kernel swallows some megabytes for each before a server
 * feels it; that is no process's memory and not in here.
 */

import assert from 'node:assert/strict';
import { nodeHttp } from '../contenders/floors.ts';
import { betterSse } from '../contenders/better-sse.ts';
import { runcast } from '../contenders/runcast.ts';
import type { Contender, Running, Workload } from '../support/contender.ts';
import { Load } from '../support/load.ts';
import { judge } from '../support/report.ts';
import type { CaseOptions, CaseResult, Target } from '../support/report.ts';
import { measureRows } from '../support/rows.ts';
import type { Note } from '../support/rows.ts';
import { assertComplete, measureWindow, onStage, windowNotes } from '../support/stage.ts';
import type { Reading } from '../support/statistics.ts';
import { memoryOf } from '../support/usage.ts';
import { available } from '../support/available.ts';

const MEMORY = 'memory over baseline';
const HEALTHY = 50;
const STALLED = 150;
const STATE_BYTES = 200 * 1024;
const CHANGE_EVERY_MS = 500;
/**
 * Long enough that the kernel has had its fill, some 5 MB of 400 KB a second for each reader;
 * below runcast's --slow-timeout of 30 s: nobody is cut off yet, which would make it easy.
 */
const WINDOW_MS = 24_000;
const QUICK_WINDOW_MS = 16_000;
const SAMPLE_EVERY_MS = 200;
const MB = 2 ** 20;

const TARGETS: readonly Target[] = ['runcast', 'runcast, 2 workers'].map((contender) => ({
  text: `Memory for ${STALLED} stalled readers, 200 KB states${contender.slice('runcast'.length)}`,
  contender, figure: MEMORY, limit: 100,
}));

/** 200 KB states that change twice a second. */
export async function run({ repeats, quick, only, log }: CaseOptions): Promise<CaseResult> {
  const all = [runcast(), runcast({ workers: 2 }), nodeHttp, betterSse];
  const { here, skipped } = await available(all, only);
  const workload = {
    stateBytes: STATE_BYTES, changeEveryMs: CHANGE_EVERY_MS, runs: 1, compress: false,
  };
  const rows = await measureRows([...here.keys()], repeats, async (name, repeat, note) => {
    log(`slow-readers: ${name}, ${repeat + 1} of ${repeats}`);
    const ms = quick ? QUICK_WINDOW_MS : WINDOW_MS;
    return measure(here.get(name) as Contender, workload, ms, note);
  }, notesOn);
  return {
    name: 'slow-readers', rows, targets: TARGETS.map((target) => judge(target, rows)), skipped,
    title: `Slow readers: ${STALLED} stalled beside ${HEALTHY} healthy ones`,
    what: 'A 200 KB state changes twice a second. RSS of the server\'s processes at its highest, '
      + `looked at every ${SAMPLE_EVERY_MS} ms, over what it was before any stream: first with `
      + 'the healthy readers alone, then with the stalled ones beside them. Delivery is the '
      + 'healthy readers\'. Checked: these see every state, in order; the stalled ones take not '
      + 'a byte after their first event.',
  };
}

function notesOn(contender: string): string[] {
  return contender.startsWith('runcast') ? [] : [
    'nothing is dropped for a reader that is behind: the figure grows with the window',
  ];
}

async function measure(
  contender: Contender, workload: Workload, ms: number, note: Note,
): Promise<Reading[]> {
  const { name } = contender;
  return onStage({ contender, workload, streams: HEALTHY, processes: 1 }, async (stage) => {
    const { running, emptyRssBytes } = stage;
    const pids = running.pids();
    const alone = await withHighest(pids, () => measureWindow(stage, 3_000));
    assertComplete(name, alone.value, HEALTHY, CHANGE_EVERY_MS);
    const stalled = await openStalled(name, running);
    try {
      const beside = await withHighest(pids, () => measureWindow(stage, ms, 0));
      assertComplete(name, beside.value, HEALTHY, CHANGE_EVERY_MS);
      windowNotes(beside.value).forEach(note);
      const { bytesBefore } = await stalled.measure(0);
      assert.equal(bytesBefore, 0, `${name}: the stalled readers read ${bytesBefore} bytes`);
      const over = (rssBytes: number): number => (rssBytes - emptyRssBytes) / MB;
      return [
        { name: MEMORY, unit: 'MB', value: over(beside.rssBytes) },
        { name: 'healthy alone', unit: 'MB', value: over(alone.rssBytes) },
        { name: 'healthy p99', unit: 'ms', value: beside.value.deliveryUs.p99 / 1000 },
        { name: 'p99 alone', unit: 'ms', value: alone.value.deliveryUs.p99 / 1000 },
        { name: 'client CPU', unit: 'cores', value: Math.max(...beside.value.clientCpuShare) },
      ];
    } finally {
      await stalled.close();
    }
  });
}

/** A load of its own, so that the healthy readers' account is theirs alone. */
async function openStalled(name: string, { url, headers }: Running): Promise<Load> {
  const { load, opened } = await Load.open({
    url, headers, streams: STALLED, stalled: STALLED, ratePerSecond: 500, processes: 1,
  });
  if (opened.openNow === STALLED) return load;
  await load.close();
  assert.fail(`${name}: ${STALLED - opened.openNow} stalled readers are not open`);
}

/** The highest RSS seen while `work` was under way, and what came of it. */
async function withHighest<T>(
  pids: readonly number[], work: () => Promise<T>,
): Promise<{ readonly value: T; readonly rssBytes: number }> {
  let rssBytes = 0;
  let problem: unknown;
  const look = (): void => {
    try {
      rssBytes = Math.max(rssBytes, memoryOf(pids).rssBytes);
    } catch (error) {
      problem ??= error;
    }
  };
  look();
  const ticker = setInterval(look, SAMPLE_EVERY_MS);
  try {
    const value = await work();
    look();
    if (problem !== undefined) throw problem;
    return { value, rssBytes };
  } finally {
    clearInterval(ticker);
  }
}
