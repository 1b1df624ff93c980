/**
 * What is pushed, at the pollers: whose run it is, how it stands to the polls, and what is only a
 * hint. Signatures are in signing-keys.test.ts and, from end to end, among the integration tests.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';

import { Metrics } from '../../src/core/metrics.ts';
import { PushIntake } from '../../src/source/intake.ts';
import { MAPPING } from '../support/fake-source.ts';
import { A, B, C, FOREIGN, RUN, Witness, reading, step } from './harness.ts';
import { POLL_MS, SourceLab, bytes, says } from './source-lab.ts';

const NAMELESS = { createdAt: undefined };

class Lab extends SourceLab {
  readonly intake = new PushIntake({
    source: this.source, mapping: MAPPING, keys: undefined, metrics: new Metrics(),
  });

  async publish(body: Buffer): Promise<void> {
    assert.equal(await this.intake.publish(RUN, body), undefined);
  }
}

const steps = ({ snapshots }: Witness): unknown[] =>
  snapshots.map(({ data }) => (JSON.parse(data) as { step?: number }).step);

describe('a state that was pushed', () => {
  it('is told at once and puts the next poll off by an interval', async () => {
    const lab = new Lab();
    const { witness } = await lab.join(A, says('running'));
    lab.clock.advance(1_000);
    await lab.publish(step(1).body);
    assert.deepEqual(steps(witness), [1]);
    assert.equal(lab.clock.nextInMs, POLL_MS);
  });

  it('is not taken back by the answer to a poll that was sent before it, unless that is the end',
    async () => {
      const lab = new Lab();
      const { witness } = await lab.join(A, says('running'));
      lab.toPoll();
      lab.clock.advance(10);
      await lab.publish(step(2).body);
      await lab.last.answer(bytes(step(1).body));
      assert.deepEqual(steps(witness), [2]);
      lab.toPoll();
      await lab.publish(step(3).body);
      await lab.last.answer(says('completed'));
      assert.equal(witness.snapshots.at(-1)?.status, 'completed');
    });

  it('is nothing to a run that is over, or that nobody follows', async () => {
    const lab = new Lab();
    await lab.publish(step(1).body);
    const { witness } = await lab.join(A, says('running'));
    await lab.publish(reading('failed').body);
    await lab.publish(reading('completed').body);
    await lab.publish(step(2).body);
    assert.deepEqual(witness.snapshots.map(({ status }) => status), ['failed']);
    assert.equal(await lab.statusFor(A), 'failed', 'and it is remembered');
  });

  it('reaches the one run that it is of, where an id means several', async () => {
    const lab = new Lab();
    const ours = await lab.join(A, says('running'));
    const theirs = await lab.join(B, says('running', FOREIGN));
    await lab.publish(step(1, FOREIGN).body);
    assert.deepEqual([steps(ours.witness), steps(theirs.witness)], [[], [1]]);
    const before = lab.count;
    await lab.publish(step(2, NAMELESS).body);
    assert.deepEqual([steps(ours.witness), steps(theirs.witness)], [[], [1]]);
    lab.clock.advance(500);
    await turn();
    assert.equal(lab.count, before + 2, 'both are asked for instead');
  });

  it('that names no run is of the only one there is, whose keys stay together', async () => {
    const lab = new Lab();
    const { witness } = await lab.join(A, says('running'));
    lab.source.watch(await lab.admit(C, says('running')), witness);
    await lab.publish(step(1, NAMELESS).body);
    assert.deepEqual([steps(witness), witness.losses], [[1, 1], []], 'both watches');
    assert.deepEqual(lab.source.size.pollers, 1);
  });

  it('that names a run has one polled that upstream shows without a name', async () => {
    const lab = new Lab();
    const { witness } = await lab.join(A, says('running', NAMELESS));
    await lab.publish(step(1).body);
    assert.deepEqual(steps(witness), []);
    lab.clock.advance(500);
    assert.equal(lab.count, 2);
  });

  it('with a signature is only an end, and only of a run that is proved the same', async () => {
    const lab = new Lab();
    const { witness } = await lab.join(A, says('running'));
    lab.source.push(reading('completed', NAMELESS).snapshot, false);
    lab.source.push(reading('completed', FOREIGN).snapshot, false);
    assert.deepEqual(witness.snapshots, []);
    lab.source.push(reading('completed').snapshot, false);
    assert.deepEqual(witness.snapshots.map(({ status }) => status), ['completed']);
  });
});

describe('a poke', () => {
  it('is a poll now, twice a second at most, and in vain where nobody follows', async () => {
    const lab = new Lab();
    lab.intake.poke(RUN);
    await lab.join(A, says('running'));
    lab.clock.advance(600);
    for (let i = 0; i < 100; i++) lab.intake.poke(RUN);
    lab.clock.advance(1);
    assert.equal(lab.count, 2);
    await lab.last.answer(says('running'));
    for (let i = 0; i < 100; i++) lab.intake.poke(RUN);
    lab.clock.advance(498);
    assert.equal(lab.count, 2);
    lab.clock.advance(2);
    assert.equal(lab.count, 3);
  });
});

describe('a look', () => {
  it('is answered by a live poller for one interval after its state came', async () => {
    const lab = new Lab();
    await lab.join(A, says('running'));
    lab.toPoll();
    lab.clock.advance(300);
    await lab.last.answer(bytes(step(1).body));
    lab.clock.advance(POLL_MS - 301);
    const look = await lab.source.admit(RUN, A, 'look');
    assert.ok(look.kind === 'admitted' && look.snapshot.id === step(1).snapshot.id);
  });

  it('asks where that is older, once for all who look, and tells the poller', async () => {
    const lab = new Lab();
    const { witness } = await lab.join(A, says('running'));
    lab.toPoll();
    lab.clock.advance(POLL_MS); // its answer is late
    const looks = Array.from({ length: 20 }, () => lab.source.admit(RUN, A, 'look'));
    assert.equal(lab.count, 3);
    await lab.last.answer(bytes(step(4).body));
    for (const look of await Promise.all(looks)) {
      assert.ok(look.kind === 'admitted' && look.snapshot.id === step(4).snapshot.id);
    }
    assert.deepEqual(steps(witness), [4]);
  });

  it('without a poller asks when an interval is over, and not at all after the end', async () => {
    const lab = new Lab();
    await lab.admit(A, says('running'));
    lab.clock.advance(POLL_MS);
    const look = lab.source.admit(RUN, A, 'look');
    assert.equal(lab.count, 2);
    await lab.last.answer(says('completed'));
    assert.equal((await look).kind, 'admitted');
    lab.clock.advance(30_000);
    await lab.source.admit(RUN, A, 'look');
    assert.equal(lab.count, 2);
    assert.equal(lab.source.size.pollers, 0);
  });
});
