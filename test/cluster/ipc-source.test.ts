/**
 * A worker's source, told what a primary would tell it, message by message and several in one
 * turn, as Node's channel delivers them. What both ends do together is in relay.test.ts.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';

import { IpcSource } from '../../src/cluster/ipc-source.ts';
import type { FromPrimary, FromWorker } from '../../src/cluster/messages.ts';
import { refuse } from '../../src/core/errors.ts';
import type { Snapshot } from '../../src/core/execution.ts';
import type { Admission, Admitted, Loss, Watch } from '../../src/core/run-source.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { admittedAs, apiKey, snapshotOf } from '../support/fake-source.ts';
import { within } from '../support/wait.ts';

const RUN = 'run_1';
const ADMIT_TIMEOUT_MS = 20_000;
const REVOKED: Loss = { kind: 'refused', refusal: refuse('AUTH_INVALID_KEY') };
const MOVED: Loss = { kind: 'moved' };

const step = (n: number): Snapshot => snapshotOf(RUN, 'running', { step: n });
const end = snapshotOf(RUN, 'completed');

/** A source, what it has sent, and what its observers were told. */
class Worker {
  readonly sent: FromWorker[] = [];
  readonly clock = new FakeClock();
  readonly source = new IpcSource({
    send: (message) => this.sent.push(message) > 0,
    onMessage: () => undefined,
  }, this.clock, ADMIT_TIMEOUT_MS);

  /** In one turn, and each as JSON would bring it. */
  tell(...messages: readonly FromPrimary[]): void {
    for (const message of messages) {
      this.source.onMessage(JSON.parse(JSON.stringify(message)) as FromPrimary);
    }
  }

  /** Asks; the answers are numbered from 1. */
  ask(key = 'lma_a'): Promise<Admission> {
    return within(1_000, `the admission of ${key}`, this.source.admit(RUN, apiKey(key)));
  }

  /** Asks, and is let in to `watch`; with `snapshot` as the first one there. */
  async enter(key: string, watch: number, snapshot?: Snapshot): Promise<Admitted> {
    const asked = this.ask(key);
    const n = this.sent.flatMap((message) => (message.kind === 'admit' ? [message.n] : [])).at(-1);
    this.tell({ kind: 'admitted', n: n ?? 0, watch, ...(snapshot && { snapshot }) });
    return admitted(await asked);
  }

  follow(with_: Admitted): { watch: Watch; told: string[] } {
    const told: string[] = [];
    const watch = this.source.watch(with_, {
      onSnapshot: ({ status, data }) => told.push(
        status === 'running' ? String((JSON.parse(data) as { step: number }).step) : status),
      onLost: (key, { kind }) => told.push(`lost ${key} ${kind}`),
    });
    assert.deepEqual(told, [], 'told during the call');
    return { watch, told };
  }
}

function admitted(admission: Admission): Admitted {
  return admission.kind === 'admitted' ? admission : assert.fail(admission.refusal.error);
}

const change = (n: number, watch = 1): FromPrimary =>
  ({ kind: 'snapshot', watch, snapshot: step(n) });
const lost = (key: string, loss: Loss = REVOKED): FromPrimary =>
  ({ kind: 'lost', watch: 1, key, loss });

