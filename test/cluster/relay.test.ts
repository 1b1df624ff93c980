/**
 * The primary's side of a worker and the worker's source, joined by a channel as between two
 * processes: JSON, in order, in a later turn, many messages in one. A test can hold it up, fill
 * it (`send` says false) and cut it.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';

import { IpcSource } from '../../src/cluster/ipc-source.ts';
import type { FromPrimary, FromWorker } from '../../src/cluster/messages.ts';
import { Relay } from '../../src/cluster/relay.ts';
import { refuse } from '../../src/core/errors.ts';
import type { Snapshot } from '../../src/core/execution.ts';
import type { Admission, Admitted, ApiKey, Loss, Watch } from '../../src/core/run-source.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { apiKey, FakeSource, snapshotOf } from '../support/fake-source.ts';
import { until, within } from '../support/wait.ts';

const RUN = 'run_1';
const REVOKED: Loss = { kind: 'refused', refusal: refuse('AUTH_INVALID_KEY') };

const step = (n: number, runId = RUN): Snapshot => snapshotOf(runId, 'running', { step: n });

/** One direction. */
class Wire<M extends { readonly kind: string }> {
  /** All that were ever sent. */
  readonly sent: M[] = [];
  /** More than this on the way, and `send` says false. */
  capacity = Infinity;
  /** The most messages that were ever on the way at once. */
  longest = 0;
  isHeld = false;
  isCut = false;
  readonly #receive: (message: M) => void;
  #queue: { readonly text: string; readonly onSent: (() => void) | undefined }[] = [];
  #isRunning = false;

  constructor(receive: (message: M) => void) {
    this.#receive = receive;
  }

  readonly send = (message: M, onSent?: () => void): boolean => {
    if (this.isCut) return true;
    this.sent.push(message);
    this.#queue.push({ text: JSON.stringify(message), onSent });
    this.longest = Math.max(this.longest, this.#queue.length);
    this.#run();
    return this.#queue.length <= this.capacity;
  };

  get isIdle(): boolean {
    return this.#queue.length === 0;
  }

  /** All that is on the way, in one turn; what it causes comes in a later one. */
  release(): void {
    this.isHeld = false;
    this.#run();
  }

  cut(): void {
    this.isCut = true;
    this.#queue = [];
  }

  #run(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    setImmediate(() => {
      this.#isRunning = false;
      if (this.isHeld) return;
      const batch = this.#queue.splice(0);
      for (const { text } of batch) this.#receive(JSON.parse(text) as M);
      for (const { onSent } of batch) onSent?.();
    });
  }
}

/** Counts its leases. */
class Upstream extends FakeSource {
  leases = 0;
  proof: Promise<void> = Promise.resolve();

  override async admit(runId: string, key: ApiKey): Promise<Admission> {
    await this.proof;
    const admission = await super.admit(runId, key);
    if (admission.kind === 'refused') return admission;
    this.leases++;
    return { ...admission, leave: () => this.leases-- };
  }
}

class Pair {
  readonly upstream: Upstream;
  readonly down: Wire<FromPrimary> = new Wire((message) => this.source.onMessage(message));
  readonly up: Wire<FromWorker> = new Wire((message) => void this.relay.onMessage(message));
  readonly port = { send: this.up.send, onMessage: (): void => undefined };
  readonly source = new IpcSource(this.port, new FakeClock(), 1_000);
  readonly relay: Relay;

  constructor(upstream = new Upstream()) {
    this.upstream = upstream;
    if (upstream.newest(RUN) === undefined) upstream.emit(step(0));
    this.relay = new Relay({ send: this.down.send, onMessage: () => undefined }, upstream, {
      stats: () => ({ streams: upstream.leases, runs: 1 }), metrics: () => 'text',
    });
  }

  async enter(key: string, runId = RUN): Promise<Admitted> {
    const asked = this.source.admit(runId, apiKey(key));
    const admission = await within(1_000, `the admission of ${key}`, asked);
    return admission.kind === 'admitted' ? admission : assert.fail(admission.refusal.error);
  }

