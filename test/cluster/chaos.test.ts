/**
 * Two workers over one primary, in chaos: runs change and end, keys are lost, clients join, stall
 * and leave, channels fill up and stand still, workers die, in an order that chance decides. What
 * must hold in any order is checked at every message and event, and the rest whenever all has
 * come to rest. `RUNCAST_SEED=7` repeats the run of that seed.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';

import { IpcSource } from '../../src/cluster/ipc-source.ts';
import type { FromPrimary, FromWorker } from '../../src/cluster/messages.ts';
import { Relay } from '../../src/cluster/relay.ts';
import { refuse } from '../../src/core/errors.ts';
import { Metrics } from '../../src/core/metrics.ts';
import type { Admission, Admitted, ApiKey, Loss, RunObserver } from '../../src/core/run-source.ts';
import { Hub } from '../../src/hub/hub.ts';
import { LimitedSource } from '../../src/source/limited-source.ts';
import { assertSound } from '../hub/harness.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { FakeSink } from '../support/fake-sink.ts';
import { apiKey, FakeSource, snapshotOf } from '../support/fake-source.ts';
import { randomFrom, seeds } from '../support/random.ts';
import type { SseEvent } from '../support/sse-parser.ts';

const [STEPS, REST_EVERY] = [5_000, 80];
const ROUNDS = 30; // each carries all messages one way, and each run that waits takes one
const KEYS = ['lma_a', 'lma_b', 'lma_c'];
const RUNS = 4;
const LIMITS = { maxStreams: 24, maxStreamsPerKey: 12, maxRuns: 6, pollIntervalMs: 2_000 };
const LONG_MS = 1e9;
const NOBODY = (): void => undefined;
const NOTHING = { streams: 0, runs: 0 };
const MACHINE = { stats: () => NOTHING, metrics: () => '' };
const FORBIDDEN = { kind: 'refused', refusal: refuse('FORBIDDEN') } as const;

/** One direction between two processes: messages leave, and some time later they arrive. */
class Wire<M> {
  onSend: (message: M) => void = () => undefined;
  capacity = Infinity;
  /** `send` said false, and nothing has left since. */
  isFull = false;
  isCut = false;
  readonly #receive: (message: M) => void;
  readonly #queue: { readonly text: string; readonly onSent: (() => void) | undefined }[] = [];
  readonly #gone: string[] = [];

  constructor(receive: (message: M) => void) {
    this.#receive = receive;
  }

