/**
 * The upstream side: what one poll costs the gateway beside a process that only asks, and how
 * many requests reach upstream for one run, however many watch it. Upstream counts them itself.
 */

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { BareGetPlan } from '../contenders/entries/bare-get.ts';
import { KEY_HEADERS, startUpstream } from '../contenders/polling.ts';
import type { RunningUpstream } from '../contenders/polling.ts';
import { startEntry } from '../contenders/processes.ts';
import { runcast } from '../contenders/runcast.ts';
import { available } from '../support/available.ts';
import type { Workload } from '../support/contender.ts';
import { Load } from '../support/load.ts';
import { judge } from '../support/report.ts';
import type { CaseOptions, CaseResult, Row, Target } from '../support/report.ts';
import { onStage } from '../support/stage.ts';
import { interleave } from '../support/statistics.ts';
import type { Reading } from '../support/statistics.ts';
import { cpuBetween, sampleCpu } from '../support/usage.ts';

const CPU = 'CPU per request';
const REQUESTS = 'requests per interval';
const BARE = 'bare http.get';
const POLL_MS = 200;
/** Short, so that the one request at the edge of a window weighs little. */
const WATCHED_POLL_MS = 100;
const STILL: Workload = { stateBytes: 1024, changeEveryMs: 3_600_000, runs: 200, compress: false };
const LIVELY: Workload = { stateBytes: 1024, changeEveryMs: 1_000, runs: 1, compress: false };
/** How the gateway's polls come by their phases; the bare process takes them up likewise. */
const JOINS_PER_SECOND = 2_500;
/** So much of its first interval a poller leaves to chance: `src/source/poller.ts`. */
const FIRST_POLL_JITTER = 0.25;
/** Some thousand polls: until all that polling needs is compiled. */
const WARM_UP_MS = 5_000;

/** Who watches the one run. */
interface Audience {
  readonly watchers: number;
  readonly keys?: number;
  readonly workers?: number;
}

const AUDIENCES: Readonly<Record<string, Audience>> = {
  'runcast, 1 watcher': { watchers: 1 },
  'runcast, 10 watchers': { watchers: 10 },
  'runcast, 100 watchers': { watchers: 100 },
  'runcast, 1,000 watchers': { watchers: 1_000 },
  'runcast, 1,000 watchers, 3 keys': { watchers: 1_000, keys: 3 },
  'runcast, 1,000 watchers, 2 workers': { watchers: 1_000, workers: 2 },
  'runcast, 1,000 watchers, 3 keys, 2 workers': { watchers: 1_000, keys: 3, workers: 2 },
};
const CLIENTS: Readonly<Record<string, number>> = {
  'no gateway, 10 clients': 10, 'no gateway, 100 clients': 100,
};

const TARGETS: readonly Target[] = [
  { text: 'CPU of a poll with an unchanged answer', contender: 'runcast', figure: CPU, limit: 1.3,
    over: BARE },
  ...Object.keys(AUDIENCES).map((contender): Target => ({
    text: `Upstream requests per interval: ${contender.replace('runcast, ', '')}`, contender,
    figure: REQUESTS, limit: 1.02,
  })),
];

/** 1 KB states. */
export async function run({ repeats, quick, only, log }: CaseOptions): Promise<CaseResult> {
  const { skipped } = await available([runcast()]);
  const known = ['runcast', BARE, ...Object.keys(AUDIENCES), ...Object.keys(CLIENTS)];
  const here = known.filter((name) => (only.length === 0 || only.includes(name))
    && (skipped.length === 0 || !name.startsWith('runcast')));
  const workload = quick ? { ...STILL, runs: 50 } : STILL;
  const ms = quick ? 3_000 : 10_000;
  const figures = await interleave(here, repeats, async (name, repeat) => {
    log(`upstream: ${name}, ${repeat + 1} of ${repeats}`);
    const clients = CLIENTS[name];
    const audience = AUDIENCES[name];
    if (clients !== undefined) return measureClients(clients, ms);
    if (audience !== undefined) return measureAudience(audience, ms);
    return name === BARE ? measureBare(workload, ms) : measurePolls(workload, ms);
  });
  const rows = [...figures].map(([contender, found]): Row =>
    ({ contender, figures: found, notes: [] }));
  return {
    name: 'upstream', title: 'Upstream: what a poll costs, and how many there are', rows,
    targets: TARGETS.map((target) => judge(target, rows)), skipped,
    what: `CPU: ${workload.runs} runs that do not change, each asked for every ${POLL_MS} ms; one `
      + 'stream each at the gateway, whose whole CPU time is divided by the requests that '
      + `upstream counted. Requests: one run asked for every ${WATCHED_POLL_MS} ms, its state `
      + 'changes once a second; 1 is one request in each interval.',
  };
}

