/**
 * One run, thousands of streams: what a delivered frame costs the server, and how long after a
 * change the last stream has it. All contenders send the same states at the same times to the
 * same client; each repeat starts each of them anew.
 */

import { cFloor, nodeFloor, nodeHttp } from '../contenders/floors.ts';
import { betterSse } from '../contenders/better-sse.ts';
import { nchan } from '../contenders/nchan.ts';
import { runcast } from '../contenders/runcast.ts';
import type { Contender, Workload } from '../support/contender.ts';
import { judge } from '../support/report.ts';
import type { CaseOptions, CaseResult, Target } from '../support/report.ts';
import { measureRows } from '../support/rows.ts';
import type { Note } from '../support/rows.ts';
import { assertComplete, measureWindow, onStage, windowNotes } from '../support/stage.ts';
import type { Reading } from '../support/statistics.ts';
import { available } from '../support/available.ts';

const CPU = 'CPU per frame';
const P99 = 'delivery p99';
const STREAMS = 5_000;

const TARGETS: readonly Target[] = [
  { text: 'CPU per frame, one process', contender: 'runcast', figure: CPU, limit: 1.2,
    over: 'C floor' },
  { text: 'CPU per frame, one process', contender: 'runcast', figure: CPU, limit: 1,
    over: 'nchan' },
  { text: 'CPU per frame, one process', contender: 'runcast', figure: CPU, limit: 0.5,
    over: 'better-sse' },
  { text: 'CPU per frame, 2 workers', contender: 'runcast, 2 workers', figure: CPU, limit: 1.15,
    over: 'runcast' },
  { text: 'Delivery p99 at 5,000 streams, upstream answering at the change',
    contender: 'runcast', figure: P99, limit: 1.2, over: 'C floor' },
];

/** 1 KB states, four changes a second. */
export async function run({ repeats, quick, only, log }: CaseOptions): Promise<CaseResult> {
  const all = [
    runcast(), runcast({ workers: 2 }), cFloor, nodeFloor, nodeHttp, betterSse, nchan,
  ];
  const { here, skipped } = await available(all, only);
  const workload: Workload = {
    stateBytes: 1024, changeEveryMs: 250, runs: 1, compress: false,
  };
  const streams = quick ? 500 : STREAMS;
  const rows = await measureRows([...here.keys()], repeats, async (name, repeat, note) => {
    log(`fan-out: ${name}, ${repeat + 1} of ${repeats}`);
    const ms = quick ? 3_000 : 10_000;
    return measure(here.get(name) as Contender, workload, streams, ms, note);
  });
  return {
    name: 'fan-out', title: `Fan-out: 1 run, ${streams.toLocaleString('en')} streams`, rows,
    targets: TARGETS.map((target) => judge(target, rows)), skipped,
    what: 'A 1 KB state changes four times a second. CPU of the server\'s processes for each '
      + 'event read by the client; delivery from the moment that the change was due, when upstream '
      + 'answers a poll that it has held: a real poll\'s phase comes on top. Checked '
      + 'first: every stream sees every state, in order.',
  };
}

async function measure(
  contender: Contender, workload: Workload, streams: number, ms: number, note: Note,
): Promise<Reading[]> {
  return onStage({ contender, workload, streams, processes: 1 }, async (stage) => {
    const window = await measureWindow(stage, ms);
    assertComplete(contender.name, window, streams, workload.changeEveryMs);
    windowNotes(window).forEach(note);
    const { p50, p99, max } = window.deliveryUs;
    return [
      { name: CPU, unit: 'µs', value: window.cpuUsPerEvent },
      { name: 'delivery p50', unit: 'ms', value: p50 / 1000 },
      { name: P99, unit: 'ms', value: p99 / 1000 },
      { name: 'delivery max', unit: 'ms', value: max / 1000 },
      { name: 'client CPU', unit: 'cores', value: Math.max(...window.clientCpuShare) },
    ];
  });
}