  /** Which steps and what else an observer is told. */
  follow(admitted: Admitted): { watch: Watch; told: string[] } {
    const told: string[] = [];
    const watch = this.source.watch(admitted, {
      onSnapshot: ({ status, data }) => told.push(
        status === 'running' ? String((JSON.parse(data) as { step: number }).step) : status),
      onLost: (key, { kind }) => told.push(`lost ${key} ${kind}`),
    });
    return { watch, told };
  }

  /** Nothing is on the way any more. */
  async settle(): Promise<void> {
    await until('an idle channel', async () => {
      await nextTurn();
      return this.down.isIdle && this.up.isIdle;
    });
    await nextTurn();
  }

  /** What the primary sent of this kind. */
  sent<K extends FromPrimary['kind']>(kind: K): Extract<FromPrimary, { kind: K }>[] {
    return this.down.sent.filter((each): each is Extract<FromPrimary, { kind: K }> =>
      each.kind === kind);
  }

  /** From now on the channel is full, and stands still. */
  fill(): void {
    this.down.isHeld = true;
    this.down.capacity = 0;
    this.upstream.emit(step(1_000));
  }

  async unfill(): Promise<void> {
    this.down.capacity = Infinity;
    this.down.release();
    await this.settle();
  }
}

describe('a run over a channel', () => {
  it('comes out in the worker as it went in at the primary', async () => {
    const pair = new Pair();
    const admitted = await pair.enter('lma_a');
    const { terminal, ...rest } = step(0);
    assert.equal(terminal, undefined);
    assert.deepEqual(admitted.snapshot, JSON.parse(JSON.stringify(rest)));
    const { told } = pair.follow(admitted);
    for (const n of [1, 2]) pair.upstream.emit(step(n));
    await pair.settle();
    pair.upstream.emit(snapshotOf(RUN, 'failed'));
    await pair.settle();
    assert.deepEqual(told, ['1', '2', 'failed']);
  });

  it('is watched once and sent once a change, for all clients and keys of the worker', async () => {
    const pair = new Pair();
    const all = [];
    for (const key of ['lma_a', 'lma_b', 'lma_a']) all.push(pair.follow(await pair.enter(key)));
    pair.upstream.emit(step(1));
    await pair.settle();
    assert.deepEqual(all.map(({ told }) => told), [['1'], ['1'], ['1']]);
    assert.equal(pair.sent('snapshot').length, 1);
    assert.equal(pair.sent('admitted').filter(({ snapshot }) => snapshot).length, 1);
    assert.equal(pair.upstream.watches.length, 1);
    assert.deepEqual([...pair.upstream.watches[0]?.keys ?? []], ['lma_a', 'lma_b']);
  });

  it('is watched for each worker, and one that leaves takes nothing from the other', async () => {
    const one = new Pair();
    const two = new Pair(one.upstream);
    const [mine, theirs] = [await one.enter('lma_a'), await two.enter('lma_a')];
    const { told } = two.follow(theirs);
    assert.equal(one.upstream.live(RUN).length, 2);
    mine.leave?.();
    await one.settle();
    one.upstream.emit(step(1));
    await two.settle();
    assert.deepEqual([one.upstream.live(RUN).length, told, one.sent('snapshot').length],
      [1, ['1'], 0]);
  });

  it('is refused with the very refusal of the source', async () => {
    const pair = new Pair();
    const asked = pair.source.admit('run_unknown', apiKey('lma_a'));
    assert.deepEqual(await within(1_000, 'the refusal', asked),
      { kind: 'refused', refusal: refuse('NOT_FOUND') });
    assert.equal(pair.upstream.leases, 0);
  });

  it('that is over is not watched, and its place is given back', async () => {
    const pair = new Pair();
    pair.upstream.emit(snapshotOf(RUN, 'cancelled'));
    const { snapshot, leave } = await pair.enter('lma_a');
    assert.equal(snapshot.terminal, 'error');
    assert.deepEqual([pair.upstream.watches.length, pair.upstream.leases], [0, 1]);
    leave?.();
    await pair.settle();
    assert.equal(pair.upstream.leases, 0);
  });

  it('that ends keeps the places of its clients until they are gone', async () => {
    const pair = new Pair();
    const both = [await pair.enter('lma_a'), await pair.enter('lma_b')];
    pair.upstream.emit(snapshotOf(RUN, 'completed'));
    await pair.settle();
    assert.deepEqual([pair.upstream.live().length, pair.upstream.leases], [0, 2]);
    for (const { leave } of both) leave?.();
    await pair.settle();
    assert.equal(pair.upstream.leases, 0);
    assert.equal(pair.sent('ended').length, 0, 'the end was said already');
  });

  it('answers for counts and metrics', async () => {
    const pair = new Pair();
    await pair.enter('lma_a');
    const asked = Promise.all([pair.source.stats(), pair.source.metrics()]);
    assert.deepEqual(await within(1_000, 'the counts', asked), [{ streams: 1, runs: 1 }, 'text']);
    assert.deepEqual(pair.relay.samples, []);
    pair.up.send({ kind: 'samples', samples: [['runcast_streams', '', 4]] });
    await pair.settle();
    assert.deepEqual(pair.relay.samples, [['runcast_streams', '', 4]]);
  });
});