/** Pings to its streams included: nothing is subtracted. */
async function measurePolls(workload: Workload, ms: number): Promise<Reading[]> {
  const contender = runcast({ hold: false, pollIntervalMs: POLL_MS });
  const streams = workload.runs;
  const setting = { contender, workload, streams, ratePerSecond: JOINS_PER_SECOND };
  return onStage(setting, async ({ running, load }) => {
    const readings = await cpuReadings(
      running.upstream, running.pids(), POLL_MS / workload.runs, ms);
    const { openNow, lostBefore } = await load.measure(0);
    assert.deepEqual({ openNow, lostBefore }, { openNow: streams, lostBefore: 0 });
    return readings;
  });
}

async function measureBare(workload: Workload, ms: number): Promise<Reading[]> {
  const { runs } = workload;
  const plan = {
    clients: runs, runs, intervalMs: POLL_MS, apartMs: 1000 / JOINS_PER_SECOND,
    jitterMs: POLL_MS * FIRST_POLL_JITTER,
  };
  return withBareGet(workload, plan, (upstream, pids) =>
    cpuReadings(upstream, pids, POLL_MS / runs, ms));
}

async function measureClients(clients: number, ms: number): Promise<Reading[]> {
  const plan = {
    clients, runs: 1, intervalMs: WATCHED_POLL_MS, apartMs: WATCHED_POLL_MS / clients, jitterMs: 0,
  };
  return withBareGet(LIVELY, plan, async (upstream) => {
    await sleep(WARM_UP_MS);
    return [await requestsReading(upstream, WATCHED_POLL_MS, ms)];
  });
}

async function measureAudience(
  { watchers, keys = 1, workers = 1 }: Audience, ms: number,
): Promise<Reading[]> {
  const contender = runcast({ workers, hold: false, pollIntervalMs: WATCHED_POLL_MS });
  const perKey = Math.ceil(watchers / keys);
  const setting = { contender, workload: LIVELY, streams: watchers - (keys - 1) * perKey };
  return onStage(setting, async ({ running: { upstream, url, headers }, load }) => {
    const others = await Promise.all(Array.from({ length: keys - 1 }, (_, index) => Load.open({
      url, streams: perKey, ratePerSecond: 1_000, changeEveryMs: LIVELY.changeEveryMs,
      headers: { ...headers, 'x-api-key': `${KEY_HEADERS['x-api-key']}${index}` },
    })));
    try {
      await sleep(WARM_UP_MS);
      const all = [load, ...others.map((other) => other.load)];
      const seen = Promise.all(all.map((each) => each.measure(ms)));
      const reading = await requestsReading(upstream, WATCHED_POLL_MS, ms);
      const open = (await seen).reduce((sum, { openNow }) => sum + openNow, 0);
      // Nobody comes back here: then nobody was lost either.
      assert.equal(open, watchers, 'all watchers are there to the end');
      const fewest = Math.min(...(await seen).map((each) => each.perStreamStates?.min ?? 0));
      assert.ok(fewest >= Math.floor(ms / LIVELY.changeEveryMs) - 1, `one saw ${fewest} states`);
      // One request may be on the other side of the window's edge.
      const least = 0.98 - WATCHED_POLL_MS / ms;
      assert.ok(reading.value >= least, `${reading.value} requests an interval`);
      return [reading];
    } finally {
      await Promise.all(others.map(({ load }) => load.close()));
    }
  });
}

async function cpuReadings(
  upstream: RunningUpstream, pids: readonly number[], intervalMs: number, ms: number,
): Promise<Reading[]> {
  await sleep(WARM_UP_MS);
  const before = sampleCpu(pids);
  const first = await upstream.requests();
  const requests = await requestsReading(upstream, intervalMs, ms);
  const { seconds } = cpuBetween(before, sampleCpu(pids));
  const asked = await upstream.requests() - first;
  return [{ name: CPU, unit: 'µs', value: seconds / asked * 1e6 }, {
    name: 'requests of those due', unit: '', value: requests.value,
  }];
}

async function requestsReading(
  upstream: RunningUpstream, intervalMs: number, ms: number,
): Promise<Reading> {
  const before = await upstream.requests();
  const startMs = performance.now();
  await sleep(ms);
  const asked = await upstream.requests() - before;
  return { name: REQUESTS, unit: '', value: asked / (performance.now() - startMs) * intervalMs };
}

async function withBareGet(
  workload: Workload, plan: Omit<BareGetPlan, 'origin' | 'headers'>,
  work: (upstream: RunningUpstream, pids: readonly number[]) => Promise<Reading[]>,
): Promise<Reading[]> {
  const upstream = await startUpstream(workload, { hold: false });
  try {
    const whole: BareGetPlan = { ...plan, origin: upstream.origin, headers: KEY_HEADERS };
    const child = await startEntry(BARE, 'entries/bare-get', whole);
    try {
      await child.line(/^polling$/);
      const readings = await work(upstream, child.pids());
      assert.equal(child.said, 'polling\n', 'each answer was one');
      return readings;
    } finally {
      await child.stop();
    }
  } finally {
    await upstream.stop();
  }
}
