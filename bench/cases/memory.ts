/**
 * What a stream costs that has nothing to say: resident memory of the server's processes for
 * each of thousands of open streams, all on one run or each on a run of its own. The next state
 * is a day away. What the kernel holds for a socket is no process's memory: it is not in here,
 * for no row.
 */

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { cFloor, nodeFloor, nodeHttp } from '../contenders/floors.ts';
import { betterSse } from '../contenders/better-sse.ts';
import { nchan } from '../contenders/nchan.ts';
import { runcast } from '../contenders/runcast.ts';
import type { RunningRuncast } from '../contenders/runcast.ts';
import type { Contender, Workload } from '../support/contender.ts';
import { judge } from '../support/report.ts';
import type { CaseOptions, CaseResult, Row, Target } from '../support/report.ts';
import { onStage } from '../support/stage.ts';
import { interleave, median } from '../support/statistics.ts';
import type { Reading } from '../support/statistics.ts';
import { memoryOf } from '../support/usage.ts';
import { available } from '../support/available.ts';

const MEMORY = 'memory per stream';
/** The row with a run for each stream. */
export const RUN_EACH = 'runcast, 10,000 runs';
const STREAMS = 10_000;
/** Longer than runcast's interval between pings: what they leave behind is in it. */
const SETTLE_MS = 20_000;
const QUICK_SETTLE_MS = 5_000;
/** Of memory, over the last interval: it rises and falls with what polls leave to be collected. */
const SAMPLES = 10;
const DAY_MS = 86_400_000;

const TARGETS: readonly Target[] = [
  { text: 'Memory per idle stream, 10,000 on one run', contender: 'runcast', figure: MEMORY,
    limit: 6 },
  { text: 'Memory per idle stream, 10,000 on 10,000 runs', contender: RUN_EACH, figure: MEMORY,
    limit: 9 },
];

/** 1 KB states that do not change; a KB is 1,024 bytes. */
export async function run({ repeats, quick, only, log }: CaseOptions): Promise<CaseResult> {
  const settleMs = quick ? QUICK_SETTLE_MS : SETTLE_MS;
  // Answers come at once and are all the same: a held answer would be an open request.
  const idle = { pollIntervalMs: settleMs / 2, hold: false };
  const all = [
    runcast(idle), runcast({ ...idle, name: RUN_EACH }),
    cFloor, nodeFloor, nodeHttp, betterSse, nchan,
  ];
  const { here, skipped } = await available(all, only);
  const streams = quick ? 1_000 : STREAMS;
  const figures = await interleave([...here.keys()], repeats, async (name, repeat) => {
    log(`memory: ${name}, ${repeat + 1} of ${repeats}`);
    const runs = name === RUN_EACH ? streams : 1;
    const workload = { stateBytes: 1024, changeEveryMs: DAY_MS, runs, compress: false };
    return measure(here.get(name) as Contender, workload, streams, settleMs);
  });
  const rows = [...figures].map(([contender, found]): Row =>
    ({ contender, figures: found, notes: notesOn(contender, streams, settleMs) }));
  return {
    name: 'memory', title: `Memory: ${streams.toLocaleString('en')} idle streams`, rows,
    targets: TARGETS.map((target) => judge(target, rows)), skipped,
    what: 'Growth of the RSS of the server\'s processes from before the first stream (after 200 '
      + 'that came and went) to some time after the last one, for each stream: the median of '
      + `${SAMPLES} looks over the last interval between polls; 1 KB is 1,024 `
      + 'bytes, and the kernel\'s share of a socket is not in it. Checked: all streams open at '
      + 'the end, none lost, no state sent meanwhile, each run polled as often as is due.',
  };
}

function notesOn(contender: string, streams: number, settleMs: number): string[] {
  if (!contender.startsWith('runcast')) return ['sends no pings'];
  const runs = contender === RUN_EACH ? `${streams.toLocaleString('en')} runs` : 'one run';
  return [`pings as by default, ${runs} polled every ${settleMs / 2000} s`];
}

async function measure(
  contender: Contender, workload: Workload, streams: number, settleMs: number,
): Promise<Reading[]> {
  return onStage({ contender, workload, streams, processes: 1 }, async (stage) => {
    const { running, load, emptyRssBytes } = stage;
    const upstream = contender.name === RUN_EACH ? (running as RunningRuncast).upstream : undefined;
    const before = await upstream?.requests() ?? 0;
    const [measured, rssBytes] = await Promise.all([
      load.measure(settleMs), rssAtTheEndOf(settleMs, running.pids()),
    ]);
    const { openNow, lost, lostBefore, statesSeen } = measured;
    if (upstream !== undefined) {
      const due = streams * 2;
      const asked = await upstream.requests() - before;
      assert.ok(asked > due * 0.8 && asked < due * 1.2, `${asked} polls, ${due} were due`);
    }
    assert.deepEqual({ openNow, lost, lostBefore, statesSeen },
      { openNow: streams, lost: {}, lostBefore: 0, statesSeen: 0 },
      `${contender.name}: not all streams were open and idle`);
    return [
      { name: MEMORY, unit: 'KB', value: (rssBytes - emptyRssBytes) / streams / 1024 },
      { name: 'RSS without streams', unit: 'MB', value: emptyRssBytes / 2 ** 20 },
      { name: 'RSS with all', unit: 'MB', value: rssBytes / 2 ** 20 },
    ];
  });
}

/** In the middle over the second half of that time, which is one interval between polls. */
async function rssAtTheEndOf(ms: number, pids: readonly number[]): Promise<number> {
  await sleep(ms / 2);
  const looks: number[] = [];
  while (looks.length < SAMPLES) {
    await sleep(ms / 2 / SAMPLES);
    looks.push(memoryOf(pids).rssBytes);
  }
  return median(looks);
}
