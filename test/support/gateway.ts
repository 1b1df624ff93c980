/**
 * The gateway under test in front of a scripted upstream, behind one face whatever it runs in:
 * the suites in test/integration take a {@link StartGateway} and run over each of
 * {@link STARTERS}. Beside it what they share: asking without a stream, counting time in polls,
 * and what the contract says of any stream.
 */

import assert from 'node:assert/strict';
import { request } from 'node:http';
import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http';
import { after, before } from 'node:test';
import type { TestContext } from 'node:test';
import { text } from 'node:stream/consumers';
import { createGateway } from '../../src/index.ts';
import type { GatewayOptions, GatewayStats } from '../../src/index.ts';
import { OPTIONS } from '../../src/options.ts';
import type { Settings } from '../../src/options.ts';
import { startCli } from './cli.ts';
import { openStream } from './sse-client.ts';
import type { SseStream } from './sse-client.ts';
import { assertEventForm, assertStreamForm } from './sse-parser.ts';
import { startUpstream } from './upstream.ts';
import type { Upstream } from './upstream.ts';
import { until, within } from './wait.ts';

/** The key of whoever does not say another. */
export const KEY = 'lma_a';
export const TERMINAL_RETRY_MS = 86_400_000;

type Tunable = Omit<GatewayOptions, 'upstream' | 'host' | 'port' | 'source' | 'logger'>;

export interface Overrides extends Tunable {
  /** One that is running already, and that its starter closes. */
  readonly upstream?: Upstream;
  /** Where the gateway finds it, if something stands in between. */
  readonly through?: { readonly origin: string };
}

export type StartGateway = (overrides?: Overrides) => Promise<TestGateway>;

export interface JoinOptions {
  readonly key?: string;
  readonly headers?: OutgoingHttpHeaders;
  readonly lastEventId?: string;
  /** With its question mark. */
  readonly query?: string;
}

export interface Answered {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

const SHORT = {
  pollIntervalMs: 40, pingIntervalMs: 250, upstreamTimeoutMs: 10_000, drainTimeoutMs: 200,
};

/** Three processes are compiled for it, which takes long where others do the same. */
const START_MS = 60_000;

/** In this process. */
export async function startGateway(overrides: Overrides = {}): Promise<TestGateway> {
  const { upstream: theirs, through, ...options } = overrides;
  const upstream = theirs ?? await startUpstream();
  const { origin } = through ?? upstream;
  const gateway = createGateway({ ...SHORT, ...options, upstream: origin, port: 0 });
  const { url } = await gateway.listen();
  const stats = (): Promise<GatewayStats> => Promise.resolve(gateway.stats());
  return new TestGateway(upstream, theirs === undefined, url, stats, () => gateway.close());
}

/** As its users start it: the program, with two workers. */
export async function startWorkers(overrides: Overrides = {}): Promise<TestGateway> {
  const { upstream: theirs, through, ...options } = overrides;
  const upstream = theirs ?? await startUpstream();
  const { origin } = through ?? upstream;
  const cli = startCli([
    'serve', '--workers', '2', '--port', '0', '--upstream', origin, '--log-level', 'warn',
    ...flagsOf({ ...SHORT, ...options }),
  ]);
  // A child that is left behind would keep the whole test file from ending.
  const [, url = ''] = await cli.stdoutLine(/ is at (http:\S+)\/ /, START_MS)
    .catch(async (error: unknown) => {
      await cli.stop();
      await upstream.close();
      throw error;
    });
  const stats = async (): Promise<GatewayStats> => {
    const { streams, runs } = await (await fetch(`${url}/healthz`)).json() as GatewayStats;
    return { streams, runs };
  };
  const close = async (): Promise<void> => void await cli.stop(10_000);
  return new TestGateway(upstream, theirs === undefined, url, stats, close);
}

function flagsOf(options: Tunable): string[] {
  return OPTIONS.flatMap(({ flag, key }) => {
    const value = (options as Partial<Settings>)[key];
    if (value === undefined) return [];
    return [`--${flag}=${textOf(value)}${key.endsWith('Ms') ? 'ms' : ''}`];
  });
}

function textOf(value: NonNullable<Settings[keyof Settings]>): string {
  if (typeof value === 'boolean') return value ? 'on' : 'off';
  if (typeof value !== 'object' || !('perMs' in value)) return String(value);
  return `${value.requests}/${value.perMs}ms`;
}

/** Every way to run a gateway that the suites are held against. */
export const STARTERS: readonly (readonly [name: string, start: StartGateway])[] = [
  ['one process', startGateway],
  ['two workers', startWorkers],
];

export class TestGateway {
  readonly upstream: Upstream;
  readonly origin: string;
  readonly port: number;
  /** Streams that are open, and runs that they follow. */
  readonly stats: () => Promise<GatewayStats>;
  /** Drains and stops; resolves when it is gone. */
  readonly close: () => Promise<void>;
  readonly #ownsUpstream: boolean;
  readonly #streams = new Set<SseStream>();

  constructor(
    upstream: Upstream, ownsUpstream: boolean, url: string,
    stats: () => Promise<GatewayStats>, close: () => Promise<void>,
  ) {
    this.upstream = upstream;
    this.origin = url.replace(/\/$/, '');
    this.port = Number(new URL(url).port);
    this.stats = stats;
    this.close = close;
    this.#ownsUpstream = ownsUpstream;
  }

