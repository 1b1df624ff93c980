/**
 * The load client: thousands of streams over several processes (one has 20,000 descriptors on
 * many machines, and one core), what they were told merged into one account. Says for itself
 * when it was the bottleneck: then the figures are about the client and not about the server.
 */

import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { lookup } from 'node:dns/promises';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { socketBudget } from '../../src/cluster/descriptors.ts';
import { merge } from './account.ts';
import type { Counted, Measured, Opened } from './account.ts';
import type { FromProcess, Orders, Progress, Report, ToProcess } from './load-process.ts';

export type { Counted, Measured, Opened } from './account.ts';

/** What is asked for. */
export interface LoadOptions {
  /** http. `{n}` becomes the stream's number, `{run}` the name bench-(n % runs). */
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly streams: number;
  /** Default 1. */
  readonly runs?: number;
  /** Connections begun a second, over all processes. */
  readonly ratePerSecond: number;
  /** Default: as many as 15,000 streams each need, fewer where descriptors are few. */
  readonly processes?: number;
  /** Ask for compressed streams, and unpack each on its own: costs the client a lot. */
  readonly gzip?: boolean;
  /** So many of the streams read nothing after their first event, and so do not see their end. */
  readonly stalled?: number;
  /** Come back when a stream ends, after its `retry:` (3 s without), with Last-Event-ID. */
  readonly reconnect?: boolean;
  /** Events after which an end is no loss. Default: complete, error, timeout. */
  readonly terminal?: readonly string[];
  /** Distance of the states, where it is known: without it skipped ones cannot be counted. */
  readonly changeEveryMs?: number;
  /** A stream without an event for so long failed. Default 30 s. */
  readonly firstEventTimeoutMs?: number;
  /** The processes end by themselves after this. Default 15 minutes. */
  readonly maxLifeMs?: number;
  /** Ends waiting, in `open` and in `measure`: what there is by then is the result. */
  readonly signal?: AbortSignal;
  onProgress?(line: string): void;
}

const STREAMS_PER_PROCESS = 15_000;
/** Between the orders and stream 0: all processes have them by then. */
const START_AFTER_US = 50_000;
const PROGRESS_EVERY_MS = 500;
const EXIT_GRACE_MS = 2_000;
const DEFAULT_LIFE_MS = 15 * 60_000;
/** 127.0.N.*: as many loads in a minute have addresses of their own. */
const LOOPBACK_NETS = 250;

type Answers = { [K in FromProcess['kind']]: Extract<FromProcess, { kind: K }> };

/** One process. */
class Child {
  progress: Progress = { open: 0, settled: 0, failed: 0, lost: 0, events: 0 };
  readonly #process: ChildProcess;
  readonly #expected = new Map<string, PromiseWithResolvers<FromProcess>>();
  readonly #gone: Promise<unknown>;
  #failure: Error | undefined;

