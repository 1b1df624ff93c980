/**
 * Proofs, by themselves: what is asked for once, what is remembered and for how long. Which of
 * several answers to one key counts is in admission-order.test.ts.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import type { Reading, Shown } from '../../src/source/answer.ts';
import { apiKey } from '../support/fake-source.ts';
import { within } from '../support/wait.ts';
import { admitted, FRESH_MS, Lab } from './admission-lab.ts';
import { A, B, C, no, reading, refusal, RUN, state, step, trouble } from './harness.ts';

describe('a proof', () => {
  it('is what upstream showed to this very key', async () => {
    const lab = new Lab();
    assert.deepEqual(await lab.asked(state(step(1))), admitted(step(1)));
    assert.deepEqual([lab.fetch.last.runId, lab.fetch.last.key], [RUN, 'lma_a']);
    assert.equal(lab.fetch.last.known, undefined);
  });

  it('is asked for once however many wait: 300 joins with 3 keys are 3 requests', async () => {
    const lab = new Lab();
    const keys = [A, B, C];
    const joins = Array.from({ length: 300 }, (_, i) =>
      lab.admissions.admit(RUN, keys[i % 3] ?? A));
    assert.deepEqual(lab.fetch.keys, ['lma_a', 'lma_b', 'lma_c']);
    assert.deepEqual(lab.admissions.size, { pending: 3, proofs: 0 });
    const [one, two, three] = lab.fetch.asked;
    await two?.answer(state(step(2)));
    await three?.answer(no('FORBIDDEN'));
    await one?.answer(state(step(1)));
    const answers = await within(1_000, 'all joins', Promise.all(joins));
    for (const [i, answer] of answers.entries()) {
      const own = [admitted(step(1), A), admitted(step(2), B),
        { kind: 'refused', refusal: refusal('FORBIDDEN') }];
      assert.deepEqual(answer, own[i % 3]);
    }
    assert.deepEqual(lab.admissions.size, { pending: 0, proofs: 3 });
  });

  it('for one run says nothing of another', async () => {
    const lab = new Lab();
    await lab.asked(state(step(1)));
    await lab.asked(no('FORBIDDEN'), A, 'run_2');
    assert.equal((await lab.remembered()).kind, 'admitted');
  });

  it('of one key is never another\'s, however alike they are', async () => {
    const lab = new Lab();
    lab.live = step(1).snapshot;
    await lab.asked(state(step(1)));
    for (const value of ['lma_', 'lma_A', 'lma_aa', 'lma_b', `${RUN} lma_a`]) {
      assert.equal((await lab.asked(no('FORBIDDEN'), apiKey(value))).kind, 'refused', value);
    }
  });

  it('that fails leaves nothing behind, so that the next one asks again', async () => {
    const lab = new Lab();
    await lab.asked(trouble());
    assert.deepEqual(lab.admissions.size, { pending: 0, proofs: 0 });
    await lab.asked(state(step(1)));
  });
});

describe('a yes', () => {
  it('is reused while its state is younger than one interval', async () => {
    const lab = new Lab();
    await lab.asked(state(step(1)));
    lab.clock.advance(FRESH_MS - 1);
    assert.deepEqual(await lab.remembered(), admitted(step(1)));
    lab.clock.advance(1);
    assert.deepEqual(await lab.asked(state(step(2))), admitted(step(2)));
  });

  it('is as old as its question, not as its answer', async () => {
    const lab = new Lab();
    const join = lab.admissions.admit(RUN, A);
    lab.clock.advance(FRESH_MS - 1);
    await lab.fetch.last.answer(state(step(1)));
    await join;
    await lab.remembered();
    lab.clock.advance(1);
    await lab.asked(state(step(1)));
  });

  it('holds for 60 s from its question, however late its answer', async () => {
    const lab = new Lab();
    const join = lab.admissions.admit(RUN, A);
    lab.clock.advance(9_000);
    await lab.fetch.last.answer(state(step(1)));
    await join;
    lab.live = step(2).snapshot;
    lab.clock.advance(50_999);
    await lab.remembered();
    lab.clock.advance(1);
    await lab.asked(state(step(3)));
  });

  it('is reused for 60 s with what a live poller has, which is newer', async () => {
    const lab = new Lab();
    await lab.asked(state(step(1)));
    lab.live = step(7).snapshot;
    for (const ms of [1, 29_999, 29_999]) {
      lab.clock.advance(ms);
      assert.deepEqual(await lab.remembered(), admitted(step(7)));
    }
    lab.clock.advance(1);
    await lab.asked(state(step(8)));
  });

  it('is not reused once the poller that served it is gone', async () => {
    const lab = new Lab();
    await lab.asked(state(step(1)));
    lab.live = step(2).snapshot;
    lab.clock.advance(10_000);
    await lab.remembered();
    lab.live = undefined;
    await lab.asked(state(step(3)));
  });

  it('is reused for 60 s where the run is over', async () => {
    const lab = new Lab();
    await lab.asked(state(reading('completed')));
    lab.clock.advance(59_999);
    assert.deepEqual(await lab.remembered(), admitted(reading('completed')));
    lab.clock.advance(1);
    await lab.asked(state(reading('completed')));
  });

  it('is prolonged by every poll with that key', async () => {
    const lab = new Lab();
    await lab.asked(state(step(0)));
    lab.live = step(0).snapshot;
    for (let n = 1; n <= 4; n++) {
      lab.clock.advance(50_000);
      lab.admissions.renew({ runId: RUN, key: A, reading: step(n), askedAt: lab.clock.now() });
    }
    lab.clock.advance(59_999);
    await lab.remembered();
    lab.clock.advance(1);
    await lab.asked(state(step(9)));
  });

  it('hands on what it read, so that the same bytes need no reading again', async () => {
    const lab = new Lab();
    const first = step(1);
    await lab.asked(state(first));
    lab.clock.advance(FRESH_MS);
    await lab.asked(state(first));
    assert.equal(lab.fetch.last.known, first);
  });

  it('is given to a poller that serves the key, and then shown as that poller has it', async () => {
    const lab = new Lab();
    lab.clock.advance(5);
    const join = lab.admissions.admit(RUN, A);
    lab.clock.advance(100);
    lab.live = step(9).snapshot;
    const shown = step(8);
    await lab.fetch.last.answer(state(shown));
    assert.deepEqual(lab.fed, [{ runId: RUN, key: A, reading: shown, askedAt: 5 }]);
    assert.deepEqual(await join, admitted(step(9)));
  });
});

describe('a no', () => {
  it('is reused for 5 s', async () => {
    const lab = new Lab();
    const answer = { kind: 'refused', refusal: refusal('NOT_FOUND', 'No such run') };
    assert.deepEqual(await lab.asked(no('NOT_FOUND', 'No such run')), answer);
    lab.clock.advance(4_999);
    assert.deepEqual(await lab.remembered(), answer);
    lab.clock.advance(1);
    assert.deepEqual(await lab.asked(state(step(1))), admitted(step(1)));
  });

  it('stands though others are streaming the run', async () => {
    const lab = new Lab();
    lab.live = step(1).snapshot;
    await lab.asked(state(step(1)));
    await lab.asked(no('FORBIDDEN'), B);
    assert.equal((await lab.remembered(B)).kind, 'refused');
    assert.equal((await lab.remembered(A)).kind, 'admitted');
  });

  it('after a yes ends it, whether from a join or from a poll', async () => {
    for (const from of ['join', 'poll'] as const) {
      const lab = new Lab();
      await lab.asked(state(step(1)));
      lab.clock.advance(FRESH_MS);
      if (from === 'join') await lab.asked(no('AUTH_INVALID_KEY'));
      else lab.admissions.deny(RUN, A, refusal('AUTH_INVALID_KEY'), lab.clock.now());
      lab.live = step(2).snapshot;
      assert.deepEqual(await lab.remembered(),
        { kind: 'refused', refusal: refusal('AUTH_INVALID_KEY') });
      assert.equal(lab.admissions.shownTo(RUN, A), undefined);
      assert.equal(lab.admissions.size.proofs, 1);
    }
  });

  it('is not undone by a yes that was asked for before it', async () => {
    const lab = new Lab();
    lab.clock.advance(100);
    const late = { runId: RUN, key: A, reading: step(1), askedAt: lab.clock.now() };
    lab.clock.advance(50);
    await lab.asked(no('AUTH_INVALID_KEY'));
    lab.clock.advance(50);
    lab.admissions.renew(late);
    lab.live = step(1).snapshot;
    assert.equal((await lab.remembered()).kind, 'refused');
  });

  it('is not softened by the end of the run', async () => {
    const lab = new Lab();
    await lab.asked(no('FORBIDDEN'));
    lab.admissions.settle({ runId: RUN, key: A, reading: reading('completed'), askedAt: 1 });
    assert.equal((await lab.remembered()).kind, 'refused');
  });
});

describe('trouble', () => {
  it('is told to those who wait and never remembered', async () => {
    const lab = new Lab();
    const joins = [lab.admissions.admit(RUN, A), lab.admissions.admit(RUN, A)];
    await lab.fetch.last.answer(trouble(7_000));
    for (const join of joins) {
      const answer = await join;
      assert.equal(answer.kind, 'refused');
      assert.deepEqual([answer.refusal.code, answer.refusal.retryAfterMs],
        ['UPSTREAM_UNAVAILABLE', 7_000]);
    }
    await lab.asked(trouble());
    await lab.asked(state(step(1)));
  });

  it('takes no yes away: a live poller still serves the key', async () => {
    const lab = new Lab();
    await lab.asked(state(step(1)));
    lab.clock.advance(FRESH_MS);
    await lab.asked(trouble());
    lab.live = step(2).snapshot;
    assert.deepEqual(await lab.remembered(), admitted(step(2)));
  });
});

describe('the end of a run', () => {
  it('is shown without a request to keys whose yes still stands', async () => {
    const lab = new Lab();
    await lab.asked(state(step(1)));
    lab.clock.advance(30_000);
    lab.admissions.settle({ runId: RUN, key: A, reading: reading('failed'), askedAt: 29_000 });
    assert.deepEqual(await lab.remembered(), admitted(reading('failed')));
    lab.clock.advance(30_000);
    await lab.asked(state(reading('failed')));
  });

  it('is no proof for a key that had none', async () => {
    const lab = new Lab();
    await lab.asked(state(step(1)));
    lab.clock.advance(60_000);
    const end = { runId: RUN, reading: reading('completed'), askedAt: 60_000 };
    for (const key of [A, B]) lab.admissions.settle({ ...end, key });
    await lab.asked(no('FORBIDDEN'), A);
    await lab.asked(no('FORBIDDEN'), B);
  });
});

describe('what is remembered', () => {
  const MAX_YES = 50_000;
  const MAX_NO = 10_000;
  const shownTo = (key: string, of: Reading): Shown =>
    ({ runId: RUN, key: apiKey(key), reading: of, askedAt: 0 });
  const name = (i: number): string => `lma_${i}`;

  it('is at most 50,000 yeses; the oldest go first, a renewed one is young', () => {
    const lab = new Lab();
    const one = step(1);
    for (let i = 0; i < MAX_YES; i++) lab.admissions.renew(shownTo(name(i), one));
    assert.equal(lab.admissions.size.proofs, MAX_YES);
    lab.admissions.renew(shownTo(name(0), one));
    lab.admissions.renew(shownTo('lma_new', one));
    lab.admissions.renew(shownTo('lma_newer', one));
    assert.equal(lab.admissions.size.proofs, MAX_YES);
    const isKnown = (key: string): boolean =>
      lab.admissions.shownTo(RUN, apiKey(key)) !== undefined;
    assert.deepEqual([0, 1, 2, 3, MAX_YES - 1].map((i) => isKnown(name(i))),
      [true, false, false, true, true]);
    assert.deepEqual(['lma_new', 'lma_newer'].map(isKnown), [true, true]);
  });

  it('is at most 10,000 noes, which push out only each other: no invented key a yes', async () => {
    const lab = new Lab();
    await lab.asked(state(step(1)));
    for (let i = 0; i < 60_000; i++) {
      lab.admissions.deny(RUN, apiKey(name(i)), refusal('FORBIDDEN'), 0);
    }
    assert.equal(lab.admissions.size.proofs, 1 + MAX_NO);
    assert.deepEqual(await lab.remembered(), admitted(step(1)));
    for (const i of [50_000, 59_999]) {
      assert.equal((await lab.remembered(apiKey(name(i)))).kind, 'refused');
    }
    await lab.asked(no('FORBIDDEN'), apiKey(name(49_999)));
  });

  it('is no yes less for all the noes there may be', async () => {
    const lab = new Lab();
    const one = step(1);
    lab.admissions.deny(RUN, A, refusal('FORBIDDEN'), 0);
    for (let i = 0; i < MAX_YES; i++) lab.admissions.renew(shownTo(name(i), one));
    assert.equal(lab.admissions.size.proofs, MAX_YES + 1);
    assert.equal((await lab.remembered(A)).kind, 'refused');
    assert.equal((await lab.remembered(apiKey(name(0)))).kind, 'admitted');
  });

  it('is at most 64 MiB of states, two bytes a character', () => {
    const lab = new Lab();
    const { snapshot } = step(1);
    const data = 'x'.repeat(8 * 1024 * 1024);
    const large: Reading = { bodyDigest: undefined, snapshot: { ...snapshot, data } };
    for (const key of ['lma_1', 'lma_2', 'lma_3', 'lma_4']) {
      lab.admissions.renew(shownTo(key, large));
    }
    assert.equal(lab.admissions.size.proofs, 4);
    for (let i = 0; i < 10; i++) {
      lab.admissions.renew(shownTo('lma_4', large));
      lab.admissions.settle(shownTo('lma_4', large));
    }
    assert.equal(lab.admissions.size.proofs, 4, 'one that is renewed is not counted twice');
    lab.admissions.renew(shownTo('lma_5', large));
    assert.equal(lab.admissions.size.proofs, 4);
    assert.equal(lab.admissions.shownTo(RUN, apiKey('lma_1')), undefined);
    lab.admissions.renew(shownTo('lma_6', step(1)));
    assert.equal(lab.admissions.shownTo(RUN, apiKey('lma_2')), undefined);
    assert.equal(lab.admissions.size.proofs, 4);
  });

  it('is dropped when it has expired, as others of its kind come', async () => {
    const lab = new Lab();
    for (const key of [A, B, C]) await lab.asked(state(step(1)), key);
    for (const i of [1, 2]) await lab.asked(no('FORBIDDEN'), apiKey(name(i)));
    assert.equal(lab.admissions.size.proofs, 5);
    lab.clock.advance(60_000);
    await lab.asked(no('FORBIDDEN'), apiKey('lma_no'));
    assert.equal(lab.admissions.size.proofs, 4);
    await lab.asked(state(step(1)), apiKey('lma_yes'));
    assert.equal(lab.admissions.size.proofs, 2);
  });
});