describe('a worker that asks', () => {
  it('sends run and key as they came, and gives each question its own number', () => {
    const worker = new Worker();
    void worker.source.admit(RUN, apiKey('lma_a'));
    void worker.source.admit(RUN, { value: 'lma_b', header: 'authorization' }, 'look');
    assert.deepEqual(worker.sent, [
      {
        kind: 'admit', n: 1, runId: RUN, key: { value: 'lma_a', header: 'x-api-key' },
        purpose: 'follow',
      },
      {
        kind: 'admit', n: 2, runId: RUN, key: { value: 'lma_b', header: 'authorization' },
        purpose: 'look',
      },
    ]);
  });

  it('takes answers in any order, each for its question', async () => {
    const worker = new Worker();
    const [a, b] = [worker.ask('lma_a'), worker.ask('lma_b')];
    const refusal = refuse('FORBIDDEN', { code: 'AUTH_ODD', retryAfterMs: 1_500 });
    worker.tell({ kind: 'refused', n: 2, refusal });
    worker.tell({ kind: 'admitted', n: 1, watch: 1, snapshot: step(0) });
    assert.deepEqual(await b, { kind: 'refused', refusal });
    const { runId, key, snapshot } = admitted(await a);
    assert.deepEqual([runId, key.value, snapshot.id], [RUN, 'lma_a', step(0).id]);
  });

  it('is given the newest state with an answer that brings none', async () => {
    const worker = new Worker();
    await worker.enter('lma_a', 1, step(0));
    worker.tell(change(1));
    assert.equal((await worker.enter('lma_b', 1)).snapshot.id, step(1).id);
  });

  it('keeps the state as it was, to the last character, through JSON', async () => {
    const worker = new Worker();
    const odd = snapshotOf(RUN, 'running', { text: '\u2028 "\\" \ud83d\ude00 \u0000', big: 1e21 });
    const { snapshot } = await worker.enter('lma_a', 1, odd);
    assert.deepEqual({ ...snapshot, terminal: snapshot.terminal }, odd);
  });

  it('says when a client is gone, of its own number', async () => {
    const worker = new Worker();
    await worker.enter('lma_a', 1, step(0));
    const second = await worker.enter('lma_a', 1);
    second.leave?.();
    assert.deepEqual(worker.sent.at(-1), { kind: 'leave', n: 2 });
  });

  it('gives back the place of a run that is over, too', async () => {
    const worker = new Worker();
    const { snapshot, leave } = await worker.enter('lma_a', 0, end);
    assert.equal(snapshot.terminal, 'complete');
    leave?.();
    assert.deepEqual(worker.sent.at(-1), { kind: 'leave', n: 1 });
  });

  it('keeps runs that are over apart, though they share the number 0', async () => {
    const worker = new Worker();
    await worker.enter('lma_a', 0, end);
    const other = snapshotOf(RUN, 'failed');
    assert.equal((await worker.enter('lma_b', 0, other)).snapshot.id, other.id);
  });

  it('gets counts and metrics for the question it asked', async () => {
    const worker = new Worker();
    const all = [worker.source.stats(), worker.source.metrics(), worker.source.stats()] as const;
    worker.tell({ kind: 'stats', n: 3, stats: { streams: 3, runs: 3 } },
      { kind: 'metrics', n: 2, text: 'two' },
      { kind: 'stats', n: 1, stats: { streams: 1, runs: 1 } });
    assert.deepEqual(await within(1_000, 'the answers', Promise.all(all)),
      [{ streams: 1, runs: 1 }, 'two', { streams: 3, runs: 3 }]);
  });

  it('is not moved by messages for nobody', async () => {
    const worker = new Worker();
    worker.tell(change(1, 7), { kind: 'ended', watch: 7 }, { kind: 'lost', watch: 7, key: 'lma_a',
      loss: MOVED }, { kind: 'refused', n: 7, refusal: refuse('NOT_FOUND') },
    { kind: 'stats', n: 7, stats: { streams: 0, runs: 0 } }, { kind: 'drain' });
    assert.equal((await worker.enter('lma_a', 1, step(0))).snapshot.id, step(0).id);
  });
});

describe('a worker that follows a run', () => {
  it('hears each change once, in order, up to the end and nothing behind it', async () => {
    const worker = new Worker();
    const { told } = worker.follow(await worker.enter('lma_a', 1, step(0)));
    await nextTurn();
    worker.tell(change(1), change(1), change(2));
    worker.tell({ kind: 'snapshot', watch: 1, snapshot: end }, change(3));
    assert.deepEqual(told, ['1', '2', 'completed']);
  });

  it('hears what came between its admission and its watch, and not during the call', async () => {
    const worker = new Worker();
    const admission = await worker.enter('lma_a', 1, step(0));
    worker.tell(change(1), change(2));
    const { told } = worker.follow(admission);
    await nextTurn();
    assert.deepEqual(told, ['2']);
  });

  it('hears of the end that came between its admission and its watch', async () => {
    const worker = new Worker();
    const admission = await worker.enter('lma_a', 1, step(0));
    worker.tell({ kind: 'snapshot', watch: 1, snapshot: end });
    const { told } = worker.follow(admission);
    await nextTurn();
    assert.deepEqual(told, ['completed']);
  });

  it('hears a change once that comes in the very turn of its watch', async () => {
    const worker = new Worker();
    const { told } = worker.follow(await worker.enter('lma_a', 1, step(0)));
    worker.tell(change(1));
    await nextTurn();
    assert.deepEqual(told, ['1']);
  });

  it('hears the end once that comes in the very turn of its watch', async () => {
    const worker = new Worker();
    const { told } = worker.follow(await worker.enter('lma_a', 1, step(0)));
    worker.tell({ kind: 'snapshot', watch: 1, snapshot: end });
    await nextTurn();
    assert.deepEqual(told, ['completed']);
  });

  it('shares the message with others who follow it, until they stop', async () => {
    const worker = new Worker();
    const one = worker.follow(await worker.enter('lma_a', 1, step(0)));
    const two = worker.follow(await worker.enter('lma_b', 1));
    await nextTurn();
    worker.tell(change(1));
    one.watch.stop();
    one.watch.stop();
    worker.tell(change(2));
    assert.deepEqual([one.told, two.told], [['1'], ['1', '2']]);
  });

  it('hears nothing of what was on its way when it stopped', async () => {
    const worker = new Worker();
    const admission = await worker.enter('lma_a', 1, step(0));
    worker.tell(change(1), lost('lma_a'));
    const { watch, told } = worker.follow(admission);
    watch.stop();
    await nextTurn();
    assert.deepEqual(told, []);
  });

  it('hears nothing of other runs', async () => {
    const worker = new Worker();
    const { told } = worker.follow(await worker.enter('lma_a', 1, step(0)));
    await worker.enter('lma_b', 2, step(5));
    worker.tell(change(6, 2), { kind: 'ended', watch: 2 }, change(1));
    assert.deepEqual(told, ['1']);
  });

  it('may not watch what another source let in', () => {
    const worker = new Worker();
    assert.throws(() => worker.follow(admittedAs('lma_a', step(0))), /did not admit/);
  });
});

