/**
 * As many streams as a small machine holds: nearly all descriptors of two workers, each state to
 * all of them. The workers accept from one shared socket, so the kernel decides who gets a
 * connection; where one worker is full before the other, joins are refused, and the row says
 * how many. Refused clients do not come back here, although real ones would.
 */

import { readdirSync, readlinkSync } from 'node:fs';
import { runcast } from '../contenders/runcast.ts';
import { clientNotes } from '../support/account.ts';
import { available } from '../support/available.ts';
import type { Contender, Workload } from '../support/contender.ts';
import { total } from '../support/histogram.ts';
import { judge } from '../support/report.ts';
import type { CaseOptions, CaseResult, Target } from '../support/report.ts';
import { measureRows } from '../support/rows.ts';
import type { Note } from '../support/rows.ts';
import { onStage } from '../support/stage.ts';
import type { Stage } from '../support/stage.ts';
import type { Reading } from '../support/statistics.ts';
import { cpuBetween, memoryOf, sampleCpu } from '../support/usage.ts';
import type { CpuSample } from '../support/usage.ts';

const STREAMS = 38_000;
const QUICK_STREAMS = 1_000;
const WINDOW_MS = 30_000;
const QUICK_WINDOW_MS = 6_000;
const WARM_UP_MS = 4_000;
const LOAD_PROCESSES = 3;
const JOINS_PER_SECOND = 4_000;
/** A held answer would hold the first event back: here a state is seen up to so much late. */
const GATEWAY = { workers: 2, hold: false, pollIntervalMs: 250 };
const REACHED = 'joins per second';
const P99 = 'first event p99';
const WORKLOAD: Workload = { stateBytes: 1024, changeEveryMs: 2_000, runs: 1, compress: false };
const HELD = 'streams held';
const LOST = 'lost';

/** 1 KB states, a change every 2 s. */
export async function run({ repeats, quick, only, log }: CaseOptions): Promise<CaseResult> {
  const streams = quick ? QUICK_STREAMS : STREAMS;
  const { here, skipped } = await available([runcast(GATEWAY)], only);
  const rows = await measureRows([...here.keys()], repeats, async (name, repeat, note) => {
    log(`held: ${name}, ${repeat + 1} of ${repeats}`);
    const setting = {
      contender: here.get(name) as Contender, workload: WORKLOAD, streams, mayFail: true,
      ratePerSecond: JOINS_PER_SECOND, processes: LOAD_PROCESSES,
    };
    return onStage(setting, (stage) => measure(stage, quick, (text) => {
      log(`held: ${text}`);
      note(text);
    }));
  });
  return {
    name: 'held', rows, skipped, targets: targets(streams).map((target) => judge(target, rows)),
    title: `Held: ${streams.toLocaleString('en')} streams over 2 workers`,
    what: 'A 1 KB state changes every 2 s, the load client is on the same cores. Held is what is '
      + 'open at the end of the window, lost what ended since the first join; the slowest stream '
      + 'is the one that saw the fewest states; delivery from the moment that the change was due, '
      + `up to ${GATEWAY.pollIntervalMs} ms of it the wait for the next poll.`,
  };
}

function targets(streams: number): readonly Target[] {
  const contender = 'runcast, 2 workers';
  return [
    { text: 'Streams held with 2 workers', contender, figure: HELD, limit: streams,
      isFloor: true },
    { text: 'Of these lost', contender, figure: LOST, limit: 0 },
    // The last one's wait is in the time that is divided by: 4,000 would want it to be nothing.
    { text: 'Their joins per second at 4,000 due', contender, figure: REACHED, limit: 3_950,
      isFloor: true },
    { text: 'While they join at 4,000 a second: first event, p99', contender, figure: P99,
      limit: 100 },
  ];
}

async function measure(
  { running, load, opened, emptyRssBytes }: Stage, quick: boolean, note: Note,
): Promise<Reading[]> {
  const pids = running.pids();
  const sockets = pids.map(socketsOf);
  note(`sockets of primary and workers: ${sockets.join(', ')}`);
  if (total(opened.failed) > 0) note(`joins that failed: ${JSON.stringify(opened.failed)}`);
  clientNotes('while they joined', opened).forEach(note);
  const warmUp = await load.measure(WARM_UP_MS);
  const before = pids.map((pid) => sampleCpu([pid]));
  const window = await load.measure(quick ? QUICK_WINDOW_MS : WINDOW_MS);
  const shares = cpuShares(before, pids, window.seconds);
  const lost = [opened, warmUp, window].map((part) => part.lost);
  if (lost.some((counts) => total(counts) > 0)) {
    note(`lost at joins, warm-up, window: ${JSON.stringify(lost)}`);
  }
  note(`cores of primary and workers: ${shares.map((share) => share.toFixed(2)).join(', ')}`);
  clientNotes('in the window', window).forEach(note);
  const { p50, p99, max } = window.deliveryUs;
  const bytes = memoryOf(pids).rssBytes - emptyRssBytes;
  return [
    { name: HELD, unit: '', value: window.openNow },
    { name: LOST, unit: '', value: lost.reduce((sum, counts) => sum + total(counts), 0)
      + warmUp.lostBefore + window.lostBefore },
    { name: 'refused', unit: '', value: total(opened.failed) },
    { name: REACHED, unit: '', value: opened.perSecond },
    { name: P99, unit: 'ms', value: opened.firstEventUs.p99 / 1000 },
    { name: 'states due', unit: '',
      value: Math.floor(window.seconds * 1000 / WORKLOAD.changeEveryMs) },
    { name: 'seen by the slowest', unit: '', value: window.perStreamStates?.min ?? 0 },
    { name: 'skipped', unit: '', value: window.statesSkipped ?? 0 },
    { name: 'delivery p50', unit: 'ms', value: p50 / 1000 },
    { name: 'delivery p99', unit: 'ms', value: p99 / 1000 },
    { name: 'delivery max', unit: 'ms', value: max / 1000 },
    { name: 'CPU', unit: 'cores', value: shares.reduce((sum, share) => sum + share, 0) },
    { name: 'memory per stream', unit: 'KB', value: bytes / window.openNow / 1024 },
    { name: 'fewest in a worker', unit: '', value: Math.min(...sockets.slice(1)) },
    { name: 'most in a worker', unit: '', value: Math.max(...sockets.slice(1)) },
    { name: 'client CPU', unit: 'cores', value: Math.max(...window.clientCpuShare) },
  ];
}

/** Cores that each process had since its sample in `before`. */
function cpuShares(
  before: readonly CpuSample[], pids: readonly number[], seconds: number,
): number[] {
  return before.map((sample, index) =>
    cpuBetween(sample, sampleCpu([pids[index] ?? 0])).seconds / seconds);
}

/** Descriptors of a process that are sockets; what it listens on and its channel among them. */
function socketsOf(pid: number): number {
  const folder = `/proc/${pid}/fd`;
  return readdirSync(folder).filter((name) => {
    try {
      return readlinkSync(`${folder}/${name}`).startsWith('socket:');
    } catch {
      // Closed meanwhile.
      return false;
    }
  }).length;
}
