/**
 * An upstream that lives on the test's clock: runs that end when they are told to, `/wait` that is
 * held until then, and a limit that is enforced: more requests in any time of its length are
 * answered 429, and counted.
 */

import { setImmediate as turn } from 'node:timers/promises';

import { jsonLogger } from '../../src/core/log.ts';
import type { ApiKey, Watch } from '../../src/core/run-source.ts';
import type { Driver, DriverOptions } from '../../src/source/driver.ts';
import type { PollingSource } from '../../src/source/polling-source.ts';
import type { Rate } from '../../src/source/quota.ts';
import { Upstream } from '../../src/source/upstream.ts';
import type { Exchange, Extra } from '../../src/source/upstream.ts';
import type { FakeClock } from '../support/fake-clock.ts';
import { A, reading, sourceOver } from './harness.ts';

/** There and back. */
const TRIP_MS = 20;

/** A status alone, or a state of the run. */
export type Scripted = number | { readonly status: string; readonly over?: object };

export class QuotaUpstream extends Upstream {
  readonly sentAt: number[] = [];
  readonly endsAt = new Map<string, number>();
  limited = 0;
  pages = 0;
  listStatus = 200;
  readonly unlisted = new Set<string>();
  readonly queuedUntil = new Map<string, number>();
  /** For so long a run that is over is in the list. */
  listedMs = 30_000;
  /** Is the list's `status` understood? */
  hasStatus = true;
  /** What a key is told of a run, or of the list (its query), in place of the truth. */
  script: (key: string, runId: string | undefined, query?: string) => Scripted | undefined =
    () => undefined;
  /** Each request for a run: which key made it. */
  readonly keysOf = new Map<string, string[]>();
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

  override get(runId: string, key: ApiKey, extra: Extra = {}): Promise<Exchange> {
    const now = this.#clock.now();
    this.sentAt.push(now);
    this.askedAt.set(runId, [...this.askedAt.get(runId) ?? [], now]);
    this.keysOf.set(runId, [...this.keysOf.get(runId) ?? [], key.value]);
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
    const scripted = this.script(key.value, runId);
    if (scripted !== undefined) {
      return this.#later(TRIP_MS, () => typeof scripted === 'number' ? answer(scripted, '')
        : answer(200, reading(scripted.status, { ...scripted.over }, runId).body));
    }
    const [, seconds] = /^\/wait\?timeout=(\d+)$/.exec(extra.suffix ?? '') ?? [];
    if (seconds === undefined) return this.#later(TRIP_MS, () => this.#state(runId, told));
    if (!this.#hasWait) return this.#later(TRIP_MS, () => answer(404, ''));
    const endsAt = this.endsAt.get(runId) ?? Infinity;
    const heldMs = Math.max(0, Math.min(endsAt - now, Number(seconds) * 1000));
    return this.#later(heldMs + TRIP_MS, () => this.#state(runId));
  }

  /** Newest first, a hundred to a page. */
  override list(key: ApiKey, query: string): Promise<Exchange> {
    const now = this.#clock.now();
    this.sentAt.push(now);
    this.pages++;
    if (this.sentAt.filter((at) => at > now - this.#limit.perMs).length > this.#limit.requests) {
      this.limited++;
      return this.#later(TRIP_MS, () => answer(429, '', { 'retry-after': '5' }));
    }
    const scripted = this.script(key.value, undefined, query);
    if (typeof scripted === 'number') return this.#later(TRIP_MS, () => answer(scripted, ''));
    const params = new URLSearchParams(query);
    const page = Number(params.get('page') ?? 1);
    const wanted = this.hasStatus ? params.get('status') : null;
    return this.#later(TRIP_MS, () => {
      const at = this.#clock.now();
      const all = [...this.endsAt].filter(([runId, endsAt]) =>
        !this.unlisted.has(runId) && endsAt > at - this.listedMs)
        .map(([runId]) => ({ runId, status: this.#statusOf(runId) }))
        .filter(({ status }) => wanted === null || status === wanted).reverse();
      const data = all.slice((page - 1) * 100, page * 100);
      const body = { data, pagination: { page, totalPages: Math.ceil(all.length / 100) } };
      return answer(this.listStatus, JSON.stringify(body));
    });
  }

  #state(runId: string, told: Record<string, string> = {}): Exchange {
    return answer(200, reading(this.#statusOf(runId), {}, runId).body, told);
  }

  #statusOf(runId: string): string {
    const now = this.#clock.now();
    if (now < (this.queuedUntil.get(runId) ?? 0)) return 'queued';
    return now >= (this.endsAt.get(runId) ?? Infinity) ? 'completed' : 'running';
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
  /** Of each run, the keys that lost it. */
  readonly lost = new Map<string, string[]>();
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
  async join(runId: string, key = A): Promise<boolean> {
    return await this.watch(runId, key) !== undefined;
  }

  /** The same, with what ends it. */
  async watch(runId: string, key = A): Promise<Watch | undefined> {
    const admission = await this.source.admit(runId, key);
    if (admission.kind === 'refused') return undefined;
    return this.source.watch(admission, {
      onSnapshot: ({ terminal }) => {
        if (terminal !== undefined) this.toldAt.set(runId, this.#clock.now());
      },
      onLost: (lost) => this.lost.set(runId, [...this.lost.get(runId) ?? [], lost]),
    });
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
