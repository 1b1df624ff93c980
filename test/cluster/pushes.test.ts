/** What comes unasked to a worker, and looks: as they reach the primary, through its channel. */

import assert from 'node:assert/strict';
import { it } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';

import { IpcSource } from '../../src/cluster/ipc-source.ts';
import type { FromPrimary, FromWorker } from '../../src/cluster/messages.ts';
import { Relay } from '../../src/cluster/relay.ts';
import { refuse } from '../../src/core/errors.ts';
import type { Refusal } from '../../src/core/errors.ts';
import type { Delivery, Intake } from '../../src/core/intake.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { apiKey, FakeSource, snapshotOf } from '../support/fake-source.ts';
import { within } from '../support/wait.ts';

const RUN = 'run_1';
const TIMEOUT_MS = 20_000;
/** Not UTF-8, and with all that JSON would escape. */
const BODY = Buffer.from([0xff, 0x00, 0x22, 0x5c, 0x0a, 0xc3, 0x28, 0x7b]);

class FakeIntake implements Intake {
  readonly taken: unknown[] = [];
  refusal: Refusal | undefined;

  poke(runId: string): void {
    this.taken.push(runId);
  }

  async publish(runId: string, body: Buffer): Promise<Refusal | undefined> {
    this.taken.push({ runId, body });
    return this.refusal;
  }

  async deliver({ runId, timestamp, signature, body }: Delivery): Promise<Refusal | undefined> {
    this.taken.push({ runId, timestamp, signature, body });
    return this.refusal;
  }

  close(): void {}
}

class Pair {
  readonly clock = new FakeClock();
  readonly intake = new FakeIntake();
  readonly upstream = new FakeSource();
  readonly sent: FromWorker[] = [];
  /** Messages that have left the worker's channel only when the test says so. */
  readonly leaving: (() => void)[] = [];
  isFull = false;
  isSilent = false;
  readonly source: IpcSource = new IpcSource({
    send: (message, onSent = () => undefined) => {
      this.sent.push(message);
      this.leaving.push(onSent);
      const copy = JSON.parse(JSON.stringify(message)) as FromWorker;
      if (!this.isSilent) setImmediate(() => void this.relay.onMessage(copy));
      return !this.isFull;
    },
    onMessage: () => undefined,
  }, this.clock, TIMEOUT_MS);
  readonly relay: Relay = new Relay({
    send: (message) => {
      const copy = JSON.parse(JSON.stringify(message)) as FromPrimary;
      setImmediate(() => this.source.onMessage(copy));
      return true;
    },
    onMessage: () => undefined,
  }, this.upstream, { stats: () => ({ streams: 0, runs: 0 }), metrics: () => '' }, this.intake);
}

it('a body arrives as it came, byte for byte, and the verdict comes back', async () => {
  const pair = new Pair();
  const delivery = { runId: RUN, timestamp: '1', signature: 'ab', body: BODY };
  const both = (): Promise<(Refusal | undefined)[]> => within(1_000, 'two verdicts',
    Promise.all([pair.source.publish(RUN, BODY), pair.source.deliver(delivery)]));
  assert.deepEqual(await both(), [undefined, undefined]);
  assert.deepEqual(pair.intake.taken, [{ runId: RUN, body: BODY }, delivery]);
  const refusal = refuse('SIGNATURE_INVALID');
  pair.intake.refusal = refusal;
  assert.deepEqual(await both(), [refusal, refusal]);
});

it('a primary that says nothing, or is gone, is no yes', async () => {
  const pair = new Pair();
  pair.isSilent = true;
  const late = pair.source.publish(RUN, BODY);
  pair.clock.advance(TIMEOUT_MS);
  assert.equal((await within(1_000, 'a verdict', late))?.code, 'RESOURCE_UNAVAILABLE');
  const cut = pair.source.publish(RUN, BODY);
  pair.source.close();
  assert.equal((await within(1_000, 'a verdict', cut))?.retryable, true);
  assert.equal((await pair.source.publish(RUN, BODY))?.retryable, true);
  pair.source.poke(RUN);
  assert.equal(pair.sent.length, 2);
});

it('pokes are dropped while the channel is full', async () => {
  const pair = new Pair();
  pair.source.poke('a');
  pair.isFull = true;
  for (const runId of ['b', 'c', 'd']) pair.source.poke(runId);
  pair.isFull = false;
  for (const left of pair.leaving) left();
  pair.source.poke('e');
  await nextTurn();
  assert.deepEqual(pair.intake.taken, ['a', 'b', 'e']);
});

it('a look is answered and leaves no watch behind', async () => {
  const pair = new Pair();
  pair.upstream.emit(snapshotOf(RUN, 'running'));
  const look = await within(1_000, 'a look', pair.source.admit(RUN, apiKey('lma_a'), 'look'));
  assert.ok(look.kind === 'admitted');
  assert.equal(look.snapshot.id, snapshotOf(RUN, 'running').id);
  look.leave?.();
  assert.equal(pair.upstream.watches.length, 0);
});
