/**
 * The run API as the gateway asks it: every request to upstream goes through here, and so through
 * the one budget; what comes back is a value. Keeps no runs.
 */

import { parseRetryAfter } from '../core/backoff.ts';
import type { Clock } from '../core/clock.ts';
import { refuse } from '../core/errors.ts';
import type { Refusal } from '../core/errors.ts';
import type { StatusMapping } from '../core/execution.ts';
import type { Pass, Toll } from '../core/forward.ts';
import type { Logger } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import type { ApiKey } from '../core/run-source.ts';
import { traceFacts } from '../core/trace.ts';
import type { Trace } from '../core/trace.ts';
import { readAnswer } from './answer.ts';
import type { Answer, Reading } from './answer.ts';
import { Budget } from './budget.ts';
import type { Urgency } from './budget.ts';
import { EventStream } from './event-stream.ts';
import type { StreamNews } from './event-stream.ts';
import type { Exchange } from './exchange.ts';
import { readPage } from './list-page.ts';
import type { PageAnswer } from './list-page.ts';
import { Quota } from './quota.ts';
import type { Rate } from './quota.ts';
import { readAllowance } from './rate-limit.ts';
import type { Extra, Upstream } from './upstream.ts';

/** What asking takes. */
export interface RunApiOptions {
  readonly upstream: Upstream;
  readonly mapping: StatusMapping;
  /** Of all requests. Undefined: what upstream's answers say of it is all that is known. */
  readonly rate: Rate | undefined;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** A newcomer waits this long for a place in the budget, and is told to come back otherwise. */
export const PATIENCE_MS = 5_000;
const WARN_MS = 60_000;
const NO_BODY = Buffer.alloc(0);
/**
 * A page lets so many joins and ends go first, and no more. One is asked for at a time, so where
 * more want to go than can it gets one place in five.
 */
const AHEAD_OF_PAGE = 4;

/** One request for a run, what is known of it, and whose request it is for, if one's. */
export type Asked =
  readonly [runId: string, key: ApiKey, known: Reading | undefined, trace?: Trace | undefined];

/** Upstream, within its budget. */
export class RunApi implements Toll {
  readonly quota: Quota;
  readonly #options: RunApiOptions;
  readonly #budget: Budget;
  #isClosed = false;
  #troubles = 0;
  #warnedAt = -Infinity;

  constructor(options: RunApiOptions) {
    const { clock, metrics, rate, random } = options;
    this.#options = options;
    this.quota = new Quota(rate, random);
    this.#budget = new Budget(clock, this.quota);
    metrics.read('runcast_budget_left', () => this.quota.left(clock.now()));
  }

  /** A place in the budget: undefined when there is one now; false when it is not wanted. */
  turn(urgency: Urgency, isWanted: () => boolean): Promise<boolean> | undefined {
    return this.#budget.take(urgency, isWanted);
  }

  /** A place that was had is not used. */
  giveBack(): void {
    this.quota.giveBack();
    this.#budget.onSettled();
  }

  /** For a newcomer: now or soon, or else it is told when to come back. */
  async prove(...asked: Asked): Promise<Answer> {
    const turn = this.#soon();
    const refusal = turn && await turn;
    if (refusal !== undefined) return { kind: 'trouble', why: 'over the budget', refusal };
    this.#options.metrics.count('runcast_proofs_total');
    return this.get(...asked);
  }

  /** For a request that others send. */
  async enter(): Promise<Pass | Refusal> {
    const turn = this.#soon();
    const refusal = turn && await turn;
    if (refusal !== undefined) return refusal;
    const { clock } = this.#options;
    const sentAt = clock.now();
    return (settled) => {
      if (settled === undefined) return this.giveBack();
      this.quota.onArrived(sentAt, clock.now());
      return this.settle({ kind: 'answer', ...settled, body: NO_BODY });
    };
  }

  /** The run as it is. A place was taken. */
  get(...[runId, key, known, trace]: Asked): Promise<Answer> {
    return this.#ask(runId, key, known, { trace });
  }