  constructor() {
    const script = new URL(`./load-process${extname(import.meta.url)}`, import.meta.url);
    this.#process = fork(fileURLToPath(script), { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
    this.#gone = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.on('message', (message: FromProcess) => this.#onMessage(message));
    this.#process.on('error', (error) => this.#onFailure(error));
    this.#process.on('exit', (code, signal) => {
      this.#onFailure(new Error(`a load process ended early: ${signal ?? code}`));
    });
  }

  /** The next message of that kind; rejects when the process is gone. */
  async expect<K extends FromProcess['kind']>(kind: K): Promise<Answers[K]> {
    if (this.#failure !== undefined) throw this.#failure;
    const expected = withResolvers<FromProcess>();
    this.#expected.set(kind, expected);
    return await expected.promise as Answers[K];
  }

  send(message: ToProcess): void {
    if (this.#failure === undefined) this.#process.send(message, () => undefined);
  }

  async report(): Promise<Report> {
    const answer = this.expect('report');
    this.send({ kind: 'report' });
    return (await answer).report;
  }

  /** Asks it to end, and ends it where that does not help. */
  async close(): Promise<void> {
    if (this.#process.connected) this.#process.disconnect();
    const killer = setTimeout(() => this.#process.kill('SIGKILL'), EXIT_GRACE_MS);
    await this.#gone;
    clearTimeout(killer);
  }

  #onMessage(message: FromProcess): void {
    if (message.kind === 'progress') this.progress = message.progress;
    this.#expected.get(message.kind)?.resolve(message);
    this.#expected.delete(message.kind);
  }

  #onFailure(error: Error): void {
    this.#failure ??= error;
    for (const { reject } of this.#expected.values()) reject(this.#failure);
    this.#expected.clear();
  }
}

/** Streams that are held open. */
export class Load {
  readonly #options: LoadOptions;
  readonly #children: readonly Child[];
  #sinceUs = nowUs();

  private constructor(options: LoadOptions, children: readonly Child[]) {
    this.#options = options;
    this.#children = children;
  }

  /**
   * Resolves once each stream has had its first event or failed. Rejects when the host cannot be
   * found, when descriptors are too few or a process of the client dies; none is left then.
   */
  static async open(options: LoadOptions): Promise<{ load: Load; opened: Opened }> {
    const orders = await ordersFor(options);
    const children = Array.from({ length: orders.processes }, () => new Child());
    const load = new Load(options, children);
    try {
      await all(children, (child) => child.expect('ready'));
      return { load, opened: await load.#open(orders) };
    } catch (error) {
      await load.close();
      throw error;
    }
  }

  /**
   * Counts from now on for `ms`. Ends earlier by the options' signal, or when no stream is left
   * that could say something. `onProgress` comes first when it has begun. One at a time. Rejects
   * when a process of the client died.
   */
  async measure(ms: number): Promise<Measured> {
    const before = await this.#account();
    const endMs = performance.now() + ms;
    await this.#wait((whole) => {
      const leftMs = endMs - performance.now();
      this.#options.onProgress?.(`${progressLine(whole)} · ${Math.ceil(leftMs / 1000)} s left`);
      return whole.open === 0 && this.#options.reconnect !== true;
    }, ms);
    return {
      ...await this.#account(), lostBefore: before.lostEarly, bytesBefore: before.bytes,
    };
  }

  /** Closes all sockets and processes. Idempotent. */
  async close(): Promise<void> {
    await all(this.#children, (child) => child.close());
  }

  async #open(orders: Orders): Promise<Opened> {
    const { streams, onProgress } = this.#options;
    const startUs = nowUs() + START_AFTER_US;
    this.#sinceUs = startUs;
    const opened = all(this.#children, (child) => child.expect('opened'));
    this.#children.forEach((child, index) => {
      child.send({ kind: 'open', orders: { ...orders, index, startUs } });
    });
    await this.#wait((whole) => {
      onProgress?.(`${whole.settled} of ${streams} begun · ${progressLine(whole)}`);
      return false;
    }, undefined, opened);
    const reports = await this.#reports();
    const counted = merge(reports, this.#options.changeEveryMs, (nowUs() - startUs) / 1e6);
    const lastUs = reports.reduce((last, report) => Math.max(last, report.lastOpenedUs), startUs);
    const perSecond = lastUs > startUs ? counted.opened / (lastUs - startUs) * 1e6 : 0;
    return { ...counted, perSecond };
  }

  /** Until `done`, `ms` have passed, the signal came or a look at the progress says true. */
  async #wait(
    look: (whole: Progress) => boolean, ms?: number, done?: Promise<unknown>,
  ): Promise<void> {
    const { signal } = this.#options;
    const over = withResolvers<unknown>();
    const end = (): void => over.resolve(undefined);
    look(this.#progress());
    const ticker = setInterval(() => {
      if (look(this.#progress())) end();
    }, PROGRESS_EVERY_MS);
    const timer = ms === undefined ? undefined : setTimeout(end, ms);
    signal?.addEventListener('abort', end);
    if (signal?.aborted) end();
    try {
      await Promise.race([over.promise, ...(done === undefined ? [] : [done])]);
    } finally {
      // A process that dies after the signal rejects it, and nobody listens any more.
      done?.catch(() => undefined);
      clearInterval(ticker);
      clearTimeout(timer);
      signal?.removeEventListener('abort', end);
    }
  }

  #progress(): Progress {
    const sum = (pick: (progress: Progress) => number): number =>
      this.#children.reduce((total, { progress }) => total + pick(progress), 0);
    return {
      open: sum(({ open }) => open), settled: sum(({ settled }) => settled),
      failed: sum(({ failed }) => failed), lost: sum(({ lost }) => lost),
      events: sum(({ events }) => events),
    };
  }

  async #reports(): Promise<Report[]> {
    const reports = await all(this.#children, (child) => child.report());
    this.#sinceUs = nowUs();
    return reports;
  }

  async #account(): Promise<Counted> {
    const sinceUs = this.#sinceUs;
    const reports = await this.#reports();
    return merge(reports, this.#options.changeEveryMs, (this.#sinceUs - sinceUs) / 1e6);
  }
}

/** Whoever closes first keeps an address for a minute: no load has those of the one before. */
let loads = Math.floor(Math.random() * LOOPBACK_NETS);

/** Everything but which process it is and when it begins. */
async function ordersFor(options: LoadOptions): Promise<Orders> {
  const { url, headers, streams, gzip = false, changeEveryMs } = options;
  const { hostname, host, port, protocol } = new URL(url);
  if (protocol !== 'http:') throw new Error(`http only: ${url}`);
  const bare = hostname.replace(/^\[(.*)\]$/, '$1');
  const { address } = await lookup(bare, hostname === 'localhost' ? { family: 4 } : {});
  const perProcess = Math.min(STREAMS_PER_PROCESS, Math.floor(socketBudget(0)));
  const asked = options.processes ?? Math.ceil(streams / perProcess);
  const processes = Math.max(1, Math.min(asked, streams));
  if (Math.ceil(streams / processes) > socketBudget(0)) {
    throw new Error(`${processes} processes have too few descriptors for ${streams} streams`);
  }
  const given = Object.keys(headers).map((name) => name.toLowerCase());
  const own: [string, string][] = [['accept', 'text/event-stream']];
  if (gzip) own.push(['accept-encoding', 'gzip']);
  const all = [...own.filter(([name]) => !given.includes(name)), ...Object.entries(headers)];
  return {
    index: 0, startUs: 0, processes, streams, host: address, authority: host,
    port: Number(port || 80),
    // As it was written: a URL would encode the braces.
    path: /^http:\/\/[^/?#]*([^#]*)/i.exec(url)?.[1]?.replace(/^(?!\/)/, '/') ?? '/',
    headerLines: all.map(([name, value]) => `${name}: ${value}\r\n`).join(''),
    runs: options.runs ?? 1,
    ratePerSecond: options.ratePerSecond,
    stalled: options.stalled ?? 0,
    reconnect: options.reconnect ?? false,
    terminal: options.terminal ?? ['complete', 'error', 'timeout'],
    changeEveryUs: changeEveryMs === undefined ? undefined : changeEveryMs * 1000,
    firstEventTimeoutMs: options.firstEventTimeoutMs ?? 30_000,
    maxLifeMs: options.maxLifeMs ?? DEFAULT_LIFE_MS,
    loopback: address.startsWith('127.') ? `127.0.${loads++ % LOOPBACK_NETS}` : undefined,
  };
}

function progressLine({ open, failed, lost, events }: Progress): string {
  return `${open} open · ${failed} failed · ${lost} lost · ${events} events`;
}

function nowUs(): number {
  return Number(process.hrtime.bigint() / 1000n);
}

function all<T>(children: readonly Child[], ask: (child: Child) => Promise<T>): Promise<T[]> {
  return Promise.all(children.map(ask));
}

interface PromiseWithResolvers<T> {
  readonly promise: Promise<T>;
  resolve(value: T): void;
  reject(error: Error): void;
}

/** `Promise.withResolvers` is of Node 22. */
function withResolvers<T>(): PromiseWithResolvers<T> {
  let resolve!: (value: T) => void;
  let reject!: (error: Error) => void;
  const promise = new Promise<T>((onValue, onError) => {
    resolve = onValue;
    reject = onError;
  });
  return { promise, resolve, reject };
}
