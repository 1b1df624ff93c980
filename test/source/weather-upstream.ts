/**
 * A run API on the test's clock, in {@link Weather}. Its runs are queued, go on by steps and end
 * when they were meant to, whether anybody can hear of it or not: by status, by `/wait`, by a list
 * and by streams, which break where the weather turns.
 */

import assert from 'node:assert/strict';

import type { Clock, Timer } from '../../src/core/clock.ts';
import type { ApiKey } from '../../src/core/run-source.ts';
import type { StreamListener } from '../../src/source/stream-request.ts';
import { SILENCE_MS } from '../../src/source/stream-request.ts';
import { Upstream } from '../../src/source/upstream.ts';
import type { Exchange, Extra } from '../../src/source/upstream.ts';
import { execution } from '../support/answers.ts';
import { answer } from './weather.ts';
import type { Weather } from './weather.ts';

export interface Run {
  readonly runId: string;
  readonly startsAt: number;
  readonly endsAt: number;
  /** Its last status. */
  readonly verdict: string;
  /** Answers that it is not there. */
  misses: number;
}

export const STEP_MS = 60_000;
const QUEUED_MS = 5_000;
const TIMEOUT_MS = 10_000;
const PING_MS = 15_000;
/** For so long a run that is over is in the list. */
const LISTED_MS = 600_000;
/** Of answers, those that say that the run is not there: it would be believed the third time. */
const MISSES = 0.001;
const MAX_MISSES = 2;

function statusOf({ startsAt, endsAt, verdict }: Run, now: number): string {
  if (now >= endsAt) return verdict;
  return now < startsAt + QUEUED_MS ? 'queued' : 'running';
}

/** What upstream says of the run then, byte for byte. */
export function dataOf(run: Run, now: number): string {
  const step = Math.floor((Math.min(now, run.endsAt) - run.startsAt) / STEP_MS);
  return JSON.stringify(execution(run.runId, statusOf(run, now), { step }));
}

export class WeatherUpstream extends Upstream {
  readonly runs = new Map<string, Run>();
  readonly clock: Clock;
  readonly weather: Weather;
  readonly random: () => number;

  constructor(clock: Clock, weather: Weather, random: () => number) {
    super({
      url: new URL('http://upstream.test'), path: '/v1/runs/{runId}', timeoutMs: TIMEOUT_MS,
      maxBodyBytes: 1_000_000,
    }, clock);
    this.clock = clock;
    this.weather = weather;
    this.random = random;
  }

  run(runId: string): Run {
    return this.runs.get(runId) ?? assert.fail(`nobody has begun ${runId}`);
  }

  /** There, and as long back: so of two answers that which was asked for later is newer. */
  tripMs(): number {
    return Math.ceil(2 + this.random() ** 8 * 1_000);
  }

  override async get(runId: string, _key: ApiKey, extra: Extra = {}): Promise<Exchange> {
    const run = this.run(runId);
    const seconds = /^\/wait\?timeout=(\d+)$/.exec(extra.suffix ?? '')?.[1];
    const tripMs = this.tripMs();
    const fault = await this.#sent(tripMs, run, extra.heldMs);
    if (fault !== undefined) return fault;
    if (run.misses < MAX_MISSES && this.random() < MISSES) {
      run.misses++;
      return answer(404, '{"error":"No such run","code":"NOT_FOUND","retryable":false}');
    }
    const heldMs = Math.min(run.endsAt - this.clock.now(), Number(seconds ?? 0) * 1_000);
    if (heldMs > 0) {
      await this.#after(Math.ceil(heldMs));
      const sky = this.weather.at(this.clock.now());
      if (sky !== undefined) return this.weather.fault('cut', '');
    }
    const data = dataOf(run, this.clock.now());
    await this.#after(tripMs);
    return answer(200, `{"data":${data}}`);
  }

  /** Newest first, a hundred to a page. */
  override async list(_key: ApiKey, query: string): Promise<Exchange> {
    const tripMs = this.tripMs();
    const fault = await this.#sent(tripMs, undefined);
    if (fault !== undefined) return fault;
    const now = this.clock.now();
    const page = Number(new URLSearchParams(query).get('page') ?? 1);
    const all = [...this.runs.values()].filter(({ endsAt }) => endsAt > now - LISTED_MS).reverse();
    const data = all.slice((page - 1) * 100, page * 100)
      .map((run) => ({ runId: run.runId, status: statusOf(run, now) }));
    await this.#after(tripMs);
    const totalPages = Math.ceil(all.length / 100);
    return answer(200, JSON.stringify({ data, pagination: { page, totalPages } }));
  }