  readonly send = (message: M, onSent?: () => void): boolean => {
    if (this.isCut) return true;
    this.onSend(message);
    this.#queue.push({ text: JSON.stringify(message), onSent });
    if (this.#queue.length > this.capacity) this.isFull = true;
    return this.#queue.length <= this.capacity;
  };

  leave(count: number): void {
    for (const { text, onSent } of this.#queue.splice(0, count)) {
      this.#gone.push(text);
      this.isFull = false;
      onSent?.();
    }
  }

  /** All in one turn. */
  arrive(count: number): void {
    for (const text of this.#gone.splice(0, count)) this.#receive(JSON.parse(text) as M);
  }
}

/**
 * Upstream's answers take their time; what changed before a watch is told right after it; and as
 * with the real one, a key that was lost is refused for longer than a message takes.
 */
class Upstream extends FakeSource {
  readonly proofs: (() => void)[] = [];
  readonly denied = new Set<string>();
  leases = 0;

  override async admit(runId: string, key: ApiKey): Promise<Admission> {
    await new Promise<void>((resolve) => this.proofs.push(resolve));
    if (this.denied.has(`${runId} ${key.value}`)) return FORBIDDEN;
    const admission = await super.admit(runId, key);
    if (admission.kind === 'refused') return admission;
    this.leases++;
    return { ...admission, leave: () => this.leases-- };
  }

  override watch(admitted: Admitted, observer: RunObserver) {
    const watch = super.watch(admitted, observer);
    queueMicrotask(() => {
      const newest = this.newest(watch.runId) ?? admitted.snapshot;
      if (watch.isStopped || watch.isOver || newest.id === admitted.snapshot.id) return;
      watch.isOver = newest.terminal !== undefined;
      observer.onSnapshot(newest);
    });
    return watch;
  }
}

interface Viewer {
  readonly sink: FakeSink;
  readonly runId: string;
  readonly key: string;
  /** Of the state it has, and its id; -1: none, or one from before. */
  seq: number;
  id: string;
  /** How a loss since it asked may end it, and whether one must. */
  readonly losses: Set<'loss' | 'away'>;
  isLost: boolean;
  endedWith: 'end' | 'loss' | 'away' | undefined;
}

const seqOf = ({ data }: { readonly data: string }): number =>
  (JSON.parse(data) as { seq: number }).seq;

class Worker {
  readonly viewers = new Set<Viewer>();
  /** The newest state of each run that came to those who follow it here. */
  readonly arrived = new Map<string, number>();
  readonly down: Wire<FromPrimary> = new Wire((message) => {
    if ('snapshot' in message && message.snapshot && message.watch > 0) {
      this.arrived.set(message.snapshot.runId, seqOf(message.snapshot));
    }
    this.source.onMessage(message);
  });
  readonly up: Wire<FromWorker> = new Wire((message) => void this.relay.onMessage(message));
  readonly clock = new FakeClock();
  readonly source = new IpcSource({ send: this.up.send, onMessage: NOBODY }, this.clock, LONG_MS);
  readonly hub: Hub;
  readonly relay: Relay;
  readonly #sent = new Map<number, string>(); // the last state of each watch

  constructor({ limited, upstream, random, note }: Chaos) {
    this.hub = new Hub(this.source, {
      pingIntervalMs: 1_000, streamTimeoutMs: LONG_MS, slowTimeoutMs: LONG_MS,
      clock: this.clock, random,
    }, new Metrics());
    this.relay = new Relay({ send: this.down.send, onMessage: NOBODY }, limited, MACHINE);
    this.down.onSend = (message) => note(() => {
      if (message.kind === 'ended') this.#sent.set(message.watch, 'ended');
      if (!('snapshot' in message) || !message.snapshot || message.watch === 0) return;
      const { watch, snapshot: { id, runId } } = message;
      assert.notEqual(id, this.#sent.get(watch), 'the same state was sent twice');
      assert.notEqual(this.#sent.get(watch), 'ended', 'a state of a watch that had ended');
      this.#sent.set(watch, id);
      if (message.kind !== 'snapshot') return;
      assert.equal(this.down.isFull, false, 'a state into a channel that is full');
      assert.equal(id, upstream.newest(runId)?.id, 'sent a state that was not the newest');
    });
  }
}

class Chaos {
  readonly upstream = new Upstream();
  readonly limited = new LimitedSource(this.upstream, LIMITS, new Metrics(), new FakeClock());
  readonly workers: Worker[] = [];
  readonly sinks: FakeSink[] = [];
  /** What was seen: a run in which nothing happened does not pass for a good one. */
  readonly seen = new Set<string>();
  readonly random: () => number;
  readonly #runs: string[] = [];
  #over = '';
  readonly #faults: unknown[] = [];
  #seq = 0;

  constructor(seed: number) {
    this.random = randomFrom(seed);
    for (const place of [0, 1]) this.workers[place] = new Worker(this);
    for (let place = 0; place < RUNS; place++) this.#begin(place);
  }

  get viewers(): Viewer[] {
    return this.workers.flatMap(({ viewers }) => [...viewers]);
  }

  async step(): Promise<void> {
    for (let i = this.#below(4); i >= 0; i--) this.#act();
    await nextTurn();
    this.#check();
  }

  #act(): void {
    const { upstream: { proofs } } = this;
    const worker = this.#pick(this.workers) ?? assert.fail('no worker');
    const viewer = this.#pick([...worker.viewers]);
    const actions: readonly [weight: number, act: () => void][] = [
      [20, () => this.#emit('running')],
      [14, () => this.#join(worker)],
      [14, () => proofs.splice(this.#below(proofs.length), 1)[0]?.()],
      [25, () => this.#pick([worker.down, worker.up])?.leave(1 + this.#below(5))],
      [25, () => this.#pick([worker.down, worker.up])?.arrive(1 + this.#below(5))],
      [3, () => (worker.down.capacity = this.#pick([0, 1, 4, Infinity]) ?? 0)],
      [10, () => (this.random() < 0.4 ? viewer?.sink.block() : viewer?.sink.drain())],
      [6, () => viewer && worker.viewers.delete(viewer) && viewer.sink.close()],
      [3, () => worker.clock.advance(this.#below(700))],
      [3, () => this.#lose()],
      [2, () => this.#end()],
      [0.3, () => this.kill(this.workers.indexOf(worker))],
    ];
    let at = this.random() * actions.reduce((sum, [weight]) => sum + weight, 0);
    const [, act] = actions.find(([weight]) => (at -= weight) < 0) ?? assert.fail('no action');
    if (worker.down.isFull) this.seen.add('a full channel');
    act();
  }

  #below(limit: number): number {
    return Math.floor(this.random() * limit);
  }

  #pick<T>(from: readonly T[]): T | undefined {
    return from[this.#below(from.length)];
  }

  #begin(place: number): void {
    this.#runs[place] = `run_${++this.#seq}`;
    this.#emit('queued', this.#runs[place]);
  }

  #emit(status: string, runId = this.#pick(this.#runs) ?? ''): void {
    this.upstream.emit(snapshotOf(runId, status, { seq: ++this.#seq }));
  }

  #end(): void {
    const place = this.#below(RUNS);
    const runId = this.#runs[place] ?? '';
    this.#emit(this.#pick(['completed', 'failed']) ?? '', runId);
    assert.ok(this.upstream.live(runId).every(({ isOver }) => !isOver), 'watched when it is over');
    this.#over = runId;
    this.#begin(place);
  }

  #lose(): void {
    const [runId, key] = [this.#pick(this.#runs) ?? '', this.#pick(KEYS) ?? ''];
    const isMoved = this.random() < 0.3;
    const loss: Loss = isMoved ? { kind: 'moved' } : FORBIDDEN;
    for (const viewer of this.viewers) {
      if (viewer.runId !== runId) continue;
      // Who comes in while another key is lost may find the run placed anew: it comes back.
      viewer.losses.add('away');
      if (viewer.key !== key) continue;
      if (!isMoved) viewer.losses.add('loss');
      viewer.isLost ||= viewer.sink.events.length > 0;
    }
    this.upstream.denied.add(`${runId} ${key}`);
    this.upstream.lose(runId, key, loss);
  }

  #join(worker: Worker): void {
    const runId = this.#pick([...this.#runs, ...this.#runs, this.#over]) ?? '';
    const old = this.#pick(['', '', this.upstream.newest(runId)?.id ?? '']) ?? '';
    // A loss may be on its way still: see #lose.
    const isLate = [...this.upstream.denied].some((denied) => denied.startsWith(`${runId} `));
    const viewer: Viewer = {
      sink: new FakeSink(), runId, key: this.#pick(KEYS) ?? '', seq: -1, id: old,
      losses: new Set(isLate ? ['away'] : []), isLost: false, endedWith: undefined,
    };
    viewer.sink.onEvent = (event) => this.note(() => this.#onEvent(worker, viewer, event));
    worker.viewers.add(viewer);
    this.sinks.push(viewer.sink);
    void this.#follow(worker, viewer, old);
  }

  /** As a handler does it. */
  async #follow(worker: Worker, viewer: Viewer, lastEventId: string): Promise<void> {
    const { sink } = viewer;
    const admission = await worker.source.admit(viewer.runId, apiKey(viewer.key));
    if (admission.kind === 'refused') {
      this.seen.add(`refused: ${admission.refusal.code}`);
      worker.viewers.delete(viewer);
    } else if (sink.isClosed) {
      this.seen.add('left while asking');
      admission.leave?.();
    } else {
      worker.hub.subscribe(admission, { sink, requestId: 'req', lastEventId });
    }
  }

  /** As SIGKILL does: nobody says goodbye. */
  kill(place: number): void {
    const worker = this.workers[place] ?? assert.fail('no worker');
    this.seen.add('a death');
    for (const wire of [worker.down, worker.up]) wire.isCut = true;
    worker.viewers.clear();
    worker.relay.close();
    this.workers[place] = new Worker(this);
  }

  /** A fault is for the test, and not for the code that happens to run. */
  readonly note = (check: () => void): void => {
    try {
      check();
    } catch (error) {
      this.#faults.push(error);
    }
  };

  #onEvent(worker: Worker, viewer: Viewer, event: SseEvent): void {
    assert.equal(viewer.endedWith, undefined, `${event.event} after the last event`);
    this.seen.add(event.event);
    if (event.event === 'progress') {
      this.#onProgress(worker, viewer, event);
    } else if (event.event === 'ping') {
      if (event.retry !== undefined && viewer.sink.events.length > 1) viewer.endedWith = 'away';
    } else if (event.data.includes('"code":"FORBIDDEN"')) {
      viewer.endedWith = 'loss';
    } else {
      viewer.endedWith = 'end';
      assert.equal(event.data, this.upstream.newest(viewer.runId)?.data, 'not the end');
    }
    const { endedWith, losses } = viewer;
    if (endedWith === undefined) return;
    this.seen.add(`last: ${endedWith}`);
    assert.ok(endedWith === 'end' || losses.has(endedWith), `${endedWith} for no reason`);
  }

  #onProgress({ arrived }: Worker, viewer: Viewer, event: SseEvent): void {
    const seq = seqOf(event);
    assert.ok(seq > viewer.seq, 'out of order, or twice');
    assert.notEqual(event.id, viewer.id, 'a state that the client has');
    [viewer.seq, viewer.id] = [seq, event.id];
    // The first is that of the proof; and who will be sent away has its run elsewhere by now.
    const isOld = viewer.sink.events.length === 1 || viewer.losses.size > 0;
    if (!isOld) assert.equal(seq, arrived.get(viewer.runId), 'not the newest here');
  }

  #check(): void {
    for (const fault of this.#faults) throw fault;
    for (const { sink, endedWith } of this.viewers) {
      assert.equal(sink.isEnded, endedWith !== undefined, 'an end without its last event');
    }
    const { streams, runs } = this.limited.size;
    assert.ok(streams <= LIMITS.maxStreams && runs <= LIMITS.maxRuns, 'above the limits');
    assert.equal(streams, this.upstream.leases, 'a lease was lost');
  }

  /** Everything that is under way comes to its end, and then everybody has what is newest. */
  async rest(): Promise<void> {
    for (let i = 0; i < ROUNDS; i++) {
      for (const prove of this.upstream.proofs.splice(0)) prove();
      for (const { down, up, viewers } of this.workers) {
        for (const wire of [down, up]) {
          wire.leave(Infinity);
          wire.arrive(Infinity);
        }
        for (const { sink } of viewers) sink.drain();
      }
      await nextTurn();
    }
    this.#check();
    this.upstream.denied.clear();
    for (const { viewers, hub } of this.workers) assert.equal(hub.size.streams, viewers.size);
    for (const viewer of this.viewers) this.#checkRested(viewer);
    assert.equal(this.limited.size.streams, this.viewers.length, 'places taken for nobody');
    for (const { runId, keys } of this.upstream.live()) {
      assert.ok(this.upstream.live(runId).length <= this.workers.length, 'watched too often');
      const mine = this.viewers.filter((viewer) => viewer.runId === runId).map(({ key }) => key);
      assert.ok([...keys].every((key) => mine.includes(key)), 'a key is held for nobody');
    }
  }

  #checkRested(viewer: Viewer): void {
    assert.ok(viewer.sink.events.length > 0, 'a question without an answer');
    if (viewer.endedWith !== undefined) return;
    assert.equal(viewer.isLost, false, 'a loss was not told');
    const newest = this.upstream.newest(viewer.runId);
    assert.equal(newest?.terminal, undefined, 'the end of the run was not told');
    assert.equal(viewer.id, newest?.id, 'the newest state was not told');
    const isHeld = this.upstream.live(viewer.runId).some(({ keys }) => keys.has(viewer.key));
    assert.ok(isHeld, 'a client whose key nobody holds');
  }
}

describe('workers in chaos', () => {
  for (const seed of seeds(6)) {
    it(`keep their promises (RUNCAST_SEED=${seed})`, async () => {
      const chaos = new Chaos(seed);
      for (let i = 1; i <= STEPS; i++) await (i % REST_EVERY ? chaos.step() : chaos.rest());
      chaos.kill(0);
      for (const sink of chaos.sinks) sink.close();
      for (const worker of chaos.workers) worker.viewers.clear();
      await chaos.rest();

      const { limited, upstream, workers, sinks, seen } = chaos;
      assert.deepEqual([limited.size, upstream.live(), upstream.leases], [NOTHING, [], 0]);
      assert.deepEqual(workers.map(({ hub }) => hub.size), [NOTHING, NOTHING]);
      assert.deepEqual(workers.map(({ clock }) => clock.pending), [0, 0]);
      for (const sink of sinks) assertSound(sink);
      const wanted = [
        'progress', 'complete', 'error', 'ping', 'last: end', 'last: loss', 'last: away',
        'a death', 'a full channel', 'left while asking', 'refused: RESOURCE_UNAVAILABLE',
      ];
      assert.deepEqual(wanted.filter((what) => !seen.has(what)), [], 'never happened');
    });
  }
});
