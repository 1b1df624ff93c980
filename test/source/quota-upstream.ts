/**
 * An upstream that lives on the test's clock: runs that end when they are told to, `/wait` that is
 * held until then, and a limit that is enforced: more requests in any time of its length are
 * answered 429, and counted.
 */

import { setImmediate as turn } from 'node:timers/promises';

import { jsonLogger } from '../../src/core/log.ts';
import type { ApiKey } from '../../src/core/run-source.ts';
import type { Driver, DriverOptions } from '../../src/source/driver.ts';
import type { PollingSource } from '../../src/source/polling-source.ts';
import type { Rate } from '../../src/source/quota.ts';
import { Upstream } from '../../src/source/upstream.ts';
import type { Exchange, Extra } from '../../src/source/upstream.ts';
import type { FakeClock } from '../support/fake-clock.ts';
import { A, reading, sourceOver } from './harness.ts';

/** There and back. */
const TRIP_MS = 20;
/** For so long a run that is over is in the list. */
const LISTED_MS = 30_000;

export class QuotaUpstream extends Upstream {
  readonly sentAt: number[] = [];
  readonly endsAt = new Map<string, number>();
  limited = 0;
  pages = 0;
  listStatus = 200;
  readonly unlisted = new Set<string>();
  /** Says in each answer what remains, as the run API does. */
  tells = false;
  readonly askedAt = new Map<string, number[]>();
  readonly #clock: FakeClock;
  readonly #limit: Rate;
  readonly #hasWait: boolean;

  constructor(clock: FakeClock, limit: Rate, hasWait = true) {
    super({
      url: new URL('http://upstream.test'), path: '/v1/runs/{runId}', timeoutMs: 10_000,
      maxBodyBytes: 1_000_000,
    }, clock);
    this.#clock = clock;
    this.#limit = limit;
    this.#hasWait = hasWait;
  }

  override get(runId: string, _key: ApiKey, extra: Extra = {}): Promise<Exchange> {
    const now = this.#clock.now();
    this.sentAt.push(now);
    this.askedAt.set(runId, [...this.askedAt.get(runId) ?? [], now]);
    const recent = this.sentAt.filter((at) => at > now - this.#limit.perMs);
    if (recent.length > this.#limit.requests) {
      this.limited++;
      return this.#later(TRIP_MS, () => answer(429, '', { 'retry-after': '5' }));
    }
    const told = !this.tells ? {} : {
      'ratelimit-limit': String(this.#limit.requests),
      'ratelimit-remaining': String(this.#limit.requests - recent.length),
      'ratelimit-reset': String(Math.ceil(((recent[0] ?? now) + this.#limit.perMs - now) / 1000)),
    };
    const [, seconds] = /^\/wait\?timeout=(\d+)$/.exec(extra.suffix ?? '') ?? [];
    if (seconds === undefined) return this.#later(TRIP_MS, () => this.#state(runId, told));
    if (!this.#hasWait) return this.#later(TRIP_MS, () => answer(404, ''));
    const endsAt = this.endsAt.get(runId) ?? Infinity;
    const heldMs = Math.max(0, Math.min(endsAt - now, Number(seconds) * 1000));
    return this.#later(heldMs + TRIP_MS, () => this.#state(runId));
  }

  /** Newest first, a hundred to a page. */
  override list(_key: ApiKey, query: string): Promise<Exchange> {
    const now = this.#clock.now();
    this.sentAt.push(now);
    this.pages++;
    if (this.sentAt.filter((at) => at > now - this.#limit.perMs).length > this.#limit.requests) {
      this.limited++;
      return this.#later(TRIP_MS, () => answer(429, '', { 'retry-after': '5' }));
    }
    const page = Number(new URLSearchParams(query).get('page') ?? 1);
    return this.#later(TRIP_MS, () => {
      const at = this.#clock.now();
      const all = [...this.endsAt].filter(([runId, endsAt]) =>
        !this.unlisted.has(runId) && endsAt > at - LISTED_MS).reverse();
      const data = all.slice((page - 1) * 100, page * 100).map(([runId, endsAt]) =>
        ({ runId, status: at >= endsAt ? 'completed' : 'running' }));
      const body = { data, pagination: { page, totalPages: Math.ceil(all.length / 100) } };
      return answer(this.listStatus, JSON.stringify(body));
    });
  }

  #state(runId: string, told: Record<string, string> = {}): Exchange {
    const isOver = this.#clock.now() >= (this.endsAt.get(runId) ?? Infinity);
    return answer(200, reading(isOver ? 'completed' : 'running', {}, runId).body, told);
  }

  #later(ms: number, exchange: () => Exchange): Promise<Exchange> {
    return new Promise((resolve) => this.#clock.setTimeout(() => resolve(exchange()), ms));
  }
}

const answer = (
  status: number, body: string | Buffer, headers: Record<string, string> = {},
): Exchange => ({ kind: 'answer', status, headers, body: Buffer.from(body) });

/** A source over it, and when each run's end was told. */
export class QuotaLab {
  readonly source: PollingSource;
  readonly toldAt = new Map<string, number>();
  readonly #clock: FakeClock;

  constructor(
    clock: FakeClock, upstream: QuotaUpstream, rate: Rate | undefined,
    driver: (options: DriverOptions) => Driver, random = (): number => 0,
  ) {
    this.#clock = clock;
    const log = jsonLogger('silent', clock, () => undefined);
    this.source = sourceOver(upstream, {
      clock, log, pollIntervalMs: 2_000, driver, random, ...rate === undefined ? {} : { rate },
    });
  }

  /** Resolves once it is admitted, which takes the clock to go on; false: it was refused. */
  async join(runId: string): Promise<boolean> {
    const admission = await this.source.admit(runId, A);
    if (admission.kind === 'refused') return false;
    this.source.watch(admission, {
      onSnapshot: ({ terminal }) => {
        if (terminal !== undefined) this.toldAt.set(runId, this.#clock.now());
      },
      onLost: () => undefined,
    });
    return true;
  }

  /** From timer to timer, with a turn of the loop after each. */
  async advance(ms: number): Promise<void> {
    const end = this.#clock.now() + ms;
    for (;;) {
      await turn();
      const { nextInMs } = this.#clock;
      if (nextInMs === undefined || this.#clock.now() + nextInMs > end) break;
      this.#clock.advance(nextInMs);
    }
    this.#clock.advance(Math.max(0, end - this.#clock.now()));
  }
}