  override open(
    runId: string, _key: ApiKey, suffix: string, _lastId: string, listener: StreamListener,
  ): () => void {
    assert.equal(suffix, '/stream');
    const stream = new WeatherStream(this, this.run(runId), listener);
    return () => stream.close();
  }

  /** On its way, where it may meet a fault. */
  async #sent(
    tripMs: number, run: Run | undefined, heldMs = 0,
  ): Promise<Exchange | undefined> {
    const sky = this.weather.at(this.clock.now());
    await this.#after(sky === 'late' ? TIMEOUT_MS + heldMs : tripMs);
    return sky && this.weather.fault(sky, run === undefined ? '[]' : overOf(run));
  }

  #after(ms: number): Promise<void> {
    return new Promise((resolve) => this.clock.setTimeout(resolve, ms));
  }
}

/** What would be its end, before it is. */
const overOf = (run: Run): string => `{"data":${dataOf(run, Infinity)}}`;

/** One stream of a run, until it is over, closed or broken. */
class WeatherStream {
  readonly #upstream: WeatherUpstream;
  readonly #run: Run;
  readonly #listener: StreamListener;
  #timer: Timer;
  #state: 'head' | 'open' | 'done' = 'head';
  #told = '';
  #heardAt = 0;

  constructor(upstream: WeatherUpstream, run: Run, listener: StreamListener) {
    this.#upstream = upstream;
    this.#run = run;
    this.#listener = listener;
    const sky = upstream.weather.at(upstream.clock.now());
    const ms = sky === 'late' ? TIMEOUT_MS : upstream.tripMs();
    this.#timer = upstream.clock.setTimeout(() => {
      if (sky === undefined) this.#onOpen();
      else this.#onHead(upstream.weather.fault(sky, overOf(run)));
    }, ms);
  }

  close(): void {
    if (this.#state === 'head') this.#onHead({ kind: 'broken', why: 'closed' });
    this.#done();
  }

  #onHead(head: Exchange): void {
    this.#done();
    this.#listener.onHead(head.kind === 'answer' ? { ...head, body: Buffer.alloc(0) } : head);
  }

  #onOpen(): void {
    this.#state = 'open';
    const headers = { 'content-type': 'text/event-stream' };
    this.#listener.onHead({ kind: 'answer', status: 200, headers, body: Buffer.alloc(0) });
    this.#say();
  }

  /** What has changed, or a ping. */
  #say(): void {
    if (this.#state !== 'open') return;
    const { clock } = this.#upstream;
    const data = dataOf(this.#run, clock.now());
    const isOver = clock.now() >= this.#run.endsAt;
    const type = !isOver ? 'progress' : this.#run.verdict === 'completed' ? 'complete' : 'error';
    const bytes = data === this.#told
      ? 'event: ping\ndata: 1\n\n' : `event: ${type}\ndata: ${data}\n\n`;
    this.#told = data;
    this.#heardAt = clock.now();
    this.#listener.onBytes(Buffer.from(bytes));
    if (isOver) this.#end(undefined);
    else this.#later();
  }

  #later(): void {
    if (this.#state !== 'open') return;
    const { clock } = this.#upstream;
    const { startsAt, endsAt } = this.#run;
    const now = clock.now();
    const steps = Math.floor((now - startsAt) / STEP_MS) + 1;
    const changes = [startsAt + QUEUED_MS, startsAt + steps * STEP_MS, endsAt];
    const next = Math.min(now + PING_MS, ...changes.filter((at) => at > now));
    this.#timer = clock.setTimeout(() => this.#onTime(), Math.ceil(next - now));
  }

  #onTime(): void {
    const { clock, weather } = this.#upstream;
    const sky = weather.at(clock.now());
    if (sky === undefined) return this.#say();
    if (sky !== 'late') {
      const half = `event: complete\ndata: ${dataOf(this.#run, Infinity)}\n`;
      this.#listener.onBytes(Buffer.from(half.slice(0, Math.ceil(half.length / 2))));
      return this.#end(sky === 'errors' ? undefined : 'cut short');
    }
    if (clock.now() - this.#heardAt >= SILENCE_MS) return this.#end('silent');
    return this.#later();
  }

  #end(why: string | undefined): void {
    if (this.#state !== 'open') return;
    this.#done();
    this.#listener.onEnd(why);
  }

  #done(): void {
    this.#state = 'done';
    this.#upstream.clock.clearTimeout(this.#timer);
  }
}