  /** Whatever is still open, cut. Idempotent. */
  async stop(): Promise<void> {
    for (const stream of this.#streams) stream.destroy();
    await within(30_000, 'the end of the gateway', this.close());
    if (this.#ownsUpstream) await this.upstream.close();
  }

  url(runId: string, query = ''): string {
    return `${this.origin}/v1/runs/${runId}/stream${query}`;
  }

  /** A stream of the run, or how it was refused. */
  async join(runId: string, options: JoinOptions = {}): Promise<SseStream> {
    const { key = KEY, headers, lastEventId, query } = options;
    const position = lastEventId === undefined ? {} : { 'last-event-id': lastEventId };
    const stream = await openStream(this.url(runId, query), {
      headers: { 'x-api-key': key, ...position, ...headers }, headMs: 30_000,
    });
    this.#streams.add(stream);
    void stream.ended.then(() => this.#streams.delete(stream));
    return stream;
  }

  /** The answer to a client that knows nothing of streams. */
  ask(runId: string, options: JoinOptions & { readonly method?: string } = {}): Promise<Answered> {
    const { key = KEY, headers, query = '', method = 'GET' } = options;
    return this.call(method, `/v1/runs/${runId}/stream${query}`, { ...headers, 'x-api-key': key });
  }

  /** The answer to any request. An `x-api-key` is the caller's to send. */
  call(
    method: string, path: string, headers: OutgoingHttpHeaders = {}, body?: string | Buffer,
  ): Promise<Answered> {
    const all = { accept: 'application/json', ...headers };
    const answered = new Promise<Answered>((resolve, reject) => {
      const options = { method, headers: all, agent: false };
      const req = request(this.origin + path, options, (res) => {
        const { statusCode = 0, headers: received } = res;
        text(res).then((body) => resolve({ status: statusCode, headers: received, text: body }))
          .catch(reject);
      });
      req.on('error', reject).end(body);
    });
    return within(30_000, `an answer to ${method} ${path}`, answered);
  }

  /** `n` polls of a run that somebody watches, answers included. */
  async polls(runId: string, n: number): Promise<void> {
    for (let i = 0; i <= n; i++) await this.upstream.next(runId);
  }

  /** The way to wait for nothing: as long as `n` polls of a run of its own take. */
  async ticks(n: number): Promise<void> {
    const runId = `ticker-${++tickers}`;
    this.upstream.run(runId, { kind: 'state', status: 'running', over: {} });
    const stream = await this.join(runId);
    await this.polls(runId, n);
    stream.destroy();
  }

  /** Nobody asks upstream for this run any more, for as long as five polls take. */
  async untilUnpolled(runId: string): Promise<void> {
    await until(`no more polls of ${runId}`, async () => {
      const before = this.upstream.count(runId);
      await this.ticks(5);
      return this.upstream.count(runId) === before;
    }, 30_000);
  }

  /** No stream is open any more. */
  untilIdle(ms = 20_000): Promise<void> {
    return until('no stream left', async () => (await this.stats()).streams === 0, ms);
  }
}

let tickers = 0;

/** One gateway for all tests of the `describe` that this is called in. */
export function useGateway(start: StartGateway, overrides: Overrides = {}): () => TestGateway {
  let gateway: TestGateway | undefined;
  before(async () => (gateway = await start(overrides)));
  after(() => gateway?.stop());
  return () => {
    assert.ok(gateway !== undefined, 'only inside of a test');
    return gateway;
  };
}

/** One for a single test; gone when that is over, however it ends. */
export async function gatewayFor(
  t: TestContext, start: StartGateway, overrides: Overrides = {},
): Promise<TestGateway> {
  const gateway = await start(overrides);
  t.after(() => gateway.stop());
  return gateway;
}

/** The names of all events so far, or of those that are not in `without`. */
export function names({ events }: SseStream, ...without: string[]): string[] {
  return events.map(({ event }) => event).filter((name) => !without.includes(name));
}

/** Holds every stream that is not a refusal against what the contract says of all of them. */
export function assertStream(stream: SseStream): void {
  assertStreamForm(stream.parser);
  const last = stream.events.length - 1;
  stream.events.forEach((event, i) => {
    assertEventForm(event);
    const isVerdict = event.event === 'complete' || event.event === 'error';
    const isLast = isVerdict || event.event === 'timeout';
    if (isLast) assert.equal(i, last, `nothing after ${event.event}`);
    if (isVerdict) assert.equal(event.retry, TERMINAL_RETRY_MS);
    else if (i === 0 || event.retry !== undefined) assertRetry(event.retry);
    if (!isLast && i > 0 && i < last) assert.equal(event.retry, undefined, `retry at ${i}`);
  });
  if (stream.endedCleanly) assert.equal(stream.parser.unfinished, '');
}

/** 2 to 5 s. */
export function assertRetry(retryMs: number | undefined): void {
  assert.ok(retryMs !== undefined && retryMs >= 2_000 && retryMs <= 5_000, `retry: ${retryMs}`);
}

/** Sees a stream to its end, which must be a clean one, and holds it against the contract. */
export async function assertEnded(stream: SseStream, ms = 20_000): Promise<void> {
  assert.equal(await within(ms, 'the end of a stream', stream.ended), 'end');
  assertStream(stream);
}
