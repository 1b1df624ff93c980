/**
 * A day of upstream weather on the test's clock: a thousand runs come and end while outages of
 * every kind come and go, and clients follow them through the whole of hub and source, are sent
 * away, leave and return. At the end of the day each has been told the end of its run once, as
 * upstream has it, and none before it was. `RUNCAST_SEED=7` repeats the day of that seed.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';

import { silentLogger } from '../../src/core/log.ts';
import { Metrics } from '../../src/core/metrics.ts';
import type { Admission, RunSource } from '../../src/core/run-source.ts';
import { Hub } from '../../src/hub/hub.ts';
import { PollDriver } from '../../src/source/driver.ts';
import type { Driver, DriverOptions } from '../../src/source/driver.ts';
import { ListDriver } from '../../src/source/list-driver.ts';
import type { Rate } from '../../src/source/quota.ts';
import { StreamDriver } from '../../src/source/stream-driver.ts';
import { WaitDriver } from '../../src/source/wait-driver.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { FakeSink } from '../support/fake-sink.ts';
import { apiKey } from '../support/fake-source.ts';
import { randomFrom, seeds } from '../support/random.ts';
import type { SseEvent } from '../support/sse-parser.ts';
import { sourceOver } from './harness.ts';
import { SKIES, Weather } from './weather.ts';
import { WeatherUpstream, dataOf } from './weather-upstream.ts';
import type { Run } from './weather-upstream.ts';

const DAY_MS = 86_400_000;
const RUNS = 1_000;
/** Of them, those that come all at once. */
const BURSTS = { runs: 200, size: 40, withinMs: 10_000 };
const MEAN_MS = 200_000;
const LONGEST_MS = 7_200_000;
const OUTAGES = 80;
const MISHAPS = 0.01;
const POLL_MS = 5_000;
/** Of fair weather, within which an end is told: the longest of all waits, one after another. */
const LATE_MS = 300_000;
/** Clients have gone home, upstream is well. */
const EVENING_MS = 3_600_000;

/** What all clients of a day share. */
interface Day {
  readonly clock: FakeClock;
  readonly random: () => number;
  readonly hub: Hub;
  readonly source: RunSource;
  readonly tally: Record<'timeouts' | 'refusals' | 'returns', number>;
  /** Not by `wait`, which counts an answer that was held from when it was asked for. */
  readonly isOrdered: boolean;
}

/** A sink whose connection closes behind its end. */
class ClosingSink extends FakeSink {
  readonly #clock: FakeClock;

  constructor(clock: FakeClock) {
    super();
    this.#clock = clock;
  }

  override end(): void {
    super.end();
    this.#clock.setTimeout(() => this.close(), 1);
  }
}

/** Who wants to know how a run ends, as an EventSource would. */
class Client {
  readonly run: Run;
  readonly verdicts: (SseEvent & { readonly at: number })[] = [];
  readonly violations: string[] = [];
  readonly #day: Day;
  readonly #key: string;
  #sink: ClosingSink | undefined;
  #lastId: string | undefined;
  #lastStep = -1;

  constructor(day: Day, run: Run, key: string) {
    this.run = run;
    this.#day = day;
    this.#key = key;
    void this.#join();
  }

  async #join(): Promise<void> {
    const { source, random } = this.#day;
    this.#onAdmission(await source.admit(this.run.runId, apiKey(this.#key)));
    // One in six loses its connection, and finds out late.
    if (random() < 1 / 6) this.#later(random() * 120_000, () => this.#hangUp());
  }

  #onAdmission(admission: Admission): void {
    const { hub, clock, random, tally } = this.#day;
    if (admission.kind === 'refused') {
      tally.refusals++;
      const { retryAfterMs = 1_000 } = admission.refusal;
      this.#comeBack(Math.max(1_000, retryAfterMs) + 2_000 * random());
      return;
    }
    const sink = new ClosingSink(clock);
    this.#sink = sink;
    sink.onEvent = (event) => this.#onEvent(event, sink);
    const requestId = `req_${this.#key}`;
    hub.subscribe(admission, { sink, requestId, lastEventId: this.#lastId });
  }

  #onEvent(event: SseEvent, sink: FakeSink): void {
    const { clock, random, tally } = this.#day;
    this.#lastId = event.id;
    switch (event.event) {
      case 'complete': case 'error':
        this.verdicts.push({ ...event, at: clock.now() });
        return;
      case 'progress':
        return this.#onProgress(JSON.parse(event.data) as { status: string; step: number });
      case 'timeout':
        tally.timeouts++;
        return this.#comeBack(2_000 + 3_000 * random());
      default: // A ping with `retry:` in mid-stream sends it away: nobody here is to be sent away.
        if (sink.events.length > 1 && event.retry !== undefined) this.violations.push('sent away');
    }
  }

  /** No state is shown behind a newer one. */
  #onProgress({ status, step }: { readonly status: string; readonly step: number }): void {
    const order = status === 'queued' ? step : step + 0.5;
    if (!/^(?:queued|running)$/.test(status)) this.violations.push(`progress: ${status}`);
    const isBehind = this.#day.isOrdered && order < this.#lastStep;
    if (isBehind) this.violations.push(`${order} behind ${this.#lastStep}`);
    this.#lastStep = order;
  }

  #hangUp(): void {
    const sink = this.#sink;
    if (sink === undefined || sink.isClosed || sink.isEnded || this.verdicts.length > 0) return;
    this.#day.tally.returns++;
    sink.close();
    this.#comeBack(1_000 + 60_000 * this.#day.random());
  }

  #comeBack(ms: number): void {
    this.#later(ms, () => void this.#join());
  }

  #later(ms: number, act: () => void): void {
    this.#day.clock.setTimeout(act, Math.ceil(ms));
  }

  /** What is wrong with what it was told. */
  check(weather: Weather): string[] {
    const { run, violations, verdicts: [verdict, ...more] } = this;
    if (verdict === undefined) return [...violations, 'never told'];
    const expected = run.verdict === 'completed' ? 'complete' : 'error';
    const isTrue = verdict.event === expected && verdict.data === dataOf(run, Infinity);
    const lateMs = weather.fairMs(run.endsAt, verdict.at);
    return [
      ...violations, ...more.map(({ event }) => `told again: ${event}`),
      ...verdict.at < run.endsAt ? [`told ${run.endsAt - verdict.at} ms before`] : [],
      ...isTrue ? [] : [`told ${verdict.event} ${verdict.data}, but it was ${run.verdict}`],
      ...lateMs > LATE_MS ? [`told after ${lateMs} fair ms`] : [],
    ].map((what) => `${run.runId} ${this.#key}: ${what}`);
  }
}

