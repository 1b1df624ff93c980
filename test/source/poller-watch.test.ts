/**
 * A poller and those who watch it: who keeps it going, who hears what, and what happens when
 * they leave, or stop, in the middle of being told.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';

import { admittedAs } from '../support/fake-source.ts';
import { A, B, FOREIGN, no, reading, RUN, state, step, Witness } from './harness.ts';
import { Lab } from './poller-lab.ts';

const zero = step(0).snapshot;

describe('a poller is kept going by its keys', () => {
  it('and ends, without a timer, when the last is released', () => {
    const lab = new Lab({ keys: [A, B] });
    lab.watch.release('lma_a');
    assert.deepEqual([lab.ended, lab.clock.pending], [0, 1]);
    lab.watch.release('lma_b');
    assert.deepEqual([lab.ended, lab.clock.pending], [1, 0]);
    lab.watch.release('lma_b');
    lab.watch.stop();
    assert.equal(lab.ended, 1);
  });

  it('and ends, without a timer, when its only watch is stopped', () => {
    const lab = new Lab({ keys: [A, B] });
    lab.watch.stop();
    lab.watch.stop();
    assert.deepEqual([lab.ended, lab.clock.pending], [1, 0]);
  });

  it('and asks no more with one that was released', async () => {
    const lab = Lab.polling(A, B);
    lab.watch.release('lma_b');
    await lab.answer(state(step(1)), state(step(2)));
    assert.deepEqual(lab.fetch.keys, ['lma_a', 'lma_a', 'lma_a']);
  });

  it('held once, however often one watch holds it', () => {
    const lab = new Lab();
    lab.watch.hold(admittedAs('lma_a', zero));
    lab.watch.release('lma_a');
    assert.equal(lab.ended, 1);
  });

  it('of any watch: another one may hold what this one lets go', () => {
    for (const letGo of ['release', 'stop'] as const) {
      const lab = new Lab({ keys: [A, B] });
      const other = lab.poller.watch(admittedAs('lma_a', zero), new Witness());
      if (letGo === 'stop') lab.watch.stop();
      else for (const key of ['lma_a', 'lma_b']) lab.watch.release(key);
      assert.equal(lab.ended, 0);
      assert.deepEqual(lab.left.map(({ key }) => key.value), ['lma_b']);
      other.stop();
      assert.deepEqual([lab.ended, lab.clock.pending], [1, 0]);
    }
  });
});

describe('a key that leaves', () => {
  it('is handed back with the newest that its poller knows, whoever was shown it', async () => {
    const lab = Lab.polling(A, B);
    await lab.answer(state(step(1)), state(step(2)));
    lab.watch.release('lma_a');
    assert.deepEqual(lab.left,
      [{ runId: RUN, key: A, reading: step(2), askedAt: 3_500 }]);
    lab.watch.stop();
    assert.deepEqual(lab.left.slice(1),
      [{ runId: RUN, key: B, reading: step(2), askedAt: 3_500 }]);
  });

  it('because the run is over is handed back with the end, and every other too', async () => {
    const lab = Lab.polling(A, B);
    await lab.fetch.last.answer(state(reading('completed')));
    const shown = { runId: RUN, reading: reading('completed'), askedAt: 1_500 };
    assert.deepEqual(lab.left.map(({ key }) => key.value).sort(), ['lma_a', 'lma_b']);
    for (const { key, ...rest } of lab.left) assert.deepEqual(rest, shown, key.value);
    lab.watch.stop();
    assert.equal(lab.left.length, 2, 'only once');
  });

  it('is not handed back where another watch has it still, nor where it was lost', async () => {
    const lab = Lab.polling(A, B);
    const other = lab.poller.watch(admittedAs('lma_b', zero), new Witness());
    lab.watch.release('lma_b');
    await lab.fetch.last.answer(no('FORBIDDEN'));
    assert.deepEqual([lab.witness.lostKeys, lab.left], [['lma_a'], []]);
    other.stop();
    assert.deepEqual(lab.left.map(({ key }) => key.value), ['lma_b']);
  });
});

describe('those who watch', () => {
  it('are all told of a change, and of the end, once each', async () => {
    const lab = Lab.polling(A, B);
    const others = [new Witness(), new Witness()];
    for (const other of others) lab.poller.watch(admittedAs('lma_b', zero), other);
    await lab.answer(state(step(1)), state(reading('completed')));
    for (const witness of [lab.witness, ...others]) {
      assert.deepEqual(witness.snapshots.map(({ status }) => status), ['running', 'completed']);
    }
  });

  it('are told of a lost key only if they watch with it', async () => {
    const lab = Lab.polling(A, B);
    const [withA, withB] = [new Witness(), new Witness()];
    lab.poller.watch(admittedAs('lma_a', zero), withA);
    lab.poller.watch(admittedAs('lma_b', zero), withB);
    await lab.fetch.last.answer(no('FORBIDDEN'));
    assert.deepEqual([lab.witness.lostKeys, withA.lostKeys, withB.lostKeys],
      [['lma_a'], ['lma_a'], []]);
  });

  it('hear nothing of an answer that arrives after they have stopped', async () => {
    for (const late of [state(step(1)), state(reading('failed')), no('FORBIDDEN')]) {
      const lab = Lab.polling(A);
      lab.watch.stop();
      await lab.fetch.last.answer(late);
      assert.deepEqual([lab.witness.ids, lab.witness.losses], [[], []]);
      assert.deepEqual([lab.proved, lab.refused, lab.clock.pending], [[], [], 0]);
    }
  });

  it('hear of an answer to a key that was released meanwhile, if others go on', async () => {
    const lab = Lab.polling(A, B);
    lab.watch.release('lma_a');
    await lab.fetch.last.answer(state(step(1)));
    assert.deepEqual(lab.witness.ids, [step(1).snapshot.id]);
    assert.deepEqual(lab.left.map(({ key }) => key), [A]);
  });

  it('hear nothing when a key that they have released is refused', async () => {
    const lab = Lab.polling(A, B);
    lab.watch.release('lma_a');
    await lab.fetch.last.answer(no('FORBIDDEN'));
    assert.deepEqual([lab.witness.losses, lab.ended], [[], 0]);
  });
});

describe('a watch that joins with an older state', () => {
  it('is told the newest, and not during the call', async () => {
    const lab = Lab.polling(A);
    await lab.answer(state(step(1)));
    const late = new Witness();
    lab.poller.watch(admittedAs('lma_b', zero), late);
    assert.deepEqual(late.ids, []);
    await turn();
    assert.deepEqual(late.ids, [step(1).snapshot.id]);
  });

  it('is told what is newest then, and once', async () => {
    const lab = new Lab();
    lab.poller.take({ runId: RUN, key: A, reading: step(1), askedAt: 1 });
    const late = new Witness();
    lab.poller.watch(admittedAs('lma_b', zero), late).hold(admittedAs('lma_b', zero));
    await turn();
    assert.deepEqual(late.ids, [step(1).snapshot.id]);
  });

  it('is told once also where the run changes, or ends, before it could be told', async () => {
    for (const next of [step(2), reading('completed')]) {
      const lab = new Lab();
      lab.poller.take({ runId: RUN, key: A, reading: step(1), askedAt: 1 });
      const late = new Witness();
      lab.poller.watch(admittedAs('lma_b', zero), late);
      lab.poller.take({ runId: RUN, key: A, reading: next, askedAt: 2 });
      await turn();
      assert.deepEqual(late.ids, [next.snapshot.id]);
    }
  });

  it('does not make others hear again what they have heard', async () => {
    const lab = new Lab();
    lab.poller.take({ runId: RUN, key: A, reading: step(1), askedAt: 1 });
    assert.deepEqual(lab.witness.ids, [step(1).snapshot.id]);
    lab.watch.hold(admittedAs('lma_b', zero));
    await turn();
    assert.deepEqual(lab.witness.ids, [step(1).snapshot.id]);
  });

  it('is not told anything once it has gone, in whatever way', async () => {
    for (const leave of ['release', 'stop', 'close'] as const) {
      const lab = new Lab();
      lab.poller.take({ runId: RUN, key: A, reading: step(1), askedAt: 1 });
      const late = new Witness();
      const watch = lab.poller.watch(admittedAs('lma_b', zero), late);
      if (leave === 'release') watch.release('lma_b');
      else if (leave === 'stop') watch.stop();
      else lab.poller.close();
      await turn();
      assert.deepEqual(late.ids, [], leave);
    }
  });
});

describe('a key that was shown another run', () => {
  const foreign = admittedAs('lma_b', step(0, FOREIGN).snapshot);

  it('is not served, and is sent to be placed anew, not during the call', async () => {
    const lab = new Lab();
    assert.equal(lab.poller.serves(foreign.key, foreign.snapshot), false);
    lab.watch.hold(foreign);
    assert.deepEqual(lab.witness.losses, []);
    await turn();
    assert.deepEqual(lab.witness.losses, [{ key: 'lma_b', loss: { kind: 'moved' } }]);
    assert.deepEqual(lab.witness.ids, []);
    assert.equal(lab.poller.serves(foreign.key, foreign.snapshot), false);
  });

  it('is not told so if its watch has been stopped meanwhile', async () => {
    const lab = new Lab();
    const witness = new Witness();
    lab.poller.watch(foreign, witness).stop();
    await turn();
    assert.deepEqual([witness.losses, lab.ended], [[], 0]);
  });

  it('is not served either where the run does not say what it is', () => {
    const bare = step(0, { workflowId: undefined });
    const lab = new Lab();
    assert.equal(lab.poller.serves(B, bare.snapshot), false);
    lab.poller.take({ runId: RUN, key: A, reading: bare, askedAt: 1 });
    assert.equal(lab.poller.snapshot.identity, undefined);
    assert.equal(lab.poller.serves(B, bare.snapshot), false);
    assert.equal(lab.poller.serves(A, bare.snapshot), true, 'its own key');
  });
});

describe('stopping while being told', () => {
  for (const [what, answer] of [
    ['a change', state(step(1))], ['the end', state(reading('completed'))],
    ['the loss of its key', no('AUTH_INVALID_KEY')],
  ] as const) {
    it(`of ${what} ends the polls once and for all`, async () => {
      const lab = Lab.polling(A);
      lab.witness.then = () => lab.watch.stop();
      await lab.answer(answer);
      assert.equal(lab.witness.ids.length + lab.witness.losses.length, 1);
      assert.deepEqual([lab.ended, lab.clock.pending, lab.fetch.asked.length], [1, 0, 1]);
    });

    it(`of ${what} is heard by nobody who was stopped by another watcher`, async () => {
      const lab = Lab.polling(A);
      const other = new Witness();
      const watch = lab.poller.watch(admittedAs('lma_a', zero), other);
      lab.witness.then = () => watch.stop();
      await lab.answer(answer);
      assert.deepEqual([other.ids, other.losses], [[], []]);
    });
  }

  it('leaves the others what they came for', async () => {
    const lab = Lab.polling(A);
    const other = new Witness();
    lab.poller.watch(admittedAs('lma_b', zero), other);
    lab.witness.then = () => lab.watch.stop();
    await lab.answer(state(step(1)), state(step(2)));
    assert.deepEqual(other.ids, [step(1), step(2)].map(({ snapshot }) => snapshot.id));
    assert.deepEqual(lab.witness.ids, [step(1).snapshot.id]);
    assert.deepEqual(lab.fetch.keys, ['lma_a', 'lma_b', 'lma_b']);
  });
});

describe('an observer that throws', () => {
  const bang = new Error('bang');
  const throwing = (): Witness => {
    const witness = new Witness();
    witness.then = () => {
      throw bang;
    };
    return witness;
  };

  it('at a change is stopped and reported; the others and the polls go on', async () => {
    const lab = Lab.polling(A);
    const bad = throwing();
    lab.poller.watch(admittedAs('lma_b', zero), bad);
    const good = new Witness();
    lab.poller.watch(admittedAs('lma_c', zero), good);
    await lab.answer(state(step(1)), state(step(2)), state(step(3)));
    assert.deepEqual(lab.thrown, [bang]);
    assert.deepEqual(bad.ids, [step(1).snapshot.id]);
    for (const { ids } of [lab.witness, good]) {
      assert.deepEqual(ids, [step(1), step(2), step(3)].map(({ snapshot }) => snapshot.id));
    }
    assert.deepEqual(lab.fetch.keys, ['lma_a', 'lma_a', 'lma_c', 'lma_a']);
    assert.deepEqual(lab.left.map(({ key }) => key.value), ['lma_b']);
  });

  it('at the end keeps the end from nobody', async () => {
    const lab = Lab.polling(A);
    lab.witness.then = throwing().then;
    const good = new Witness();
    lab.poller.watch(admittedAs('lma_a', zero), good);
    await lab.fetch.last.answer(state(reading('completed')));
    assert.deepEqual(good.snapshots.map(({ status }) => status), ['completed']);
    assert.deepEqual([lab.thrown, lab.ended, lab.clock.pending], [[bang], 1, 0]);
  });

  it('at the loss of a key is stopped with its other keys; the next is asked', async () => {
    const lab = Lab.polling(A, B);
    lab.witness.then = throwing().then;
    const good = new Witness();
    lab.poller.watch(admittedAs('lma_a', zero), good).hold(admittedAs('lma_c', zero));
    await lab.answer(no('AUTH_INVALID_KEY'), state(step(1)));
    assert.deepEqual([lab.thrown, lab.witness.ids], [[bang], []]);
    assert.deepEqual([good.lostKeys, good.ids], [['lma_a'], [step(1).snapshot.id]]);
    assert.deepEqual(lab.fetch.keys, ['lma_a', 'lma_c', 'lma_c']);
  });

  it('after the call that it made is stopped and reported as well', async () => {
    const lab = new Lab();
    lab.poller.take({ runId: RUN, key: A, reading: step(1), askedAt: 1 });
    const [behind, moved] = [throwing(), throwing()];
    lab.poller.watch(admittedAs('lma_b', zero), behind);
    lab.poller.watch(admittedAs('lma_c', step(0, FOREIGN).snapshot), moved);
    await turn();
    assert.deepEqual([behind.ids.length, moved.losses.length], [1, 1]);
    assert.deepEqual(lab.thrown, [bang, bang]);
    lab.poller.take({ runId: RUN, key: A, reading: step(2), askedAt: 2 });
    assert.deepEqual([behind.ids.length, lab.witness.ids.length], [1, 2]);
  });

  it('and was the only one ends the polls', async () => {
    const lab = Lab.polling(A);
    lab.witness.then = throwing().then;
    await lab.answer(state(step(1)));
    assert.deepEqual([lab.thrown, lab.ended, lab.clock.pending], [[bang], 1, 0]);
    assert.equal(lab.fetch.asked.length, 1);
  });
});

describe('closing a poller', () => {
  it('ends it and tells nobody, also while a request is under way', async () => {
    for (const isPolling of [false, true]) {
      const lab = isPolling ? Lab.polling(A, B) : new Lab({ keys: [A, B] });
      lab.poller.close();
      lab.poller.close();
      assert.deepEqual([lab.ended, lab.clock.pending], [1, 0]);
      if (isPolling) await lab.fetch.last.answer(state(step(1)));
      lab.poller.take({ runId: RUN, key: A, reading: step(2), askedAt: 9_999 });
      assert.deepEqual([lab.witness.ids, lab.witness.losses], [[], []]);
      assert.equal(lab.clock.pending, 0);
    }
  });
});
