/**
 * One process of the load client: its share of the streams, each one socket and one hand-written
 * GET. It is told what to do over the channel of `child_process.fork`, see {@link ToProcess}, and
 * ends with that channel, or by itself when its time is up: no load outlives who asked for it.
 *
 * Everything per event is kept short, for the client shares the machine with what it measures:
 * one read buffer for all sockets, handlers without closures, plain numbers for counts.
 */

import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { count, Histogram, Tally } from './histogram.ts';
import type { LoadOptions } from './load.ts';
import { Memory, SseCounter } from './sse-counter.ts';
import type { CountedEvent, CounterListener, Head } from './sse-counter.ts';

type Settled = 'streams' | 'runs' | 'ratePerSecond' | 'stalled' | 'reconnect' | 'terminal'
  | 'firstEventTimeoutMs' | 'maxLifeMs';

/** What all processes of a load are told alike, but for `index`. */
export interface Orders extends Pick<Required<LoadOptions>, Settled> {
  readonly index: number;
  readonly processes: number;
  readonly host: string;
  /** Of the `host` header. */
  readonly authority: string;
  readonly port: number;
  /** With `{n}` and `{run}` in it. */
  readonly path: string;
  /** Lines of the request, each with its CRLF. */
  readonly headerLines: string;
  readonly changeEveryUs: number | undefined;
  /** On the loopback: three octets of the clients' own addresses. */
  readonly loopback: string | undefined;
  /** When stream 0 is due, on the machine's monotonic clock. */
  readonly startUs: number;
}

/** Parent to process. `report` answers what was counted since the last one, and forgets it. */
export type ToProcess =
  | { readonly kind: 'open'; readonly orders: Orders }
  | { readonly kind: 'report' };

/** Process to parent. `opened` comes once: each stream has had its first event or failed. */
export type FromProcess =
  | { readonly kind: 'ready' }
  | { readonly kind: 'opened' }
  | { readonly kind: 'progress'; readonly progress: Progress }
  | { readonly kind: 'report'; readonly report: Report };

/** What a process counted since its last report. */
export type Report = ReturnType<LoadProcess['report']>;

/** For people who wait. Over the whole life. */
export type Progress = LoadProcess['progress'];

const TICK_MS = 5;
const PROGRESS_EVERY_MS = 250;
const DEFAULT_RETRY_MS = 3_000;
/** One destination has about 28,000 ephemeral ports for each source address. */
const STREAMS_PER_ADDRESS = 2_000;
/** No delivery takes that long: such a time is of another clock or in another unit. */
const MAX_LATENCY_US = 600_000_000;
const DELAY_RESOLUTION_MS = 5;

/** Of the hot path: `process.hrtime.bigint` makes a bigint for each call. */
const clockOffsetUs = Number(process.hrtime.bigint() / 1000n) - performance.now() * 1000;
const nowUs = (): number => performance.now() * 1000 + clockOffsetUs;

/** All sockets read into it: what is read is dealt with before the next read. */
const READ_BUFFER = Buffer.allocUnsafeSlow(64 * 1024);
const memory = new Memory();

/** A socket that knows its stream, so that one function serves all of them. */
type StreamSocket = Socket & { stream: LoadStream };

function onRead(this: StreamSocket, length: number): boolean {
  return this.stream.onRead(length);
}
function onError(this: StreamSocket, error: NodeJS.ErrnoException): void {
  this.stream.cut(error.code ?? error.message);
}
function onClose(this: StreamSocket): void {
  this.stream.onClose();
}
const ON_READ = {
  buffer: READ_BUFFER,
  callback: onRead as unknown as (length: number, buffer: Uint8Array) => boolean,
};

/** One stream over all its connections. */
class LoadStream implements CounterListener {
  readonly #number: number;
  readonly #load: LoadProcess;
  /** When its connection was due, and for a stream that lost one, when that was. */
  dueUs = 0;
  #lostUs = 0;
  /** Open since the last report, or not. */
  isWhole = false;
  /** Distinct ones since the last report. */
  states = 0;
  #socket: Socket | undefined;
  #counter: SseCounter | undefined;
  #isSettled = false;
  /** Of this connection, as what follows: it has had its first event. */
  isOpen = false;
  #isTerminal = false;
  #isComplete = false;
  #isClosed = false;
  #how: string | undefined;
  #lastAt = 0;
  #lastId: string | undefined;
  #retryMs = DEFAULT_RETRY_MS;

  constructor(number: number, load: LoadProcess) {
    this.#number = number;
    this.#load = load;
  }

  get isStalled(): boolean {
    return this.#number < this.#load.orders.stalled;
  }

  /** Connected or about to be, and without its first event. */
  get isWaiting(): boolean {
    return this.#socket !== undefined && !this.isOpen;
  }

