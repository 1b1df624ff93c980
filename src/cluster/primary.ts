/**
 * The primary process: one source for the whole machine, a relay to each worker, and the care of
 * the workers. It has no HTTP and no clients. The listening socket is shared, not handed round:
 * a worker that dies takes no connection with it that it had not accepted, one that stands still
 * takes none at all, and the primary does not touch them.
 */

import cluster from 'node:cluster';
import type { Worker } from 'node:cluster';
import { randomBytes } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';

import { systemClock } from '../core/clock.ts';
import type { Timer } from '../core/clock.ts';
import type { Toll } from '../core/forward.ts';
import type { Intake } from '../core/intake.ts';
import type { Logger } from '../core/log.ts';
import type { Counts } from '../core/machine.ts';
import { METRICS, mergeSamples, renderMetrics } from '../core/metrics.ts';
import type { Metrics, Sample } from '../core/metrics.ts';
import { machineParts } from '../composition.ts';
import { LoopDelay } from '../loop-delay.ts';
import type { Settings } from '../options.ts';
import type { LimitedSource } from '../source/limited-source.ts';
import { Doors } from './doors.ts';
import { portOver } from './messages.ts';
import type { FromPrimary, FromWorker, Port } from './messages.ts';
import { Passes } from './passes.ts';
import { countProcess } from './process-metrics.ts';
import { Relay } from './relay.ts';
import { relayLog } from './stderr-log.ts';

/** A worker is replaced after 100 ms, doubling to 10 s while its successors die young. */
const FIRST_RESTART_MS = 100;
const LAST_RESTART_MS = 10_000;
/** A worker that has lived this long counts as a good one. */
const GOOD_LIFE_MS = 10_000;
/** So many young deaths in a row are a crash loop, and are called one. */
const CRASH_LOOP = 5;
/** After the time for a drain, workers get this long to be gone. */
const KILL_GRACE_MS = 500;

/** One of the places that a worker fills. */
type Slot =
  | { readonly kind: 'running'; readonly worker: Worker; readonly since: number;
      readonly relay: Relay; readonly port: Port<FromPrimary, FromWorker> }
  | { readonly kind: 'waiting'; readonly timer: Timer }
  | { readonly kind: 'empty' };

/** The gateway over several processes, with a gateway's `listen` and `close`. */
export class Primary {
  readonly #settings: Settings;
  readonly #log: Logger;
  readonly #source: LimitedSource;
  readonly #intake: Intake | undefined;
  readonly #toll: Toll | undefined;
  readonly #metrics: Metrics;
  /** What dead workers had counted: a counter never goes down. */
  #retired: readonly Sample[] = [];
  readonly #slots: Slot[];
  readonly #doors = new Doors();
  readonly #counts: Counts = {
    stats: () => this.#source.size,
    metrics: () => renderMetrics(this.#samples()),
  };
  readonly #loopDelay: LoopDelay;
  #youngDeaths = 0;
  #isClosing = false;
  #onListening: (url: string) => void = () => undefined;
  #onFailed: ((error: Error) => void) | undefined;
  #onEmpty: () => void = () => undefined;

  constructor(settings: Settings, log: Logger) {
    const count = settings.workers === 'auto' ? availableParallelism() : settings.workers;
    // One for all workers, and for those that come after them.
    const ticketSecrets = settings.ticketSecrets ?? [randomBytes(32).toString('base64url')];
    this.#settings = { ...settings, ticketSecrets };
    this.#log = log;
    const { source, intake, toll, metrics } = machineParts(settings, log);
    this.#source = source;
    this.#intake = intake;
    this.#toll = toll;
    this.#metrics = metrics;
    countProcess(metrics);
    this.#loopDelay = new LoopDelay(systemClock, metrics);
    this.#slots = Array.from({ length: count }, () => ({ kind: 'empty' }));
  }

