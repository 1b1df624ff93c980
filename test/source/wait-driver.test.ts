import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import type { ApiKey } from '../../src/core/run-source.ts';
import { WaitDriver } from '../../src/source/wait-driver.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { randomFrom } from '../support/random.ts';
import { A, B, RUN } from './harness.ts';
import { QuotaLab, QuotaUpstream } from './quota-upstream.ts';
import { refuses, says, SourceLab } from './source-lab.ts';

const RATE = { requests: 100, perMs: 60_000 };

function lab(rate = RATE, hasWait = true): [QuotaLab, QuotaUpstream, FakeClock] {
  const clock = new FakeClock();
  const upstream = new QuotaUpstream(clock, rate, hasWait);
  const of = new QuotaLab(clock, upstream, rate, (options) => new WaitDriver(options));
  return [of, upstream, clock];
}

describe('waiting on upstream', () => {
  it('follows 60 runs in 100 requests a minute: no 429, each end within 2 s', async () => {
    const seed = Math.floor(Math.random() * 2 ** 32);
    const random = randomFrom(seed);
    const [of, upstream, clock] = lab();
    const runIds = Array.from({ length: 60 }, (_, i) => `run-${i}`);
    const joined = Promise.all(runIds.map((runId) => of.join(runId)));
    // In the first minute 60 proofs leave no room for 60 waits: only 40 of them begin.
    for (const runId of runIds) upstream.endsAt.set(runId, 75_000 + random() * 525_000);
    await of.advance(620_000);
    assert.deepEqual(new Set(await joined), new Set([true]));
    assert.equal(upstream.limited, 0, `seed ${seed}`);
    for (const runId of runIds) {
      const late = (of.toldAt.get(runId) ?? Infinity) - (upstream.endsAt.get(runId) ?? 0);
      assert.ok(late <= 2_000, `${runId} told after ${late} ms, seed ${seed}`);
    }
    of.source.close();
    assert.equal(clock.pending, 0);
  });

  it('keeps to the budget while runs come and go, and tells every end', async () => {
    const seed = Math.floor(Math.random() * 2 ** 32);
    const random = randomFrom(seed);
    const [of, upstream] = lab();
    let refused = 0;
    const runIds = Array.from({ length: 120 }, (_, i) => `run-${i}`);
    for (const runId of runIds) {
      upstream.endsAt.set(runId, 600_000 + random() * 600_000);
      void of.join(runId).then((isIn) => (refused += isIn ? 0 : 1));
      await of.advance(6_000 * random());
    }
    await of.advance(2_400_000);
    assert.equal(upstream.limited, 0, `seed ${seed}`);
    assert.equal(of.toldAt.size + refused, 120, `seed ${seed}`);
    assert.ok(refused < 12, `${refused} refused, seed ${seed}`);
    of.source.close();
  });

  it('waits for as short as the budget affords: a second for one run, 40 for sixty', async () => {
    const [of, upstream] = lab();
    await Promise.all([of.join('one'), of.advance(100)]);
    await of.advance(60_000);
    const { length } = upstream.sentAt;
    assert.ok(length >= 50 && length <= 90, `${length} in a minute`);
    of.source.close();
  });

  it('polls where upstream has no such route, and asks for it again later', async () => {
    const [of, upstream] = lab({ requests: 10_000, perMs: 60_000 }, false);
    upstream.endsAt.set('one', 60_000);
    await Promise.all([of.join('one'), of.advance(100)]);
    await of.advance(70_000);
    const late = (of.toldAt.get('one') ?? Infinity) - 60_000;
    assert.ok(late <= 2_100, `${late} ms`);
    assert.ok(upstream.sentAt.length < 45, `${upstream.sentAt.length} requests`);
    of.source.close();
  });
});

/** A wait that is held, and half a second later a newcomer's proof, neither of them answered. */
async function slowProof() {
  const lab = new SourceLab({ driver: (options) => new WaitDriver(options) });
  const { witness } = await lab.join(A, step(0));
  lab.toPoll();
  const wait = lab.last;
  lab.clock.advance(500);
  const admission = lab.source.admit(RUN, B);
  return { lab, witness, wait, admission, proof: lab.last };
}

describe('a wait that upstream held back', () => {
  it('says how the run was when its time was up, not when it was asked', async () => {
    const { lab, witness, wait, admission, proof } = await slowProof();
    assert.notEqual(proof, wait);
    lab.clock.advance(1_600);
    await wait.answer(step(2));
    await proof.answer(step(1));
    await admission;
    assert.deepEqual(witness.snapshots.map(({ data }) => /"step":(\d)/.exec(data)?.[1]), ['2']);
    assert.match(await dataFor(lab, A), /"step":2/);
    lab.source.close();
  });

  it('counts from when it was asked where it came before its time', async () => {
    const { lab, witness, wait, admission, proof } = await slowProof();
    await proof.answer(step(2));
    await admission;
    lab.clock.advance(300);
    await wait.answer(step(1));
    assert.deepEqual(witness.snapshots.map(({ data }) => /"step":(\d)/.exec(data)?.[1]), ['2']);
    lab.source.close();
  });
});

describe('a wait that fails', () => {
  it('is followed by a plain look, so that the end is seen where only waits fail', async () => {
    const lab = new SourceLab({ driver: (options) => new WaitDriver(options) });
    const { witness } = await lab.join(A, step(0));
    await lab.poll(refuses(500), says('completed'));
    assert.deepEqual(witness.snapshots.map(({ status }) => status), ['completed']);
    assert.match(lab.upstream.asked[1]?.suffix ?? '', /^\/wait/);
    assert.equal(lab.upstream.asked[2]?.suffix, '');
    assert.equal(lab.clock.pending, 0);
  });

  it('is followed by a rest after that look, however slow its answer was', async () => {
    const lab = new SourceLab({ driver: (options) => new WaitDriver(options) });
    await lab.join(A, step(0));
    await lab.poll(refuses(500));
    lab.toPoll();
    lab.clock.advance(1_500);
    await lab.last.answer(step(1));
    assert.ok((lab.clock.nextInMs ?? 0) >= 1_000, `${lab.clock.nextInMs} ms`);
    lab.source.close();
  });
});

const step = (n: number) => says('running', { step: n });

const dataFor = async (lab: SourceLab, key: ApiKey): Promise<string> =>
  (await lab.admit(key)).snapshot.data;
