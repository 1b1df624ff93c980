/**
 * Joins at a scheduled rate: how many a second a server keeps up with, how long a client waits
 * for its first event, what a join costs; then streams that come and go beside others that stay.
 * The state stands still, so that CPU is spent on joins alone. A moment is the schedule's: a
 * connection that could only be begun late has waited all the same.
 */

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { cFloor, nodeHttp } from '../contenders/floors.ts';
import { runcast } from '../contenders/runcast.ts';
import { clientNotes } from '../support/account.ts';
import { available } from '../support/available.ts';
import type { Contender, Running, Workload } from '../support/contender.ts';
import { total } from '../support/histogram.ts';
import { Load } from '../support/load.ts';
import { judge } from '../support/report.ts';
import type { CaseOptions, CaseResult, Target } from '../support/report.ts';
import { measureRows } from '../support/rows.ts';
import type { Note } from '../support/rows.ts';
import { onStage } from '../support/stage.ts';
import type { Reading } from '../support/statistics.ts';
import { cpuBetween, memoryOf, sampleCpu } from '../support/usage.ts';

/** How many, how fast. */
interface Size {
  readonly joins: number;
  readonly perSecond: number;
  /** Open before the joins that count: code is compiled, pools are there. */
  readonly warmUp: number;
  readonly held: number;
  readonly visitors: number;
  readonly churnMs: number;
}

const SIZE: Size = {
  joins: 12_000, perSecond: 4_000, warmUp: 500, held: 2_000, visitors: 500, churnMs: 10_000,
};
const QUICK: Size = {
  joins: 1_000, perSecond: 1_000, warmUp: 200, held: 300, visitors: 100, churnMs: 3_000,
};
/** Hardly ever: no case is so long. */
const WORKLOAD: Workload = {
  stateBytes: 1024, changeEveryMs: 3_600_000, runs: 1, compress: false,
};
const SETTLE_MS = 2_000;
/** Until a server must have noticed that visitors are gone. */
const GONE_MS = 5_000;
const REACHED = 'joins per second';
const P99 = 'first event p99';
const LEFT_OVER = 'left over';
const STAYERS_LOST = 'lost of those that stay';
const TWO = 'runcast, 2 workers';

const TARGETS: readonly Target[] = [
  { text: 'Joins per second at 4,000 due, 2 workers', contender: TWO, figure: REACHED, limit: 3_950,
    isFloor: true },
  { text: 'Time to first event at 4,000 joins a second, 2 workers, p99', contender: TWO,
    figure: P99, limit: 100 },
  { text: 'Joins that failed, 2 workers', contender: TWO, figure: 'failed', limit: 0 },
  { text: 'Streams left over after churn, 2 workers', contender: TWO, figure: LEFT_OVER,
    limit: 0 },
  { text: 'Lost of those that stay, 2 workers', contender: TWO, figure: STAYERS_LOST, limit: 0 },
];

/** 1 KB states that do not change. */
export async function run({ repeats, quick, only, log }: CaseOptions): Promise<CaseResult> {
  const size = quick ? QUICK : SIZE;
  // Held answers would run into the gateway's deadline: here the state never changes.
  const gateway = { hold: false, pollIntervalMs: 500 };
  const gateways = [runcast(gateway), runcast({ ...gateway, workers: 2 })];
  const { here, skipped } = await available([...gateways, nodeHttp, cFloor], only);
  const rows = await measureRows([...here.keys()], repeats, async (name, repeat, note) => {
    log(`joins: ${name}, ${repeat + 1} of ${repeats}`);
    const contender = here.get(name) as Contender;
    const joins = await measureJoins(contender, size, note);
    const isGateway = gateways.some((one) => one.name === name);
    return isGateway ? [...joins, ...await measureChurn(contender, size)] : joins;
  });
  return {
    name: 'joins', rows, skipped, targets: TARGETS.map((target) => judge(target, rows)),
    title: `Joins: ${size.joins.toLocaleString('en')} due at `
      + `${size.perSecond.toLocaleString('en')} a second`,
    what: `Streams of one run on top of ${size.warmUp} that are open; from the moment that the `
      + 'schedule had for a connection to its first event read, CPU of all of the server\'s '
      + `processes. Churn: beside ${size.held.toLocaleString('en')} streams that stay, `
      + `${size.visitors} come and go again and again for ${size.churnMs / 1000} s; left over is `
      + 'how far the gateway\'s count is from those that stayed. The load client begins what is '
      + 'due every 5 ms, and a first event\'s time has that wait in it.',
  };
}

