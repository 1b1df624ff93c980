/**
 * Restart storms: streams that lose their server and come back with the id of what they have, by
 * themselves and after the time they were told, as an EventSource does. Once a worker is killed,
 * once the gateway drains and another one is started at its address.
 *
 * The crash is shown on a state that stands still: everybody has it already, so each state read
 * in the storm is one that was sent again. In the drain it changes, and nothing may go back.
 */

import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { runcast } from '../contenders/runcast.ts';
import type { RunningRuncast } from '../contenders/runcast.ts';
import { clientNotes } from '../support/account.ts';
import { available } from '../support/available.ts';
import type { Workload } from '../support/contender.ts';
import { total } from '../support/histogram.ts';
import { Load } from '../support/load.ts';
import type { Measured } from '../support/load.ts';
import { judge } from '../support/report.ts';
import type { CaseOptions, CaseResult, Target } from '../support/report.ts';
import { measureRows } from '../support/rows.ts';
import type { Note } from '../support/rows.ts';
import type { Reading } from '../support/statistics.ts';
import { isAlive } from '../support/usage.ts';

const STREAMS = 2_000;
const QUICK_STREAMS = 200;
const JOINS_PER_SECOND = 2_000;
const POLL_MS = 200;
const DAY_MS = 86_400_000;
/** In the middle of something, not at its begin. */
const CALM_MS = 1_000;
const STORM_MS = 15_000;
const DRAIN_STORM_MS = 25_000;
const DRAIN_DEADLINE_MS = 8_000;
const CRASH = 'kill -9 of a worker';
const DRAIN = 'drain and start';
const BACK = 'open at the end';

type Storm = (streams: number, note: Note) => Promise<Reading[]>;
const STORMS: Readonly<Record<string, Storm>> = { [CRASH]: crash, [DRAIN]: drain };

/** 2 workers, 1 KB states. */
export async function run({ repeats, quick, only, log }: CaseOptions): Promise<CaseResult> {
  const streams = quick ? QUICK_STREAMS : STREAMS;
  const { skipped } = await available([runcast({ workers: 2 })]);
  const here = skipped.length > 0 ? [] : Object.keys(STORMS).filter((name) =>
    only.length === 0 || only.includes(name));
  const rows = await measureRows(here, repeats, async (name, repeat, note) => {
    log(`restart: ${name}, ${repeat + 1} of ${repeats}`);
    return (STORMS[name] as Storm)(streams, note);
  });
  return {
    name: 'restart', rows, skipped, targets: targets(streams).map((target) => judge(target, rows)),
    title: `Restart: ${streams.toLocaleString('en')} streams that come back, 2 workers`,
    what: `A worker is killed, or the gateway drains for 5 s and another starts at its address. `
      + 'Away is from a stream\'s loss to its first event on the next connection, the 2 to 5 s '
      + 'included that clients are told to wait. States sent again: read in the crash\'s storm, '
      + `where none changed. Upstream is asked every ${POLL_MS} ms: 1 is one request in each.`,
  };
}

function targets(streams: number): readonly Target[] {
  return [
    { text: 'Streams back after kill -9', contender: CRASH, figure: BACK, limit: streams,
      isFloor: true },
    { text: 'States sent again to who has them', contender: CRASH, figure: 'states sent again',
      limit: 0 },
    { text: 'Upstream requests per interval in the storm', contender: CRASH,
      figure: 'requests per interval', limit: 1.02 },
    { text: 'Streams back after a drain', contender: DRAIN, figure: BACK, limit: streams,
      isFloor: true },
    { text: 'Streams cut by a drain', contender: DRAIN, figure: 'cut', limit: 0 },
  ];
}

