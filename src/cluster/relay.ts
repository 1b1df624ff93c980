/**
 * The primary's side of one worker: takes its admissions to the source, watches the runs that
 * it follows, and sends it each change once. While the channel is full only the newest state of
 * a run is kept for it: a worker that stands still costs one state a run, and no one else's time.
 */

import type { Refusal } from '../core/errors.ts';
import { isSameRun } from '../core/execution.ts';
import type { Snapshot } from '../core/execution.ts';
import type { Intake } from '../core/intake.ts';
import { MultiMap } from '../core/multimap.ts';
import type { Sample } from '../core/metrics.ts';
import type { Admitted, Loss, RunObserver, RunSource, Watch } from '../core/run-source.ts';
import type { Counts } from '../core/machine.ts';
import type { FromPrimary, FromWorker, Port } from './messages.ts';

/** A client of the worker, as long as it is there: gives back what it took. */
type Lease = () => void;

/** One worker, as the primary serves it. */
export class Relay {
  readonly #port: Port<FromPrimary, FromWorker>;
  readonly #source: RunSource;
  readonly #counts: Counts;
  readonly #intake: Intake | undefined;
  readonly #leases = new Map<number, Lease>();
  readonly #runs = new MultiMap<string, RelayedRun>();
  /** Runs whose newest state waits for the channel. */
  readonly #waiting = new Set<RelayedRun>();
  #unsent = 0;
  /** From a send that found no room until all that was sent has left. */
  #isFull = false;
  #isClosed = false;
  #watches = 0;
  #samples: readonly Sample[] = [];

  constructor(
    port: Port<FromPrimary, FromWorker>, source: RunSource, counts: Counts, intake?: Intake,
  ) {
    this.#port = port;
    this.#source = source;
    this.#counts = counts;
    this.#intake = intake;
  }

  /** The counts that the worker told last. */
  get samples(): readonly Sample[] {
    return this.#samples;
  }