describe('the clients of a worker', () => {
  it('hold their key from the first to the last, and the watch from the first key on', async () => {
    const pair = new Pair();
    const [a1, a2, b] = [await pair.enter('lma_a'), await pair.enter('lma_a'),
      await pair.enter('lma_b')];
    const [watch] = pair.upstream.watches;
    assert.deepEqual(watch?.calls, ['hold lma_b']);
    for (const { leave } of [a1, a1]) leave?.();
    await pair.settle();
    assert.deepEqual(watch?.calls, ['hold lma_b'], 'one of two is still there');
    a2.leave?.();
    await pair.settle();
    assert.deepEqual(watch?.calls, ['hold lma_b', 'release lma_a']);
    b.leave?.();
    await pair.settle();
    assert.deepEqual([watch?.isStopped, pair.upstream.leases], [true, 0]);
    assert.equal(pair.sent('ended').length, 1);
  });

  it('lose their key once, and the others go on', async () => {
    const pair = new Pair();
    const [a, b] = [pair.follow(await pair.enter('lma_a')), pair.follow(await pair.enter('lma_b'))];
    pair.upstream.lose(RUN, 'lma_a', REVOKED);
    pair.upstream.emit(step(1));
    await pair.settle();
    assert.deepEqual([b.told, a.told.slice(0, 1)], [['1'], ['lost lma_a refused']]);
    assert.equal(pair.sent('lost').length, 1);
  });

  it('that lost their key take nothing with them when one with it is let in anew', async () => {
    const pair = new Pair();
    const [lost] = [await pair.enter('lma_a'), await pair.enter('lma_b')];
    pair.upstream.lose(RUN, 'lma_a', REVOKED);
    const { told } = pair.follow(await pair.enter('lma_a'));
    lost.leave?.();
    await pair.settle();
    const [watch] = pair.upstream.live();
    assert.deepEqual([...watch?.keys ?? []], ['lma_b', 'lma_a']);
    pair.upstream.emit(step(1));
    await pair.settle();
    assert.deepEqual([told, pair.upstream.leases], [['1'], 2]);
  });

  it('are served or told, though their key was lost and let in anew on their way in', async () => {
    const pair = new Pair();
    pair.down.isHeld = true;
    const [early, late] = [pair.enter('lma_a'), pair.enter('lma_b')];
    await until('both are let in', () => pair.sent('admitted').length === 2);
    pair.upstream.lose(RUN, 'lma_a', REVOKED);
    const again = pair.enter('lma_a');
    await until('the third is let in', () => pair.sent('admitted').length === 3);
    pair.down.release();
    const { told } = pair.follow(await early);
    for (const { leave } of [await again, await late]) leave?.();
    await pair.settle();
    pair.upstream.emit(step(1));
    await pair.settle();
    assert.ok(told.length > 0, 'neither a change nor a loss: it waits for ever');
  });
});

