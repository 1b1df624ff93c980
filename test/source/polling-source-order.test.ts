/**
 * What polls and proofs tell each other, in chosen orders: the first end of a run, the newest
 * state of a key that comes and goes, the later of yes and no; and what is left after a close.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';

import { A, B, C, FOREIGN, RUN, Witness } from './harness.ts';
import { bytes, POLL_MS, refuses, says, SourceLab } from './source-lab.ts';

const statuses = ({ snapshots }: Witness): string[] => snapshots.map(({ status }) => status);
const at = (n: number) => says('running', { step: n });
const BARE = { workflowId: undefined };

describe('the first end of a run', () => {
  it('stays for another key, and after the poller has ended, whatever upstream says', async () => {
    const lab = new SourceLab();
    await lab.join(A, says('running'));
    await lab.poll(says('completed'));
    assert.deepEqual([lab.source.size.pollers, lab.clock.pending], [0, 0]);
    assert.equal(await lab.statusFor(B, says('running')), 'completed');
    assert.equal(await lab.statusFor(C, says('failed')), 'completed');
    lab.clock.advance(60_000);
    assert.equal(await lab.statusFor(A, says('running', { step: 9 })), 'completed');
  });

  it('stays for a key that has seen it only in a proof', async () => {
    const lab = new SourceLab();
    assert.equal(await lab.statusFor(A, says('failed')), 'failed');
    assert.equal(await lab.statusFor(B, says('completed')), 'failed');
  });

  it('reaches those who watch with another key by a proof, and there it stays', async () => {
    const lab = new SourceLab();
    const { witness } = await lab.join(A, says('running'));
    assert.equal(await lab.statusFor(B, says('completed')), 'completed');
    assert.deepEqual(statuses(witness), ['completed']);
    assert.equal(await lab.statusFor(A), 'completed');
  });

  it('is not shown to one who may not see the run any more', async () => {
    const lab = new SourceLab();
    await lab.admit(A, says('completed'));
    assert.equal((await lab.admission(B, refuses(403))).kind, 'refused');
    lab.clock.advance(60_000);
    assert.equal((await lab.admission(A, refuses(404))).kind, 'refused');
  });

  it('is not that of another run under the same id', async () => {
    const lab = new SourceLab();
    await lab.admit(A, says('completed'));
    assert.equal(await lab.statusFor(B, says('running', FOREIGN)), 'running');
    assert.equal(await lab.statusFor(B, says('failed', FOREIGN), 'run_2'), 'failed');
  });

  it('is kept for each key by itself where the run does not say what it is', async () => {
    const lab = new SourceLab();
    await lab.admit(A, says('completed', BARE));
    assert.equal(await lab.statusFor(B, says('running', BARE)), 'running');
    assert.equal(await lab.statusFor(A, says('running', BARE), 'run_2'), 'running');
    lab.clock.advance(60_000);
    assert.equal(await lab.statusFor(A, says('running', BARE)), 'completed');
  });

  it('is remembered for ten minutes', async () => {
    const lab = new SourceLab();
    await lab.admit(A, says('completed'));
    lab.clock.advance(599_999);
    assert.equal(await lab.statusFor(B, says('running')), 'completed');
    lab.clock.advance(1);
    assert.equal(await lab.statusFor(C, says('running')), 'running');
  });
});

describe('a key that leaves its poller', () => {
  it('comes back within an interval without a request, to what others were shown', async () => {
    const lab = new SourceLab();
    const joined = [await lab.join(A, at(0)), await lab.join(B, at(0)), await lab.join(C, at(0))];
    await lab.poll(at(1), at(2), at(3));
    const { id } = joined[0]?.witness.snapshots.at(-1) ?? assert.fail('nothing was told');
    for (const { watch } of joined) watch.stop();
    assert.equal(lab.source.size.pollers, 0);
    lab.clock.advance(POLL_MS - 1);
    for (const key of [A, B, C]) assert.equal((await lab.admit(key)).snapshot.id, id);
    lab.clock.advance(1);
    await lab.admit(B, at(4));
  });

  it('while it is asked with is not shown an older state than its poller knew', async () => {
    const lab = new SourceLab();
    const [a, b] = [await lab.join(A, at(0)), await lab.join(B, at(0))];
    lab.toPoll();
    const slow = lab.last;
    assert.equal(slow.key, 'lma_a');
    lab.clock.advance(100);
    const third = await lab.join(C, at(2));
    const newest = (await lab.admit(C)).snapshot.id;
    assert.deepEqual(a.witness.ids, [newest]);
    a.watch.stop();
    await slow.answer(at(1));
    for (const { watch } of [b, third]) watch.stop();
    assert.equal((await lab.admit(A)).snapshot.id, newest);
  });
});

describe('a proof in an outage', () => {
  it('ends the backoff of those who watch', async () => {
    const lab = new SourceLab();
    const { witness } = await lab.join(A, at(0));
    lab.toPoll();
    await lab.last.answer({ kind: 'answer', status: 503, body: Buffer.alloc(0),
      headers: { 'retry-after': '600' } });
    assert.equal(lab.clock.nextInMs, 600_000);
    lab.clock.advance(5_000);
    await lab.admit(B, at(1));
    assert.deepEqual([witness.ids.length, lab.clock.nextInMs], [1, POLL_MS]);
  });
});

describe('a no to a poll', () => {
  it('is the later one: the client whose yes comes after it is refused', async () => {
    const lab = new SourceLab();
    const a = await lab.join(A, at(0));
    await lab.join(B, at(0));
    await lab.poll(at(1), at(2));
    // A's yes is forgotten while it still watches, so that a newcomer asks.
    lab.toPoll();
    lab.clock.advance(60_000);
    const newcomer = lab.source.admit(RUN, A);
    const proof = lab.last;
    assert.deepEqual([proof.key, lab.count], ['lma_a', 6]);
    await lab.upstream.asked[4]?.answer(at(3));
    await lab.poll(at(4), refuses(401));
    assert.deepEqual(a.witness.lostKeys, ['lma_a']);
    await proof.answer(at(3));
    assert.equal((await newcomer).kind, 'refused');
    assert.equal((await lab.admission(A)).kind, 'refused');
  });

  it('that was asked for before a yes costs the key nothing', async () => {
    const lab = new SourceLab();
    const a = await lab.join(A, at(0));
    await lab.join(B, at(0));
    lab.toPoll();
    const slow = lab.last;
    assert.equal(slow.key, 'lma_a');
    lab.clock.advance(60_000);
    await lab.admit(A, at(1));
    await slow.answer(refuses(401));
    assert.equal((await lab.admission(A)).kind, 'admitted');
    assert.deepEqual(a.witness.losses, []);
  });
});

describe('an empty answer', () => {
  it('is trouble also where the proof has been dropped before the watch', async () => {
    const lab = new SourceLab();
    const admitted = await lab.admit(A, says('queued'));
    lab.clock.advance(60_000);
    const witness = new Witness();
    lab.source.watch(admitted, witness);
    await lab.poll(bytes(''));
    assert.deepEqual(lab.log.map(({ level }) => level), ['warn']);
    assert.equal((await lab.admission(A, bytes(''))).kind, 'refused', 'it was no proof');
    await lab.poll(says('queued'));
    assert.deepEqual(witness.snapshots, []);
    await lab.poll(says('running'));
    assert.deepEqual(statuses(witness), ['running']);
  });
});

describe('trouble', () => {
  it('is logged once a minute while it lasts, with how many requests met it', async () => {
    const lab = new SourceLab();
    await lab.join(A, says('running'));
    for (let i = 0; i < 30; i++) await lab.poll(refuses(503));
    assert.deepEqual(lab.log.map(({ level, requests }) => [level, requests]), [['warn', 1]]);
    await lab.poll(refuses(503));
    assert.deepEqual(lab.log.map(({ level, requests }) => [level, requests]),
      [['warn', 1], ['warn', 30]]);
    await lab.poll(says('running', { step: 2 }));
    await lab.poll(refuses(503));
    assert.equal(lab.log.length, 2, 'neither its end nor its return within the minute');
  });

  it('by our own close is not logged', async () => {
    const lab = new SourceLab();
    const joining = lab.source.admit(RUN, A);
    lab.source.close();
    await lab.last.answer({ kind: 'broken', why: 'closed' });
    assert.equal((await joining).kind, 'refused');
    assert.deepEqual(lab.log, []);
  });
});

describe('an observer that throws', () => {
  it('is logged once, loses its watch, and takes nothing from the others', async () => {
    const lab = new SourceLab();
    const [bad, good] = [await lab.join(A, at(0)), await lab.join(B, at(0))];
    bad.witness.then = () => {
      throw new Error('bang');
    };
    await lab.poll(at(1), at(2), at(3));
    assert.deepEqual(lab.log.map(({ level, error }) => [level, error]),
      [['error', 'Error: bang']]);
    assert.deepEqual([bad.witness.ids.length, good.witness.ids.length], [1, 3]);
    assert.deepEqual(lab.upstream.asked.slice(3).map(({ key }) => key), ['lma_b', 'lma_b']);
    good.watch.stop();
    assert.deepEqual([lab.source.size.pollers, lab.clock.pending], [0, 0]);
  });
});

describe('a watch after the close', () => {
  it('starts no timer and no poller, and hears nothing', async () => {
    const lab = new SourceLab();
    const old = await lab.admit(A, says('queued'));
    const other = await lab.join(B, says('running'));
    lab.source.close();
    const witnesses = [new Witness(), new Witness()];
    for (const witness of witnesses) {
      const watch = lab.source.watch(old, witness);
      watch.hold(old);
      assert.deepEqual([lab.source.size.pollers, lab.clock.pending], [0, 0]);
    }
    await turn();
    lab.clock.advance(3_600_000);
    assert.equal(lab.count, 2);
    for (const { snapshots, losses } of [...witnesses, other.witness]) {
      assert.deepEqual([snapshots, losses], [[], []]);
    }
    assert.deepEqual(lab.source.size.pollers, 0);
  });
});