async function measureJoins(
  contender: Contender, size: Size, note: Note,
): Promise<Reading[]> {
  const setting = { contender, workload: WORKLOAD, streams: size.warmUp };
  return onStage(setting, async ({ running }) => {
    const before = sampleCpu(running.pids());
    const { load, opened } = await openLoad(running, size.joins, size.perSecond);
    try {
      const { seconds } = cpuBetween(before, sampleCpu(running.pids()));
      const { p50, p99, max } = opened.firstEventUs;
      if (total(opened.failed) > 0) note(`failed: ${JSON.stringify(opened.failed)}`);
      clientNotes('while they joined', opened).forEach(note);
      return [
        { name: REACHED, unit: '', value: opened.perSecond },
        { name: 'first event p50', unit: 'ms', value: p50 / 1000 },
        { name: P99, unit: 'ms', value: p99 / 1000 },
        { name: 'first event max', unit: 'ms', value: max / 1000 },
        { name: 'CPU per join', unit: 'µs', value: seconds / opened.opened * 1e6 },
        { name: 'failed', unit: '', value: total(opened.failed) + opened.lostEarly },
        { name: 'client CPU', unit: 'cores', value: Math.max(...opened.clientCpuShare) },
      ];
    } finally {
      await load.close();
    }
  });
}

async function measureChurn(contender: Contender, size: Size): Promise<Reading[]> {
  const setting = { contender, workload: WORKLOAD, streams: size.held };
  return onStage(setting, async ({ running, load }) => {
    const visit = async (): Promise<number> => {
      const visitors = await openLoad(running, size.visitors, size.perSecond);
      await visitors.load.close();
      return visitors.opened.opened;
    };
    // The first visitors make room for themselves; what counts is what later ones add to it.
    await visit();
    await leftOver(running, size.held);
    await sleep(SETTLE_MS);
    const before = memoryOf(running.pids()).rssBytes;
    let visits = 0;
    for (const endMs = performance.now() + size.churnMs; performance.now() < endMs;) {
      visits += await visit();
    }
    const left = await leftOver(running, size.held);
    await sleep(SETTLE_MS);
    const { lostBefore, openNow } = await load.measure(0);
    assert.equal(openNow + lostBefore, size.held, 'those that stay are accounted for');
    return [
      { name: 'visits', unit: '', value: visits },
      { name: 'memory before', unit: 'MB', value: before / 2 ** 20 },
      { name: 'more after churn', unit: 'MB',
        value: (memoryOf(running.pids()).rssBytes - before) / 2 ** 20 },
      { name: LEFT_OVER, unit: '', value: Math.abs(left) },
      { name: STAYERS_LOST, unit: '', value: lostBefore },
    ];
  });
}

/** Streams that the gateway counts beyond `held`, once that no longer becomes less. */
async function leftOver({ url }: Running, held: number): Promise<number> {
  const endMs = performance.now() + GONE_MS;
  for (;;) {
    const response = await fetch(new URL('/healthz', url), { headers: { connection: 'close' } });
    const { streams } = await response.json() as { readonly streams: number };
    if (streams === held || performance.now() > endMs) return streams - held;
    await sleep(100);
  }
}

function openLoad(
  { url, headers }: Running, streams: number, ratePerSecond: number,
): ReturnType<typeof Load.open> {
  return Load.open({ url, headers, streams, ratePerSecond });
}