  /** Starts the workers; resolves when all listen, rejects where the first ones cannot. */
  async listen(): Promise<{ url: string }> {
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
    const exec = fileURLToPath(new URL(`./worker.${extension}`, import.meta.url));
    cluster.schedulingPolicy = cluster.SCHED_NONE;
    const stdio = ['ignore', 'ignore', 'pipe', 'ipc'];
    cluster.setupPrimary({ exec, args: [], serialization: 'json', stdio });
    const url = await new Promise<string>((resolve, reject) => {
      let listening = 0;
      this.#onFailed = reject;
      this.#onListening = (at) => {
        if (++listening === this.#slots.length) resolve(at);
      };
      for (const index of this.#slots.keys()) this.#fork(index);
    }).finally(() => (this.#onFailed = undefined)).catch(async (error: unknown) => {
      const closed = this.close();
      this.kill();
      await closed;
      throw error;
    });
    return { url };
  }

  /** Lets every worker drain; those that are not gone in time are killed. Never rejects. */
  async close(): Promise<void> {
    this.#isClosing = true;
    const isEmpty = new Promise<void>((resolve) => (this.#onEmpty = resolve));
    for (const slot of this.#slots) if (slot.kind === 'running') slot.port.send({ kind: 'drain' });
    const waitMs = this.#settings.drainTimeoutMs + KILL_GRACE_MS;
    const cut = systemClock.setTimeout(() => this.kill(), waitMs);
    this.#checkEmpty();
    await isEmpty;
    systemClock.clearTimeout(cut);
    this.#loopDelay.stop();
    this.#intake?.close();
    this.#source.close();
  }

  /** Ends every worker now. */
  kill(): void {
    for (const slot of this.#slots) {
      if (slot.kind === 'running') slot.worker.process.kill('SIGKILL');
    }
  }

  #fork(index: number): void {
    const worker = cluster.fork();
    if (worker.process.stderr) relayLog(worker.process.stderr, this.#log);
    const port = portOver<FromPrimary, FromWorker>(worker, () => worker.isConnected());
    const relay = new Relay(port, this.#source, this.#counts, this.#intake);
    const passes = new Passes((message) => relay.send(message), this.#toll);
    const since = systemClock.now();
    this.#slots[index] = { kind: 'running', worker, since, relay, port };
    port.onMessage((message) => {
      if (!passes.onMessage(message)) this.#onMessage(message, worker, port, relay);
    });
    worker.on('error', (error) => this.#log.error('worker error', { error: error.message }));
    worker.on('exit', (code, signal) => {
      relay.close();
      passes.close();
      this.#doors.delete(port);
      this.#retire(relay.samples);
      this.#onExit(index, worker, relay.samples, systemClock.now() - since, signal ?? code);
    });
  }

  #onMessage(
    message: FromWorker, worker: Worker, port: Port<FromPrimary, FromWorker>, relay: Relay,
  ): void {
    const pid = worker.process.pid;
    switch (message.kind) {
      case 'ready':
        // What was sent before a worker listens to us is lost: also that it should drain.
        if (this.#isClosing) worker.process.kill('SIGKILL');
        else port.send({ kind: 'start', settings: this.#settings });
        return;
      case 'listening':
        this.#log.info('worker listens', { pid, url: message.url });
        this.#doors.add(port);
        this.#onListening(message.url);
        return;
      case 'room':
        this.#doors.onRoom(port, message.hasRoom);
        return;
      case 'accepting':
        this.#doors.onListening(port);
        return;
      case 'failed':
        this.#log.error('worker cannot listen', { pid, error: message.error });
        this.#onFailed?.(new Error(message.error));
        return;
      default:
        void relay.onMessage(message);
    }
  }

  #onExit(
    index: number, worker: Worker, samples: readonly Sample[], livedMs: number,
    why: string | number,
  ): void {
    this.#slots[index] = { kind: 'empty' };
    if (this.#isClosing) {
      this.#checkEmpty();
      return;
    }
    this.#youngDeaths = livedMs < GOOD_LIFE_MS ? this.#youngDeaths + 1 : 0;
    const doubled = FIRST_RESTART_MS * 2 ** Math.max(0, this.#youngDeaths - 1);
    const restartMs = Math.min(LAST_RESTART_MS, doubled);
    const { pid } = worker.process;
    this.#log.error('worker died', { pid, why, livedMs: Math.round(livedMs), restartMs });
    this.#metrics.count('runcast_worker_deaths_total');
    const streams = samples.find(([name]) => name === 'runcast_streams')?.[2] ?? 0;
    if (streams > 0) {
      this.#metrics.count('runcast_streams_closed_total', 'crash', streams);
      this.#metrics.count('runcast_streams_unfinished_total', '', streams);
    }
    if (this.#youngDeaths === CRASH_LOOP) {
      this.#log.error('workers keep dying', { deaths: this.#youngDeaths });
    }
    const timer = systemClock.setTimeout(() => {
      if (!this.#isClosing) this.#fork(index);
    }, restartMs);
    this.#slots[index] = { kind: 'waiting', timer };
  }

  #samples(): Sample[] {
    const live = this.#slots.flatMap((slot) => (slot.kind === 'running' ? slot.relay.samples : []));
    return mergeSamples([...this.#metrics.samples(), ...this.#retired, ...live]);
  }

  #retire(samples: readonly Sample[]): void {
    const counters = samples.filter(([name]) => METRICS[name].type !== 'gauge');
    this.#retired = mergeSamples([...this.#retired, ...counters]);
  }

  #checkEmpty(): void {
    for (const [index, slot] of this.#slots.entries()) {
      if (slot.kind === 'running') return;
      if (slot.kind === 'waiting') systemClock.clearTimeout(slot.timer);
      this.#slots[index] = { kind: 'empty' };
    }
    this.#onEmpty();
  }
}
