/**
 * One run's polling: when it asks, with which key, and what it makes of the answers. The clock
 * stands still until moved and every answer is given by hand, so each order of events is chosen.
 * What its watchers do in between is in poller-watch.test.ts.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import type { Reading } from '../../src/source/answer.ts';
import { apiKey } from '../support/fake-source.ts';
import {
  A, B, C, D, FOREIGN, no, reading, refusal, RUN, state, step, trouble,
} from './harness.ts';
import { Lab, POLL_MS } from './poller-lab.ts';

describe('the time of a poll', () => {
  it('is at first three quarters to one interval after the proof', () => {
    assert.equal(new Lab({ random: () => 0 }).clock.nextInMs, 1_500);
    assert.equal(new Lab({ random: () => 1 }).clock.nextInMs, 2_000);
    assert.equal(new Lab({ random: () => 0, askedAt: -1_200 }).clock.nextInMs, 300);
  });

  it('is at once where the proof is old', () => {
    for (const askedAt of [-1_500, -60_000, -Infinity]) {
      const { clock, fetch } = new Lab({ random: () => 0, askedAt });
      clock.advance(1);
      assert.deepEqual(fetch.keys, ['lma_a']);
    }
  });

  it('comes once per interval, from start to start', async () => {
    const lab = Lab.polling();
    for (const tookMs of [0, 1, 500, 1_000]) {
      lab.clock.advance(tookMs);
      await lab.fetch.last.answer(state(lab.shown));
      assert.equal(lab.clock.nextInMs, POLL_MS - tookMs);
      lab.clock.advance(POLL_MS - tookMs);
    }
    assert.deepEqual([lab.fetch.asked.length, lab.clock.now()], [5, 1_500 + 4 * POLL_MS]);
  });

  it('leaves upstream half an interval of rest when it is slow', async () => {
    for (const tookMs of [1_001, 1_999, 2_000, 9_999]) {
      const lab = Lab.polling();
      lab.clock.advance(tookMs);
      await lab.fetch.last.answer(state(lab.shown));
      assert.equal(lab.clock.nextInMs, POLL_MS / 2);
    }
  });

  it('does not come while another is under way, however long', async () => {
    const lab = Lab.polling();
    assert.equal(lab.clock.pending, 0);
    lab.clock.advance(3_600_000);
    assert.equal(lab.fetch.asked.length, 1);
  });

  it('goes round all keys, and says what is known', async () => {
    const lab = Lab.polling(A, B, C);
    let known: Reading = lab.shown;
    for (let n = 1; n <= 6; n++) {
      assert.equal(lab.fetch.last.known, known);
      assert.equal(lab.fetch.last.runId, RUN);
      if (n % 2) known = step(n);
      await lab.answer(state(known));
    }
    assert.deepEqual(lab.fetch.keys.join(' ').replaceAll('lma_', ''), 'a b c a b c a');
    assert.deepEqual(lab.proved.map(({ key }) => key.value).join(' ').replaceAll('lma_', ''),
      'a b c a b c');
  });

  it('is what the proof is dated with: the question, not the answer', async () => {
    const lab = Lab.polling();
    lab.clock.advance(700);
    await lab.fetch.last.answer(state(step(1)));
    assert.deepEqual(lab.proved.map(({ askedAt }) => askedAt), [1_500]);
  });
});

describe('an answer', () => {
  it('that differs is told once, one that does not is not told', async () => {
    const lab = Lab.polling();
    const [one, two] = [step(1), step(2)];
    for (const each of [one, one, step(1), two, two]) await lab.answer(state(each));
    assert.deepEqual(lab.witness.ids, [one.snapshot.id, two.snapshot.id]);
  });

  it('never replaces one that was asked for later', async () => {
    const lab = Lab.polling(A, B);
    lab.clock.advance(10);
    const newer = step(2);
    lab.poller.take({ runId: RUN, key: B, reading: newer, askedAt: lab.clock.now() });
    lab.clock.advance(10);
    await lab.fetch.last.answer(state(step(1)));
    assert.deepEqual(lab.witness.ids, [newer.snapshot.id]);
    assert.equal(lab.poller.snapshot, newer.snapshot);
  });

  it('that was asked for at the same moment counts: it came later', async () => {
    const lab = Lab.polling();
    lab.poller.take({ runId: RUN, key: A, reading: step(1), askedAt: lab.clock.now() });
    await lab.fetch.last.answer(state(step(2)));
    assert.equal(lab.poller.snapshot.id, step(2).snapshot.id);
  });

  it('that is an end is taken all the same, however old', async () => {
    const lab = Lab.polling();
    lab.clock.advance(10);
    lab.poller.take({ runId: RUN, key: A, reading: step(2), askedAt: lab.clock.now() });
    await lab.fetch.last.answer(state(reading('completed')));
    assert.equal(lab.poller.snapshot.terminal, 'complete');
    assert.deepEqual(lab.witness.snapshots.map(({ status }) => status), ['running', 'completed']);
  });

  it('that was taken in from elsewhere holds off nothing and asks for nothing', async () => {
    const lab = new Lab({ random: () => 0 });
    lab.clock.advance(1_000);
    lab.poller.take({ runId: RUN, key: A, reading: step(1), askedAt: 1_000 });
    assert.deepEqual([lab.clock.nextInMs, lab.fetch.asked.length], [500, 0]);
    assert.equal(lab.witness.ids.length, 1);
  });
});

describe('the end of a run', () => {
  for (const status of ['completed', 'failed', 'cancelled']) {
    it(`by ${status} is told once and ends the polls`, async () => {
      const lab = Lab.polling(A, B);
      await lab.fetch.last.answer(state(reading(status)));
      assert.deepEqual(lab.witness.snapshots.map((each) => each.status), [status]);
      assert.deepEqual([lab.ended, lab.clock.pending], [1, 0]);
      assert.deepEqual(lab.witness.losses, []);
    });
  }

  it('is the first one: what comes later is ignored', async () => {
    const lab = Lab.polling(A);
    await lab.fetch.last.answer(state(reading('completed')));
    const askedAt = lab.clock.now() + 5;
    for (const later of [reading('failed'), step(9), reading('completed')]) {
      lab.poller.take({ runId: RUN, key: A, reading: later, askedAt });
    }
    assert.equal(lab.poller.snapshot.status, 'completed');
    assert.deepEqual([lab.witness.ids.length, lab.ended], [1, 1]);
  });

  it('that comes while a request is under way makes its answer void', async () => {
    for (const late of [state(step(3)), state(reading('failed')), no('FORBIDDEN'), trouble()]) {
      const lab = Lab.polling();
      lab.poller.take({ runId: RUN, key: A, reading: reading('completed'), askedAt: 1_400 });
      await lab.fetch.last.answer(late);
      assert.deepEqual([lab.witness.ids.length, lab.witness.losses.length], [1, 0]);
      assert.deepEqual([lab.proved.length, lab.refused.length, lab.clock.pending], [0, 0, 0]);
    }
  });
});

describe('a key that upstream refuses', () => {
  for (const code of ['AUTH_INVALID_KEY', 'FORBIDDEN'] as const) {
    it(`with ${code} is lost alone, and the next one is asked at once`, async () => {
      const lab = Lab.polling(A, B, C);
      await lab.fetch.last.answer(no(code, 'Revoked on Monday'));
      const because = refusal(code, 'Revoked on Monday');
      assert.deepEqual(lab.witness.losses,
        [{ key: 'lma_a', loss: { kind: 'refused', refusal: because } }]);
      assert.deepEqual(lab.refused, [['lma_a', because, 1_500]]);
      lab.clock.advance(1);
      assert.deepEqual(lab.fetch.keys, ['lma_a', 'lma_b']);
      await lab.answer(state(step(1)), state(step(2)), state(step(3)));
      assert.deepEqual(lab.fetch.keys.slice(1), ['lma_b', 'lma_c', 'lma_b', 'lma_c']);
      assert.equal(lab.witness.ids.length, 3);
    });
  }

  it('makes the next one hurry once: if that is refused too, the interval holds', async () => {
    const lab = Lab.polling(A, B, C, D);
    await lab.answer(no('AUTH_INVALID_KEY'));
    assert.deepEqual([lab.fetch.keys, lab.clock.now()], [['lma_a', 'lma_b'], 1_501]);
    await lab.fetch.last.answer(no('FORBIDDEN'));
    assert.equal(lab.clock.nextInMs, POLL_MS);
    lab.clock.advance(POLL_MS);
    await lab.answer(no('FORBIDDEN'));
    assert.deepEqual([lab.fetch.keys.length, lab.clock.now()], [4, 3_502], 'and then anew');
  });

  it('is not asked for in one burst with all of a workspace that was closed', async () => {
    const keys = Array.from({ length: 20 }, (_, i) => apiKey(`lma_${i}`));
    const lab = Lab.polling(...keys);
    const askedAt: number[] = [];
    for (let n = 1; n <= keys.length; n++) {
      assert.equal(lab.fetch.asked.length, n);
      askedAt.push(lab.clock.now());
      await lab.answer(no('AUTH_INVALID_KEY'));
    }
    assert.deepEqual(lab.witness.lostKeys, keys.map(({ value }) => value));
    assert.deepEqual([lab.ended, lab.clock.pending], [1, 0]);
    for (const from of askedAt) {
      const soon = askedAt.filter((at) => at >= from && at < from + POLL_MS);
      assert.ok(soon.length <= 2, `${soon.length} requests in the interval from ${from} ms on`);
    }
  });

  it('ends the polls if it was the last', async () => {
    const lab = Lab.polling(A);
    await lab.fetch.last.answer(no('AUTH_INVALID_KEY'));
    assert.deepEqual([lab.witness.lostKeys, lab.ended, lab.clock.pending], [['lma_a'], 1, 0]);
  });
});

describe('a run that upstream does not find', () => {
  const missing = no('NOT_FOUND', 'No such run');

  it('is lost to its one key after three polls, in upstream\'s words', async () => {
    const lab = Lab.polling(A);
    await lab.answer(missing, missing);
    assert.deepEqual(lab.witness.lostKeys, []);
    await lab.fetch.last.answer(missing);
    assert.deepEqual(lab.witness.losses,
      [{ key: 'lma_a', loss: { kind: 'refused', refusal: refusal('NOT_FOUND', 'No such run') } }]);
    assert.deepEqual([lab.ended, lab.clock.pending, lab.fetch.asked.length], [1, 0, 3]);
  });

  it('is asked for again only after an interval', async () => {
    const lab = Lab.polling(A, B);
    await lab.fetch.last.answer(missing);
    assert.equal(lab.clock.nextInMs, POLL_MS);
  });

  it('by one key among several is lost to that key after three of its own polls', async () => {
    const lab = Lab.polling(A, B);
    await lab.answer(missing, state(step(1)), missing, state(step(2)));
    assert.deepEqual(lab.witness.losses, []);
    await lab.answer(missing, state(step(3)), state(step(4)));
    assert.deepEqual(lab.witness.lostKeys, ['lma_a']);
    assert.deepEqual(lab.fetch.keys.slice(5), ['lma_b', 'lma_b', 'lma_b']);
    assert.equal(lab.witness.ids.length, 4);
  });

  it('by all keys in turn is gone for all after three polls', async () => {
    const lab = Lab.polling(A, B, C);
    await lab.answer(missing, missing);
    assert.deepEqual(lab.witness.lostKeys, []);
    await lab.fetch.last.answer(missing);
    assert.deepEqual(lab.witness.lostKeys.sort(), ['lma_a', 'lma_b', 'lma_c']);
    for (const { loss } of lab.witness.losses) {
      assert.equal(loss.kind === 'refused' && loss.refusal.code, 'NOT_FOUND');
    }
    assert.deepEqual(lab.refused.map(([key]) => key).sort(), ['lma_a', 'lma_b', 'lma_c']);
    assert.deepEqual([lab.ended, lab.clock.pending, lab.fetch.asked.length], [1, 0, 3]);
  });

  it('by three keys in a row is lost to those three; a fourth is asked at once', async () => {
    const lab = Lab.polling(A, B, C, D);
    await lab.answer(missing, missing);
    const thirdAt = lab.clock.now();
    await lab.fetch.last.answer(missing);
    assert.deepEqual(lab.witness.lostKeys.sort(), ['lma_a', 'lma_b', 'lma_c']);
    assert.deepEqual([lab.clock.nextInMs, lab.ended], [1, 0]);
    lab.clock.advance(1);
    assert.equal(lab.fetch.last.key, 'lma_d');
    await lab.answer(state(step(1)));
    assert.equal(lab.clock.now(), thirdAt + 1 + POLL_MS);
    assert.deepEqual(lab.witness.ids, [step(1).snapshot.id]);
    assert.deepEqual(lab.witness.lostKeys.length, 3, 'the fourth is not refused for them');
    assert.deepEqual(lab.refused.map(([key, , askedAt]) => [key, askedAt]).sort(),
      ['lma_a', 'lma_b', 'lma_c'].map((key) => [key, thirdAt]));
  });

  it('by three keys in a row is lost to the fourth by its own 404, the fifth waits', async () => {
    const lab = Lab.polling(A, B, C, D, apiKey('lma_e'));
    await lab.answer(missing, missing, missing);
    await lab.fetch.last.answer(missing);
    assert.deepEqual(lab.witness.lostKeys.sort(), ['lma_a', 'lma_b', 'lma_c', 'lma_d']);
    assert.deepEqual([lab.clock.nextInMs, lab.ended], [POLL_MS, 0]);
  });

  it('and then finds again is counted anew', async () => {
    const lab = Lab.polling(A);
    await lab.answer(missing, missing, state(step(1)), missing, missing, trouble());
    assert.deepEqual(lab.witness.losses, []);
    await lab.fetch.last.answer(missing);
    assert.deepEqual(lab.witness.lostKeys, ['lma_a']);
  });
});

describe('a run that turned into another one', () => {
  it('is simply its new state, for a single key', async () => {
    const lab = Lab.polling(A);
    const other = step(1, FOREIGN);
    await lab.answer(state(other));
    assert.deepEqual(lab.witness.ids, [other.snapshot.id]);
    assert.deepEqual(lab.witness.losses, []);
  });

  it('for one key among several is not shown to the others, and that key is moved', async () => {
    const lab = Lab.polling(A, B);
    await lab.answer(state(step(1, FOREIGN)));
    assert.deepEqual(lab.witness.losses, [{ key: 'lma_a', loss: { kind: 'moved' } }]);
    assert.deepEqual(lab.witness.ids, []);
    assert.deepEqual(lab.refused, []);
    await lab.answer(state(step(2)), state(step(3)));
    assert.deepEqual(lab.fetch.keys, ['lma_a', 'lma_b', 'lma_b', 'lma_b']);
    assert.equal(lab.witness.ids.length, 2);
  });

  it('is not shown to others by a key that left while it was asked with', async () => {
    const lab = Lab.polling(A, B);
    lab.watch.release('lma_a');
    await lab.answer(state(reading('completed', FOREIGN)), state(step(1)));
    assert.deepEqual(lab.witness.ids, [step(1).snapshot.id]);
    assert.deepEqual(lab.witness.lostKeys, []);
  });

  it('with an end is not the end of the others', async () => {
    const lab = Lab.polling(A, B);
    await lab.answer(state(reading('completed', FOREIGN)));
    assert.deepEqual([lab.witness.lostKeys, lab.witness.ids, lab.ended], [['lma_a'], [], 0]);
  });
});

describe('trouble', () => {
  const delaysOf = async (random: () => number, count: number): Promise<number[]> => {
    const lab = Lab.polling(A);
    lab.random = random;
    const delays: number[] = [];
    for (let i = 0; i < count; i++) {
      await lab.fetch.last.answer(trouble());
      delays.push(lab.clock.nextInMs ?? NaN);
      lab.clock.advance(lab.clock.nextInMs ?? NaN);
    }
    return delays;
  };

  it('backs off with full jitter, from 2 s doubling to 30 s', async () => {
    const most = await delaysOf(() => 1, 8);
    assert.deepEqual(most, [2, 4, 8, 16, 30, 30, 30, 30].map((s) => s * 1_000));
    const half = await delaysOf(() => 0.5, 6);
    assert.deepEqual(half, [2, 2, 4, 8, 15, 15].map((s) => s * 1_000));
    const least = await delaysOf(() => 0, 6);
    assert.deepEqual(least, [2, 2, 2, 2, 2, 2].map((s) => s * 1_000), 'never below the interval');
  });

  it('is waited out as long as Retry-After says, with up to a tenth on top', async () => {
    for (const [retryAfterMs, random, expected] of [
      [7_000, 0, 7_000], [7_000, 1, 7_700], [60_000, 1, 62_000], [3_600_000, 0, 3_600_000],
    ] as const) {
      const lab = Lab.polling(A);
      lab.random = () => random;
      await lab.fetch.last.answer(trouble(retryAfterMs));
      assert.equal(lab.clock.nextInMs, expected);
    }
  });

  it('is over with the first answer, and starts from 2 s the next time', async () => {
    const lab = Lab.polling(A);
    lab.random = () => 1;
    await lab.answer(trouble(), trouble(), trouble(), state(step(1)));
    await lab.fetch.last.answer(trouble());
    assert.equal(lab.clock.nextInMs, 2_000);
  });

  it('is over with a state from elsewhere: the next poll is one interval away', async () => {
    const lab = Lab.polling(A, B);
    lab.random = () => 1;
    await lab.answer(trouble(), trouble(), trouble());
    await lab.fetch.last.answer(trouble(3_600_000));
    assert.equal(lab.clock.nextInMs, 3_602_000);
    lab.clock.advance(700);
    lab.poller.take({ runId: RUN, key: B, reading: lab.shown, askedAt: lab.clock.now() });
    assert.deepEqual([lab.clock.nextInMs, lab.clock.pending], [POLL_MS, 1]);
    lab.clock.advance(POLL_MS);
    assert.equal(lab.fetch.asked.length, 5);
    await lab.fetch.last.answer(trouble());
    assert.equal(lab.clock.nextInMs, 2_000, 'and counts from the beginning');
  });

  it('is not over with a state that is older than it, nor with another run', async () => {
    const lab = Lab.polling(A, B);
    lab.random = () => 1;
    await lab.answer(state(step(1)));
    await lab.fetch.last.answer(trouble(60_000));
    lab.poller.take({ runId: RUN, key: B, reading: step(0), askedAt: 1_000 });
    const askedAt = lab.clock.now();
    lab.poller.take({ runId: RUN, key: B, reading: step(2, FOREIGN), askedAt });
    assert.deepEqual([lab.clock.nextInMs, lab.witness.lostKeys], [62_000, ['lma_b']]);
  });

  it('is never told, and costs no key its place', async () => {
    const lab = Lab.polling(A, B);
    await lab.answer(...Array.from({ length: 20 }, () => trouble()), state(step(1)));
    assert.deepEqual([lab.witness.losses, lab.witness.ids], [[], [step(1).snapshot.id]]);
    assert.deepEqual(lab.refused, []);
    assert.equal(new Set(lab.fetch.keys).size, 2);
  });
});