describe('keys that a worker holds', () => {
  it('are lost once each, and the others go on', async () => {
    const worker = new Worker();
    const { watch, told } = worker.follow(await worker.enter('lma_a', 1, step(0)));
    watch.hold(await worker.enter('lma_b', 1));
    worker.tell(lost('lma_a'), lost('lma_a'), change(1), lost('lma_b', MOVED));
    await nextTurn();
    assert.deepEqual(told, ['lost lma_a refused', '1', 'lost lma_b moved']);
  });

  it('are not lost by those who do not hold them, or have let go of them', async () => {
    const worker = new Worker();
    const { watch, told } = worker.follow(await worker.enter('lma_a', 1, step(0)));
    watch.hold(await worker.enter('lma_b', 1));
    watch.release('lma_b');
    worker.tell(lost('lma_b'), lost('lma_c'));
    await nextTurn();
    assert.deepEqual(told, []);
  });

  it('are lost also to a client that was still on its way in', async () => {
    const worker = new Worker();
    const admission = await worker.enter('lma_a', 1, step(0));
    worker.tell(lost('lma_a'), { kind: 'ended', watch: 1 });
    const { told } = worker.follow(admission);
    await nextTurn();
    assert.deepEqual(told, ['lost lma_a refused']);
  });

  it('come back with a new admission', async () => {
    const worker = new Worker();
    const { watch, told } = worker.follow(await worker.enter('lma_b', 1, step(0)));
    watch.hold(await worker.enter('lma_a', 1));
    worker.tell(lost('lma_a'));
    watch.hold(await worker.enter('lma_a', 1));
    await nextTurn();
    assert.deepEqual(told, ['lost lma_a refused']);
    worker.tell(lost('lma_a', MOVED));
    assert.deepEqual(told, ['lost lma_a refused', 'lost lma_a moved']);
  });

  it('are moved when they were let in to another watch of the run', async () => {
    const worker = new Worker();
    const { watch, told } = worker.follow(await worker.enter('lma_a', 1, step(0)));
    watch.hold(await worker.enter('lma_b', 2, step(0)));
    assert.deepEqual(told, [], 'told during the call');
    await nextTurn();
    assert.deepEqual(told, ['lost lma_b moved']);
  });
});

describe('a worker whose primary is gone', () => {
  it('has no question left open, and hears nothing any more', async () => {
    const worker = new Worker();
    const { told } = worker.follow(await worker.enter('lma_a', 1, step(0)));
    const asked = worker.ask('lma_b');
    worker.source.close();
    worker.source.close();
    const admission = await asked;
    assert.ok(admission.kind === 'refused', 'let in by nobody');
    assert.deepEqual([admission.refusal.code, admission.refusal.retryable],
      ['RESOURCE_UNAVAILABLE', true]);
    worker.tell(change(1), lost('lma_a'));
    await nextTurn();
    assert.deepEqual(told, []);
  });

  it('refuses who asks afterwards', async () => {
    const worker = new Worker();
    worker.source.close();
    assert.equal((await worker.ask()).kind, 'refused');
  });
});

describe('a primary that stands still', () => {
  it('is given up: who waits to join is refused, in a way that brings it back', async () => {
    const worker = new Worker();
    const asked = worker.ask();
    worker.clock.advance(ADMIT_TIMEOUT_MS - 1);
    assert.equal(await Promise.race([asked, nextTurn('waits')]), 'waits');
    worker.clock.advance(1);
    const admission = await asked;
    assert.ok(admission.kind === 'refused', admission.kind);
    assert.deepEqual([admission.refusal.status, admission.refusal.retryable], [503, true]);
  });

  it('that answers too late gets the place back, and its state is not lost', async () => {
    const worker = new Worker();
    const asked = worker.ask();
    worker.clock.advance(ADMIT_TIMEOUT_MS);
    await asked;
    const second = worker.ask('lma_b');
    worker.tell({ kind: 'admitted', n: 1, watch: 7, snapshot: step(1) });
    assert.deepEqual(worker.sent.at(-1), { kind: 'leave', n: 1 });
    worker.tell({ kind: 'admitted', n: 2, watch: 7 });
    assert.equal(admitted(await second).snapshot.id, step(1).id);
  });

  it('has no numbers to tell, nor has one that is gone', async () => {
    const worker = new Worker();
    const asked = [worker.source.stats(), worker.source.metrics()];
    worker.clock.advance(2_000);
    assert.deepEqual(await within(1_000, 'an end of waiting', Promise.all(asked)),
      [undefined, undefined]);
    const stats = worker.source.stats();
    worker.source.close();
    assert.equal(await within(1_000, 'an end of waiting', stats), undefined);
    assert.equal(await worker.source.metrics(), undefined);
  });
});
