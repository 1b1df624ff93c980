/**
 * Many runs with a few streams each: here a gateway's polls weigh as much as its frames. The run
 * API answers at once, as real ones do, so runcast learns of a change at its next poll.
 */

import assert from 'node:assert/strict';
import { cFloor } from '../contenders/floors.ts';
import { runcast } from '../contenders/runcast.ts';
import type { RunningRuncast } from '../contenders/runcast.ts';
import type { Contender, Running, Workload } from '../support/contender.ts';
import { judge } from '../support/report.ts';
import type { CaseOptions, CaseResult, Target } from '../support/report.ts';
import { measureRows } from '../support/rows.ts';
import type { Note } from '../support/rows.ts';
import { assertComplete, measureWindow, onStage, windowNotes } from '../support/stage.ts';
import type { Stage, Window } from '../support/stage.ts';
import type { Reading } from '../support/statistics.ts';
import { available } from '../support/available.ts';

const POLLS = 'polls per run and interval';
const RUNS = 1_000;
const STREAMS_A_RUN = 3;
/** Of the states and of the polls. */
const EVERY_MS = 1_000;
/**
 * A timer is late by a millisecond or so, and the next poll comes an interval after it: now and
 * then two changes fall between two polls, and the newer one wins. More than this is a fault.
 */
const MAX_MISSED_SHARE = 0.02;

const TARGETS: readonly Target[] = [
  { text: 'Upstream requests per run and interval', contender: 'runcast', figure: POLLS,
    limit: 1.02 },
  { text: 'Upstream requests per run and interval, 2 workers', contender: 'runcast, 2 workers',
    figure: POLLS, limit: 1.02 },
];
const NOTES: readonly string[] = [
  'delivery has the poll\'s phase in it, 0 to 1 s after the change and by chance',
  'CPU per frame has its third of a poll in it, but for the run API\'s side of that',
];

/** 1 KB states; each run changes and is polled once a second. */
export async function run({ repeats, quick, only, log }: CaseOptions): Promise<CaseResult> {
  const polling = { pollIntervalMs: EVERY_MS, hold: false };
  const all = [runcast(polling), runcast({ ...polling, workers: 2 }), cFloor];
  const { here, skipped } = await available(all, only);
  const runs = quick ? 50 : RUNS;
  const workload = { stateBytes: 1024, changeEveryMs: EVERY_MS, runs, compress: false };
  const rows = await measureRows([...here.keys()], repeats, async (name, repeat, note) => {
    log(`many-runs: ${name}, ${repeat + 1} of ${repeats}`);
    return measure(here.get(name) as Contender, workload, quick ? 5_000 : 15_000, note);
  }, (name) => name.startsWith('runcast') ? NOTES : []);
  return {
    name: 'many-runs', rows, targets: TARGETS.map((target) => judge(target, rows)), skipped,
    title: `Many runs: ${runs.toLocaleString('en')} runs, ${STREAMS_A_RUN} streams each`,
    what: 'Each run\'s 1 KB state changes once a second. CPU of the server\'s processes for each '
      + 'event read by the client; delivery from the moment that the change was due; polls as '
      + 'the run API counts them. Checked: no stream is lost or goes back; the C floor\'s see '
      + 'every state; of the polled ones at most 2 % fall between two polls.',
  };
}

async function measure(
  contender: Contender, workload: Workload, ms: number, note: Note,
): Promise<Reading[]> {
  const streams = workload.runs * STREAMS_A_RUN;
  return onStage({ contender, workload, streams, processes: 1 }, async (stage) => {
    const { window, polls } = await countedWindow(stage, ms);
    if (polls === undefined) assertComplete(contender.name, window, streams, EVERY_MS);
    else assertPolled(contender.name, window);
    windowNotes(window).forEach(note);
    const { p50, p99 } = window.deliveryUs;
    return [
      { name: 'CPU per frame', unit: 'µs', value: window.cpuUsPerEvent },
      { name: 'delivery p50', unit: 'ms', value: p50 / 1000 },
      { name: 'delivery p99', unit: 'ms', value: p99 / 1000 },
      { name: 'client CPU', unit: 'cores', value: Math.max(...window.clientCpuShare) },
      ...polls === undefined ? [] : [
        { name: POLLS, unit: '', value: polls / workload.runs },
        { name: 'states missed', unit: '%', value: missedShare(window) * 100 },
      ],
    ];
  });
}

/** Polls of all runs in an interval, over the warm-up too; undefined where nothing polls. */
async function countedWindow(
  stage: Stage, ms: number,
): Promise<{ readonly window: Window; readonly polls: number | undefined }> {
  const before = await requestsOf(stage.running);
  const startMs = performance.now();
  const window = await measureWindow(stage, ms);
  const after = await requestsOf(stage.running);
  const intervals = (performance.now() - startMs) / EVERY_MS;
  const isCounted = before !== undefined && after !== undefined;
  return { window, polls: isCounted ? (after - before) / intervals : undefined };
}

function requestsOf(running: Running | RunningRuncast): Promise<number> | undefined {
  return 'upstream' in running ? running.upstream.requests() : undefined;
}

function missedShare({ statesSeen, statesSkipped = 0 }: Window): number {
  return statesSkipped / (statesSeen + statesSkipped);
}

function assertPolled(name: string, window: Window): void {
  const { lost, lostBefore, backwards, strangeTimes, perStreamStates } = window;
  assert.deepEqual({ lost, lostBefore, backwards, strangeTimes },
    { lost: {}, lostBefore: 0, backwards: 0, strangeTimes: 0 },
    `${name}: a stream was lost, or told of the past`);
  const missed = missedShare(window);
  assert.ok(missed <= MAX_MISSED_SHARE, `${name}: ${missed * 100} % of the states were missed`);
  // One for where the window begins and ends, one for the poll before and behind it, one missed.
  const least = Math.floor(window.seconds * 1000 / EVERY_MS) - 3;
  assert.ok((perStreamStates?.min ?? 0) >= least,
    `${name}: a stream saw only ${perStreamStates?.min} states, not ${least}`);
}