  start(dueUs: number): void {
    const { host, port, loopback } = this.#load.orders;
    this.dueUs = dueUs;
    this.isOpen = this.#isTerminal = this.#isComplete = this.#isClosed = false;
    this.#how = undefined;
    this.#lastAt = 0;
    this.#counter = new SseCounter(this, memory);
    const address = Math.floor(this.#number / STREAMS_PER_ADDRESS);
    const local = loopback === undefined ? {} : { localAddress: `${loopback}.${1 + address}` };
    const socket = connect({ host, port, ...local, onread: ON_READ }) as StreamSocket;
    socket.stream = this;
    socket.on('error', onError).on('close', onClose);
    socket.write(this.#load.request(this.#number, this.#lastId), 'latin1');
    this.#socket = socket;
  }

  /** Gives up this connection; `how` stands in the counts. */
  cut(how: string): void {
    this.#how ??= how;
    this.#counter?.destroy();
    this.#socket?.destroy();
  }

  /** False stops the reading. */
  onRead(length: number): boolean {
    this.#load.tally.bytes += length;
    this.#counter?.push(READ_BUFFER, length, nowUs());
    return !(this.isOpen && this.isStalled);
  }

  onHead({ status, headers }: Head): boolean {
    const refused = headers.get('x-runcast-refused');
    const type = headers.get('content-type') ?? 'no content-type';
    if (status !== 200) this.cut(String(status));
    else if (refused !== undefined) this.cut(`refused: ${refused}`);
    else if (!type.startsWith('text/event-stream')) this.cut(`not an event stream: ${type}`);
    else return true;
    return false;
  }

  onEvent(event: CountedEvent, readAt: number): void {
    const { tally, orders } = this.#load;
    count(tally.events, event.type);
    this.#load.events++;
    if (event.id !== undefined) this.#lastId = event.id;
    if (event.retryMs !== undefined) this.#retryMs = event.retryMs;
    if (event.at !== undefined) this.#onTime(event.at, readAt);
    if (!this.isOpen) this.#onFirst(readAt);
    if (orders.terminal.includes(event.type)) this.#isTerminal = true;
  }

  onEnd(): void {
    this.#isComplete = true;
    if (this.#isClosed) this.#onGone();
    else this.#socket?.destroy();
  }

  onBroken(reason: string): void {
    this.cut(reason);
    if (this.#isClosed) this.#onGone();
  }

  /** A response that ends with its connection is complete now, unless gzip is still at it. */
  onClose(): void {
    this.#isClosed = true;
    if (this.#how === undefined) this.#counter?.eof();
    if (!this.#isComplete && this.#counter?.isInflating) return;
    this.#onGone();
  }

  #onGone(): void {
    if (this.#counter === undefined) return;
    this.#counter.destroy();
    this.#counter = this.#socket = undefined;
    const { tally } = this.#load;
    const how = this.#how ?? (this.#isComplete ? 'end' : 'cut');
    if (!this.isOpen) {
      count(tally.failed, how);
      this.#load.failures++;
      this.#settle();
    } else {
      this.isOpen = this.isWhole = false;
      this.#load.openNow--;
      this.#lostUs = nowUs();
      if (!this.#isTerminal) {
        count(tally.lost, how);
        this.#load.losses++;
      } else {
        tally.ended++;
        if (!this.#isComplete) tally.uncleanEnds++;
      }
    }
    // An EventSource never comes back from another status or type.
    const comesBack = this.#load.orders.reconnect && !/^\d|^not an event stream/.test(how);
    if (comesBack) this.#load.later(this, this.#retryMs);
  }

  #onFirst(readAt: number): void {
    const { tally, first, away } = this.#load;
    this.isOpen = true;
    this.#load.openNow++;
    if (this.#lostUs > 0) away.record(readAt - this.#lostUs);
    else first.record(readAt - this.dueUs);
    tally.opened++;
    tally.lastOpenedUs = readAt;
    this.#settle();
  }

  #settle(): void {
    if (!this.#isSettled) this.#load.onSettled();
    this.#isSettled = true;
  }

  /** What a stream begins with came into being before it was there: no delivery, but a state. */
  #onTime(at: number, readAt: number): void {
    const { tally, delivery, orders } = this.#load;
    const latency = readAt - at;
    if (latency < -1000 || latency > MAX_LATENCY_US) {
      if (this.isOpen) tally.strangeTimes++;
      return;
    }
    if (at < this.#lastAt) tally.backwards++;
    if (at <= this.#lastAt) return;
    tally.states++;
    this.states++;
    if (this.isOpen) delivery.record(latency);
    if (this.#lastAt > 0 && orders.changeEveryUs !== undefined) {
      tally.skipped += Math.max(0, Math.round((at - this.#lastAt) / orders.changeEveryUs) - 1);
    }
    this.#lastAt = at;
  }
}

/** This process's share. */
class LoadProcess {
  readonly orders: Orders;
  readonly first = new Histogram();
  readonly delivery = new Histogram();
  readonly away = new Histogram();
  tally = new Tally();
  openNow = 0;
  events = 0;
  failures = 0;
  losses = 0;
  readonly #streams: LoadStream[] = [];
  /** Of those whose turn has not come: by tick, who is to come back then. */
  readonly #later = new Map<number, LoadStream[]>();
  #nextTick = Math.floor(nowUs() / 1000 / TICK_MS);
  #settled = 0;
  readonly #share: number;
  readonly #loopDelay = monitorEventLoopDelay({ resolution: DELAY_RESOLUTION_MS });
  #cpu = process.cpuUsage();
  #sinceUs = nowUs();

  constructor(orders: Orders) {
    this.orders = orders;
    const { streams, index, processes } = orders;
    this.#share = Math.floor((streams - index + processes - 1) / processes);
    this.#loopDelay.enable();
    setInterval(() => this.#onTick(), TICK_MS);
    setInterval(() => this.#onProgress(), PROGRESS_EVERY_MS);
    setTimeout(() => process.exit(0), orders.maxLifeMs);
  }

  get progress() {
    const { openNow: open, failures: failed, losses: lost, events } = this;
    return { open, settled: this.#settled, failed, lost, events };
  }

  /** Of stream `number`. */
  request(number: number, lastEventId: string | undefined): string {
    const { path, runs, authority, headerLines } = this.orders;
    const url = path.replaceAll('{n}', String(number))
      .replaceAll('{run}', `bench-${number % runs}`);
    const resume = lastEventId === undefined ? '' : `last-event-id: ${lastEventId}\r\n`;
    return `GET ${url} HTTP/1.1\r\nhost: ${authority}\r\n${headerLines}${resume}\r\n`;
  }

  onSettled(): void {
    this.#settled++;
    if (this.#settled === this.#share) send({ kind: 'opened' });
  }

  /** Starts the stream again after `ms`. */
  later(stream: LoadStream, ms: number): void {
    const tick = Math.ceil((nowUs() / 1000 + ms) / TICK_MS);
    const there = this.#later.get(tick);
    if (there === undefined) this.#later.set(tick, [stream]);
    else there.push(stream);
  }

  report() {
    const whole = this.#streams.filter(({ isWhole, isStalled }) => isWhole && !isStalled);
    const states = whole.map((stream) => stream.states).sort((a, b) => a - b);
    const { user, system } = process.cpuUsage(this.#cpu);
    const now = nowUs();
    const report = {
      /** Least and most states of a stream that was open from the last report to this one. */
      minStates: states[0],
      maxStates: states.at(-1),
      ...this.tally,
      openNow: this.openNow,
      first: this.first.toData(),
      delivery: this.delivery.toData(),
      away: this.away.toData(),
      cpuShare: (user + system) / (now - this.#sinceUs),
      loopDelayP99Us: delayUs(this.#loopDelay.percentile(99)),
      loopDelayMaxUs: delayUs(this.#loopDelay.max),
    };
    this.#reset();
    return report;
  }

  #reset(): void {
    this.tally = new Tally();
    for (const histogram of [this.first, this.delivery, this.away]) histogram.reset();
    for (const stream of this.#streams) {
      stream.isWhole = stream.isOpen;
      stream.states = 0;
    }
    this.#loopDelay.reset();
    this.#cpu = process.cpuUsage();
    this.#sinceUs = nowUs();
  }

  #onTick(): void {
    const now = nowUs();
    const { index, processes, startUs, ratePerSecond } = this.orders;
    while (this.#streams.length < this.#share) {
      const number = index + this.#streams.length * processes;
      const dueUs = startUs + number * 1e6 / ratePerSecond;
      if (dueUs > now) break;
      const stream = new LoadStream(number, this);
      this.#streams.push(stream);
      stream.start(dueUs);
    }
    for (; this.#nextTick * TICK_MS * 1000 <= now; this.#nextTick++) {
      const due = this.#later.get(this.#nextTick) ?? [];
      this.#later.delete(this.#nextTick);
      for (const stream of due) stream.start(this.#nextTick * TICK_MS * 1000);
    }
  }

  #onProgress(): void {
    const lateUs = nowUs() - this.orders.firstEventTimeoutMs * 1000;
    for (const stream of this.#streams) {
      if (stream.isWaiting && stream.dueUs < lateUs) stream.cut('no event in time');
    }
    send({ kind: 'progress', progress: this.progress });
  }
}

/** Of what the monitor says, which has its own interval in it, and is nanoseconds. */
function delayUs(ns: number): number {
  return Math.max(0, ns / 1000 - DELAY_RESOLUTION_MS * 1000);
}

function send(message: FromProcess): void {
  if (process.connected) process.send?.(message);
}

let load: LoadProcess | undefined;
process.on('message', (message: ToProcess) => {
  if (message.kind === 'open') load = new LoadProcess(message.orders);
  else if (load !== undefined) send({ kind: 'report', report: load.report() });
});
process.on('disconnect', () => process.exit(0));
// Ctrl-C reaches every process at the terminal; the parent decides.
process.on('SIGINT', () => undefined);
send({ kind: 'ready' });
