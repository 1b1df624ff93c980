/**
 * Several answers to one key, in whatever order they come: of yes and no the one that was asked
 * for later counts, and of two states the newer one.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import type { Reading, Shown } from '../../src/source/answer.ts';
import { within } from '../support/wait.ts';
import { admitted, FRESH_MS, Lab } from './admission-lab.ts';
import { A, FOREIGN, no, reading, refusal, RUN, state, step } from './harness.ts';

const yes = (askedAt: number, of: Reading = step(1)): Shown =>
  ({ runId: RUN, key: A, reading: of, askedAt });

/** What `A` is told after these answers, said in this order: each its kind and when asked for. */
async function verdict(...said: readonly ['yes' | 'no', number][]): Promise<string> {
  const lab = new Lab();
  lab.clock.advance(100);
  lab.live = step(1).snapshot;
  for (const [kind, askedAt] of said) {
    if (kind === 'yes') lab.admissions.renew(yes(askedAt));
    else lab.admissions.deny(RUN, A, refusal('AUTH_INVALID_KEY'), askedAt);
  }
  return (await lab.remembered()).kind;
}

describe('of yes and no', () => {
  it('the one that was asked for later counts, whichever comes first', async () => {
    assert.equal(await verdict(['yes', 10], ['no', 20]), 'refused');
    assert.equal(await verdict(['no', 20], ['yes', 10]), 'refused');
    assert.equal(await verdict(['no', 10], ['yes', 20]), 'admitted');
    assert.equal(await verdict(['yes', 20], ['no', 10]), 'admitted');
  });

  it('asked for at the same moment the one that came later counts', async () => {
    assert.equal(await verdict(['yes', 10], ['no', 10]), 'refused');
    assert.equal(await verdict(['no', 10], ['yes', 10]), 'admitted');
  });

  it('the latest counts also where an older one of its kind came after it', async () => {
    assert.equal(await verdict(['yes', 30], ['yes', 10], ['no', 20]), 'admitted');
    assert.equal(await verdict(['no', 30], ['no', 10], ['yes', 20]), 'refused');
  });

  it('only the key\'s own count: what another key was shown is no yes', async () => {
    const lab = new Lab();
    lab.clock.advance(100);
    lab.admissions.renew(yes(10));
    lab.admissions.settle(yes(50, step(2)));
    lab.admissions.deny(RUN, A, refusal('FORBIDDEN'), 20);
    assert.equal((await lab.remembered()).kind, 'refused');
    assert.equal(lab.admissions.shownTo(RUN, A), undefined);
  });

  it('one never leaves the other behind', async () => {
    const lab = new Lab();
    lab.admissions.renew(yes(0));
    lab.admissions.deny(RUN, A, refusal('FORBIDDEN'), 1);
    assert.equal(lab.admissions.size.proofs, 1);
    lab.admissions.renew(yes(2));
    assert.equal(lab.admissions.size.proofs, 1);
    assert.deepEqual(await lab.remembered(), admitted(step(1)));
  });
});

describe('a client whose answer comes late', () => {
  it('is refused where its yes has lost against a no', async () => {
    const lab = new Lab();
    lab.live = step(1).snapshot;
    const join = lab.admissions.admit(RUN, A);
    lab.clock.advance(10);
    lab.admissions.deny(RUN, A, refusal('AUTH_INVALID_KEY', 'Revoked'), lab.clock.now());
    lab.clock.advance(10);
    await lab.fetch.last.answer(state(step(1)));
    assert.deepEqual(await within(1_000, 'the join', join),
      { kind: 'refused', refusal: refusal('AUTH_INVALID_KEY', 'Revoked') });
    assert.equal(lab.admissions.shownTo(RUN, A), undefined);
  });

  it('is admitted where the no was asked for before its yes', async () => {
    const lab = new Lab();
    lab.clock.advance(10);
    const join = lab.admissions.admit(RUN, A);
    lab.clock.advance(10);
    lab.admissions.deny(RUN, A, refusal('AUTH_INVALID_KEY'), 5);
    await lab.fetch.last.answer(state(step(1)));
    assert.deepEqual(await within(1_000, 'the join', join), admitted(step(1)));
    assert.deepEqual(await lab.remembered(), admitted(step(1)));
  });

  it('takes with a no nobody\'s yes that was asked for after it', async () => {
    const lab = new Lab();
    const join = lab.admissions.admit(RUN, A);
    lab.clock.advance(10);
    lab.admissions.renew(yes(10, step(2)));
    await lab.fetch.last.answer(no('FORBIDDEN'));
    await within(1_000, 'the join', join);
    assert.deepEqual(await lab.remembered(), admitted(step(2)));
  });
});

describe('of two states', () => {
  it('a key that left its poller is shown what that one knew, as fresh as it was', async () => {
    const lab = new Lab();
    await lab.asked(state(step(1)));
    lab.clock.advance(5_000);
    lab.admissions.settle(yes(4_000, step(3)));
    assert.deepEqual(await lab.remembered(), admitted(step(3)));
    lab.clock.advance(4_000 + FRESH_MS - 5_000 - 1);
    assert.deepEqual(await lab.remembered(), admitted(step(3)));
    lab.clock.advance(1);
    await lab.asked(state(step(4)));
  });

  it('one that others were shown makes the key\'s own yes no younger', async () => {
    const lab = new Lab();
    await lab.asked(state(step(1)));
    lab.clock.advance(59_000);
    lab.admissions.settle(yes(59_000, reading('completed')));
    lab.clock.advance(999);
    assert.deepEqual(await lab.remembered(), admitted(reading('completed')));
    lab.clock.advance(1);
    await lab.asked(no('FORBIDDEN'));
  });

  it('the newer one stays where the answer to an older question comes after it', async () => {
    const lab = new Lab();
    lab.admissions.renew(yes(0));
    lab.clock.advance(1_000);
    lab.admissions.settle(yes(900, step(3)));
    lab.admissions.renew(yes(800, step(2)));
    assert.deepEqual(await lab.remembered(), admitted(step(3)));
  });

  it('the key\'s own one stays where the other turns out to be of another run', async () => {
    const lab = new Lab();
    lab.admissions.renew(yes(0));
    lab.clock.advance(1_000);
    lab.admissions.settle(yes(900, step(3)));
    lab.admissions.renew(yes(800, step(2, FOREIGN)));
    assert.deepEqual(await lab.remembered(), admitted(step(2, FOREIGN)));
  });
});