  /** The run when it is over, or as it is after so long. A place was taken. */
  async wait(seconds: number, ...[runId, key, known]: Asked): Promise<Answer> {
    const { clock } = this.#options;
    const heldMs = seconds * 1000;
    const heldUntil = clock.now() + heldMs;
    const answer = await this.#ask(runId, key, known, {
      suffix: `/wait?timeout=${seconds}`, heldMs,
    });
    const isHeld = answer.kind === 'state' && clock.now() >= heldUntil;
    return isHeld ? { ...answer, readAt: heldUntil } : answer;
  }

  /** A page of the list of runs, or why there is none. */
  async page(key: ApiKey, query: string): Promise<PageAnswer> {
    const turn = this.#budget.take('urgent', () => !this.#isClosed, AHEAD_OF_PAGE);
    if (turn !== undefined && !await turn) return 'trouble';
    const { upstream, mapping, metrics, clock } = this.#options;
    metrics.count('runcast_list_pages_total');
    const sentAt = clock.now();
    const exchange = await upstream.list(key, query);
    this.#timed(sentAt);
    this.quota.onArrived(sentAt, clock.now());
    this.settle(exchange);
    if (exchange.kind !== 'answer') return 'trouble';
    const { status, body } = exchange;
    if (status === 401 || status === 403) return 'refused';
    if (status === 429 || status === 408 || status >= 500 && status !== 501) return 'trouble';
    const page = status === 200 ? readPage(body, mapping) : undefined;
    if (page === undefined) this.#report('no list of runs');
    return page ?? 'no list';
  }

  /**
   * Opens the run's event stream, for one who knows the state `lastId`. A place was taken. Tells
   * nothing during the call, and nothing after the end. Gives how to close it.
   */
  follow(
    runId: string, key: ApiKey, lastId: string, tell: (news: StreamNews) => void,
  ): () => void {
    const { upstream, mapping, clock, metrics } = this.#options;
    const { maxBodyBytes } = upstream;
    const question = { runId, key, mapping, maxBodyBytes, wallNow: clock.wallNow() };
    const stream = new EventStream(question, (news) => {
      if (news.kind === 'end') {
        close();
        if (news.end.kind === 'trouble') this.#report(news.end.why);
      }
      tell(news);
    });
    const close = upstream.open(runId, key, '/stream', lastId, {
      onHead: (head) => {
        this.settle(head);
        const isOpen = head.kind === 'answer' && head.status === 200;
        metrics.count('runcast_upstream_answers_total', isOpen ? 'stream' : 'no stream');
        stream.onHead(head);
      },
      onBytes: (bytes) => stream.onBytes(bytes),
      onEnd: (why) => stream.onEnd(why),
    });
    return () => {
      stream.stop();
      close();
    };
  }

  /** Requests under way fail, and so do later ones. */
  close(): void {
    this.#isClosed = true;
    this.#budget.close();
    this.#options.upstream.close();
  }

  /** A place for one who waits; undefined: there is one at once, and nothing to wait for. */
  #soon(): Refusal | Promise<Refusal | undefined> | undefined {
    const { waitMs } = this.#budget;
    // Infinity: until an answer is in, which has its own deadline.
    const isLong = waitMs > PATIENCE_MS && waitMs !== Infinity;
    if (isLong) return refuse('RATE_LIMITED', { retryAfterMs: waitMs });
    return this.#budget.takeWithin(PATIENCE_MS, () => !this.#isClosed)?.then((isThere) => {
      if (isThere) return undefined;
      const { waitMs: laterMs } = this.#budget;
      const retryAfterMs = laterMs === Infinity ? PATIENCE_MS : Math.max(PATIENCE_MS, laterMs);
      return refuse('RATE_LIMITED', { retryAfterMs });
    });
  }

  async #ask(
    runId: string, key: ApiKey, known: Reading | undefined, extra: Extra,
  ): Promise<Answer> {
    const { upstream, mapping, clock, metrics } = this.#options;
    const etag = known?.etag?.key === key.value ? { etag: known.etag.value } : {};
    const sentAt = clock.now();
    const exchange = await upstream.get(runId, key, { ...extra, ...etag });
    if (extra.heldMs === undefined) this.#timed(sentAt);
    this.quota.onArrived(sentAt, clock.now());
    this.settle(exchange);
    const wallNow = clock.wallNow();
    const answer = readAnswer(exchange, { runId, key, known, mapping, wallNow });
    metrics.count('runcast_upstream_answers_total', answer.kind);
    if (answer.kind === 'trouble') this.#report(answer.why, extra.trace);
    return answer;
  }

  #timed(sentAt: number): void {
    const { metrics, clock } = this.#options;
    metrics.observe('runcast_upstream_request_seconds', (clock.now() - sentAt) / 1000);
  }

  /** What came of a place that was taken: what it says of the limit counts for all. */
  settle(exchange: Exchange): void {
    const { clock } = this.#options;
    const headers = exchange.kind === 'answer' ? exchange.headers : {};
    const wallNow = clock.wallNow();
    const isLimited = exchange.kind === 'answer' && exchange.status === 429;
    const retryAfterMs = isLimited
      ? parseRetryAfter(headers['retry-after'], headers.date, wallNow) : undefined;
    this.quota.settle(clock.now(), isLimited, retryAfterMs, readAllowance(headers, wallNow));
    this.#budget.onSettled();
  }

  /** A line a minute while there is trouble, not one a poll. */
  #report(why: string, trace?: Trace): void {
    const { log, clock } = this.#options;
    if (this.#isClosed) return;
    log.debug('upstream trouble', { why, ...trace && traceFacts(trace) });
    this.#troubles++;
    if (clock.now() - this.#warnedAt < WARN_MS) return;
    log.warn('upstream is in trouble; streams wait', { why, requests: this.#troubles });
    this.#troubles = 0;
    this.#warnedAt = clock.now();
  }
}