/** In the order in which they come. */
function runsOf(random: () => number): Run[] {
  const starts = Array.from({ length: RUNS }, (_, i) =>
    (i < BURSTS.runs ? Math.floor(i / BURSTS.size) : random() * DAY_MS));
  const bursts = Array.from({ length: BURSTS.runs / BURSTS.size }, () => random() * DAY_MS);
  return starts.map((start, i) => {
    const burst = i < BURSTS.runs ? bursts[start] : undefined;
    const startsAt = Math.floor(burst === undefined ? start : burst + random() * BURSTS.withinMs);
    const ms = Math.min(LONGEST_MS, -Math.log(1 - random()) * MEAN_MS);
    const verdict = ['completed', 'completed', 'failed', 'cancelled'][Math.floor(random() * 4)];
    const endsAt = startsAt + Math.ceil(ms);
    return { runId: `run-${i}`, startsAt, endsAt, verdict: verdict ?? 'completed', misses: 0 };
  }).sort((a, b) => a.startsAt - b.startsAt);
}

type MakeDriver = (options: DriverOptions, random: () => number) => Driver;

class Theatre {
  readonly clock = new FakeClock();
  readonly weather: Weather;
  readonly clients: Client[] = [];
  readonly tally = { timeouts: 0, refusals: 0, returns: 0 };
  readonly #random: () => number;
  readonly #upstream: WeatherUpstream;
  readonly #day: Day;

  constructor(seed: number, make: MakeDriver, rate: Rate | undefined, isOrdered: boolean) {
    const random = randomFrom(seed);
    const { clock, tally } = this;
    this.#random = random;
    this.weather = new Weather({ dayMs: DAY_MS, outages: OUTAGES, mishaps: MISHAPS }, random);
    this.#upstream = new WeatherUpstream(clock, this.weather, random);
    const source = sourceOver(this.#upstream, {
      clock, random, log: silentLogger, pollIntervalMs: POLL_MS,
      driver: (options) => make(options, random), ...rate === undefined ? {} : { rate },
    });
    const hub = new Hub(source, {
      pingIntervalMs: 15_000, streamTimeoutMs: 600_000, slowTimeoutMs: 30_000, clock, random,
    }, new Metrics());
    this.#day = { clock, random, hub, source, tally, isOrdered };
  }

  async play(): Promise<void> {
    for (const run of runsOf(this.#random)) {
      await this.#pass(run.startsAt);
      this.#upstream.runs.set(run.runId, run);
      const clients = 1 + Math.floor(this.#random() ** 3 * 3);
      for (let i = 0; i < clients; i++) {
        this.clients.push(new Client(this.#day, run, `lma_${i}`));
      }
    }
    await this.#pass(DAY_MS + LONGEST_MS + EVENING_MS);
  }

  async close(): Promise<void> {
    const { hub, source } = this.#day;
    assert.deepEqual(hub.size, { streams: 0, runs: 0 });
    source.close();
    await this.#pass(this.clock.now() + 3_600_000);
    assert.equal(this.clock.pending, 0, 'timers are left');
  }

  /** From timer to timer, with a turn of the loop after each; by whole milliseconds. */
  async #pass(until: number): Promise<void> {
    for (;;) {
      await turn();
      const now = this.clock.now();
      const { nextInMs = Infinity } = this.clock;
      if (now + nextInMs > until) break;
      this.clock.advance(Math.max(1, Math.ceil(nextInMs)));
    }
    this.clock.advance(Math.max(0, until - this.clock.now()));
  }
}

const TIGHT: Rate = { requests: 100, perMs: 60_000 };

const DRIVERS: readonly (readonly [name: string, make: MakeDriver, rate?: Rate])[] = [
  ['poll', (options) => new PollDriver(options)],
  ['wait', (options) => new WaitDriver(options), TIGHT],
  ['stream', (options, random) => new StreamDriver(options, random)],
  ['list', (options, random) => new ListDriver(options, random), TIGHT],
];

for (const seed of seeds(1)) {
  describe(`a day of upstream weather (RUNCAST_SEED=${seed})`, () => {
    for (const [name, make, rate] of DRIVERS) {
      it(`tells every client the end of its run once, by ${name}`, async () => {
        const theatre = new Theatre(seed, make, rate, name !== 'wait');
        await theatre.play();
        const { weather, clients, tally } = theatre;
        const wrong = clients.flatMap((client) => client.check(weather));
        assert.deepEqual(wrong.slice(0, 20), [], `${wrong.length} of ${clients.length} clients`);
        await theatre.close();
        for (const sky of SKIES) assert.ok(weather.met[sky] > 5, `${sky}: ${weather.met[sky]}`);
        for (const [what, times] of Object.entries(tally)) {
          assert.ok(times > 5, `${what}: ${times}`);
        }
      });
    }
  });
}