describe('a channel that is full', () => {
  it('gets the newest state of each run once it has room, and no older one', async () => {
    const pair = new Pair();
    const runs = [RUN, 'run_2', 'run_3'];
    for (const runId of runs) pair.upstream.emit(step(0, runId));
    const all = [];
    for (const runId of runs) all.push(pair.follow(await pair.enter('lma_a', runId)));
    pair.fill();
    const before = pair.sent('snapshot').length;
    for (let n = 1; n <= 100; n++) for (const runId of runs) pair.upstream.emit(step(n, runId));
    assert.equal(pair.sent('snapshot').length, before, 'a state into a channel that is full');
    await pair.unfill();
    assert.equal(pair.sent('snapshot').length, before + runs.length);
    assert.deepEqual(all.map(({ told }) => told), [['1000', '100'], ['100'], ['100']]);
  });

  it('gets one state at a time where each one fills it again', async () => {
    const pair = new Pair();
    const runs = [RUN, 'run_2', 'run_3'];
    for (const runId of runs) pair.upstream.emit(step(0, runId));
    for (const runId of runs) await pair.enter('lma_a', runId);
    pair.fill();
    for (const runId of runs) pair.upstream.emit(step(1, runId));
    pair.down.release();
    await pair.settle();
    assert.deepEqual([pair.down.longest, pair.sent('snapshot').length], [1, 1 + runs.length]);
  });

  it('never skips the end, and sends nothing of the run behind it', async () => {
    const pair = new Pair();
    const { told } = pair.follow(await pair.enter('lma_a'));
    pair.fill();
    pair.upstream.emit(step(1));
    pair.upstream.emit(snapshotOf(RUN, 'completed'));
    assert.equal(pair.upstream.live().length, 0);
    await pair.unfill();
    assert.deepEqual(told, ['1000', 'completed']);
  });

  it('sends a waiting state with the next admission, and then not again', async () => {
    const pair = new Pair();
    const { told } = pair.follow(await pair.enter('lma_a'));
    pair.fill();
    pair.upstream.emit(step(7));
    const asked = pair.enter('lma_b');
    await until('the admission is sent', () => pair.sent('admitted').length === 2);
    await pair.unfill();
    assert.equal((await asked).snapshot.id, step(7).id);
    assert.deepEqual(told, ['1000', '7']);
    assert.equal(pair.sent('snapshot').length, 1);
  });

  it('tells of a loss all the same', async () => {
    const pair = new Pair();
    const { watch, told } = pair.follow(await pair.enter('lma_a'));
    watch.hold(await pair.enter('lma_b'));
    pair.fill();
    pair.upstream.lose(RUN, 'lma_a', REVOKED);
    pair.upstream.emit(step(7));
    await pair.unfill();
    assert.deepEqual(told, ['1000', 'lost lma_a refused', '7']);
  });

  it('holds up no other worker', async () => {
    const stuck = new Pair();
    const well = new Pair(stuck.upstream);
    await stuck.enter('lma_a');
    const { told } = well.follow(await well.enter('lma_a'));
    stuck.fill();
    stuck.upstream.emit(step(1));
    await well.settle();
    assert.deepEqual([told, stuck.sent('snapshot').length], [['1000', '1'], 1]);
  });
});

describe('a worker that dies', () => {
  it('leaves nothing: no lease, no watch', async () => {
    const pair = new Pair();
    for (const key of ['lma_a', 'lma_b', 'lma_a']) await pair.enter(key);
    pair.fill();
    for (const wire of [pair.down, pair.up]) wire.cut();
    pair.relay.close();
    assert.deepEqual([pair.upstream.live().length, pair.upstream.leases], [0, 0]);
  });

  it('takes no place with a proof that comes when it is dead', async () => {
    const pair = new Pair();
    let prove: () => void = () => undefined;
    pair.upstream.proof = new Promise((resolve) => (prove = resolve));
    void pair.source.admit(RUN, apiKey('lma_a'));
    await pair.settle();
    for (const wire of [pair.down, pair.up]) wire.cut();
    pair.relay.close();
    prove();
    await nextTurn();
    assert.deepEqual([pair.upstream.watches.length, pair.upstream.leases], [0, 0]);
  });
});