  /** The worker's questions; other messages are its process's own affair. */
  async onMessage(message: FromWorker): Promise<void> {
    switch (message.kind) {
      case 'admit':
        await this.#onAdmit(message);
        return;
      case 'leave':
        this.#onLeave(message.n);
        return;
      case 'poke':
        this.#intake?.poke(message.runId);
        return;
      case 'publish':
        this.#answer(message.n, await this.#intake?.publish(message.runId, bodyOf(message)));
        return;
      case 'deliver': {
        const delivery = { ...message, body: bodyOf(message) };
        this.#answer(message.n, await this.#intake?.deliver(delivery));
        return;
      }
      case 'stats':
        this.send({ kind: 'stats', n: message.n, stats: this.#counts.stats() });
        return;
      case 'metrics':
        this.send({ kind: 'metrics', n: message.n, text: this.#counts.metrics() });
        return;
      case 'samples':
        this.#samples = message.samples;
        return;
      case 'ready': case 'listening': case 'failed': case 'accepting': case 'room': case 'enter':
      case 'passed':
    }
  }

  /** The worker is gone: with it its clients, and its interest in runs. */
  close(): void {
    this.#isClosed = true;
    for (const n of [...this.#leases.keys()]) this.#onLeave(n);
  }

  send(message: FromPrimary): void {
    this.#unsent++;
    if (!this.#port.send(message, () => this.#onSent())) this.#isFull = true;
  }

  /** A newer state: now, or when the channel has room, unless a newer one comes before that. */
  offer(run: RelayedRun): void {
    if (this.#isFull) this.#waiting.add(run);
    else this.send({ kind: 'snapshot', watch: run.number, snapshot: run.take() });
  }

  /** Nothing more comes of it. What waits for the channel still goes: it may be the end. */
  forget(run: RelayedRun): void {
    this.#runs.delete(run.runId, run);
  }

  /** Nobody there follows the run any more: not even what waits for the channel goes. */
  withdraw(run: RelayedRun): void {
    this.#waiting.delete(run);
    this.send({ kind: 'ended', watch: run.number });
  }

  async #onAdmit(asked: Extract<FromWorker, { kind: 'admit' }>): Promise<void> {
    const { n, runId, key, purpose, trace } = asked;
    const admission = await this.#source.admit(runId, key, purpose, trace);
    if (admission.kind === 'refused') {
      this.send({ kind: 'refused', n, refusal: admission.refusal });
      return;
    }
    const { leave = () => undefined, snapshot } = admission;
    if (this.#isClosed) return leave();
    const isOver = snapshot.terminal !== undefined;
    const run = isOver || purpose === 'look' ? undefined : this.#follow(admission);
    if (run === undefined) {
      this.#leases.set(n, leave);
      this.send({ kind: 'admitted', n, watch: 0, snapshot });
      return;
    }
    const release = run.hold(admission);
    this.#leases.set(n, () => {
      release();
      leave();
    });
    this.#waiting.delete(run);
    const shown = run.isSent ? {} : { snapshot: run.take() };
    this.send({ kind: 'admitted', n, watch: run.number, ...shown });
  }

  #follow(admitted: Admitted): RelayedRun {
    const { runId } = admitted;
    for (const run of this.#runs.get(runId)) if (run.serves(admitted)) return run;
    const run = new RelayedRun(++this.#watches, admitted, this.#source, this);
    this.#runs.add(runId, run);
    return run;
  }

  #onLeave(n: number): void {
    this.#leases.get(n)?.();
    this.#leases.delete(n);
  }

  #answer(n: number, refusal: Refusal | undefined): void {
    this.send({ kind: 'pushed', n, ...refusal && { refusal } });
  }

  #onSent(): void {
    if (--this.#unsent > 0) return;
    this.#isFull = false;
    for (const run of this.#waiting) {
      if (this.#isFull) return;
      this.#waiting.delete(run);
      this.offer(run);
    }
  }
}

const bodyOf = ({ body }: { readonly body: string }): Buffer => Buffer.from(body, 'base64');

/** One run that a worker follows, and the keys of its clients there, counted. */
class RelayedRun implements RunObserver {
  readonly number: number;
  readonly runId: string;
  readonly #relay: Relay;
  readonly #watch: Watch;
  readonly #clients = new Map<string, { count: number }>();
  #newest: Snapshot;
  #sent = '';

  constructor(number: number, admitted: Admitted, source: RunSource, relay: Relay) {
    this.number = number;
    this.runId = admitted.runId;
    this.#newest = admitted.snapshot;
    this.#relay = relay;
    this.#watch = source.watch(admitted, this);
  }

  /** Has the worker the newest state? */
  get isSent(): boolean {
    return this.#sent === this.#newest.id;
  }

  /** The newest state, which is going to be sent. */
  take(): Snapshot {
    this.#sent = this.#newest.id;
    return this.#newest;
  }

  serves({ key, snapshot }: Admitted): boolean {
    return this.#clients.has(key.value) || isSameRun(this.#newest, snapshot);
  }

  /** One client more with this key; the result is to be called when it is gone. */
  hold(admitted: Admitted): () => void {
    const key = admitted.key.value;
    const clients = this.#clients.get(key) ?? { count: 0 };
    if (clients.count++ === 0) {
      if (this.#clients.size > 0) this.#watch.hold(admitted);
      this.#clients.set(key, clients);
    }
    return () => {
      // The key may have been lost meanwhile, and be counted anew.
      if (--clients.count > 0 || this.#clients.get(key) !== clients) return;
      this.#clients.delete(key);
      this.#watch.release(key);
      this.#endIfDeserted();
    };
  }

  onSnapshot(snapshot: Snapshot): void {
    this.#newest = snapshot;
    this.#relay.offer(this);
    if (snapshot.terminal !== undefined) this.#end();
  }

  onLost(key: string, loss: Loss): void {
    if (!this.#clients.delete(key)) return;
    this.#relay.send({ kind: 'lost', watch: this.number, key, loss });
    this.#endIfDeserted();
  }

  #endIfDeserted(): void {
    if (this.#clients.size > 0 || this.#newest.terminal !== undefined) return;
    this.#end();
    this.#relay.withdraw(this);
  }

  #end(): void {
    this.#watch.stop();
    this.#relay.forget(this);
  }
}