/** The state stands still. */
async function crash(streams: number, note: Note): Promise<Reading[]> {
  const workload = workloadOf(DAY_MS);
  const contender = runcast({ workers: 2, hold: false, pollIntervalMs: POLL_MS });
  const running = await contender.start(workload);
  try {
    return await withStreams(running, workload, streams, async (load) => {
      const requestsBefore = await running.upstream.requests();
      const measured = load.measure(STORM_MS);
      await sleep(CALM_MS);
      const [, worker] = running.pids();
      assert.ok(worker !== undefined, 'there are workers');
      process.kill(worker, 'SIGKILL');
      const storm = await measured;
      const requests = await running.upstream.requests() - requestsBefore;
      clientNotes('in the storm', storm).forEach(note);
      return [
        ...readings(storm),
        { name: 'states sent again', unit: '', value: storm.events['progress'] ?? 0 },
        { name: 'requests per interval', unit: '',
          value: requests / (storm.seconds * 1000 / POLL_MS) },
      ];
    });
  } finally {
    await running.stop();
  }
}

/** Each of the two gateways has an upstream of its own, and these say the same. */
async function drain(streams: number, note: Note): Promise<Reading[]> {
  const workload = workloadOf(1_000);
  const flags = ['--port', String(await freePort()), '--drain-timeout', '5s'];
  const contender = runcast({ workers: 2, hold: false, pollIntervalMs: POLL_MS, flags });
  const running = await contender.start(workload);
  let next: RunningRuncast | undefined;
  try {
    return await withStreams(running, workload, streams, async (load) => {
      const measured = load.measure(DRAIN_STORM_MS);
      await sleep(CALM_MS);
      const drainedMs = await drained(running);
      const goneAt = performance.now();
      next = await contender.start(workload);
      const darkMs = performance.now() - goneAt;
      const storm = await measured;
      clientNotes('in the storm', storm).forEach(note);
      return [
        ...readings(storm),
        { name: 'drained after', unit: 's', value: drainedMs / 1000 },
        { name: 'nobody listened for', unit: 's', value: darkMs / 1000 },
      ];
    });
  } finally {
    await Promise.all([running.stop(), next?.stop()]);
  }
}

function workloadOf(changeEveryMs: number): Workload {
  return { stateBytes: 1024, changeEveryMs, runs: 1, compress: false };
}

async function withStreams(
  { url, headers }: RunningRuncast, { changeEveryMs }: Workload, streams: number,
  work: (load: Load) => Promise<Reading[]>,
): Promise<Reading[]> {
  const { load, opened } = await Load.open({
    url, headers, streams, changeEveryMs, ratePerSecond: JOINS_PER_SECOND, reconnect: true,
  });
  try {
    assert.equal(opened.openNow, streams, `all are open: ${JSON.stringify(opened.failed)}`);
    // What they joined with is read; from here on a state is a new one or one sent again.
    await load.measure(CALM_MS);
    return await work(load);
  } finally {
    await load.close();
  }
}

function readings({ lost, failed, openNow, awayUs, backwards, seconds }: Measured): Reading[] {
  const ended = lost['end'] ?? 0;
  return [
    { name: 'ended cleanly', unit: '', value: ended },
    { name: 'cut', unit: '', value: total(lost) - ended },
    { name: 'came back', unit: '', value: awayUs.count },
    { name: BACK, unit: '', value: openNow },
    { name: 'away p50', unit: 's', value: awayUs.p50 / 1e6 },
    { name: 'away p99', unit: 's', value: awayUs.p99 / 1e6 },
    { name: 'away max', unit: 's', value: awayUs.max / 1e6 },
    { name: 'attempts in vain', unit: '', value: total(failed) },
    { name: 'states that went back', unit: '', value: backwards },
    { name: 'watched', unit: 's', value: seconds },
  ];
}

/** Milliseconds from SIGTERM until all its processes are gone. */
async function drained(running: RunningRuncast): Promise<number> {
  const pids = running.pids();
  const startMs = performance.now();
  process.kill(pids[0] as number, 'SIGTERM');
  while (pids.some(isAlive)) {
    assert.ok(performance.now() - startMs < DRAIN_DEADLINE_MS, 'it drains in time');
    await sleep(20);
  }
  return performance.now() - startMs;
}

/** Below the ports of outgoing connections: a client must not sit on it while nobody listens. */
async function freePort(): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 10_000);
    const server = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false));
      server.listen(port, '127.0.0.1', () => resolve(true));
    });
    if (!isFree) continue;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}
