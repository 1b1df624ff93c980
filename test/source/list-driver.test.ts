/** `--source list` on the test's clock, over an upstream that enforces its limit. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { randomFrom, seeds } from '../support/random.ts';
import { MINUTE_MS, RATE, SCARCE, lab, runs } from './list-lab.ts';
import type { ListLab } from './list-lab.ts';

/** 980 live runs: ten pages. Joins come as `gapMs` says, and so do ends. */
async function busy(of: ListLab, minutes: number, gapMs: () => number): Promise<number[]> {
  const { upstream, clock } = of;
  await of.start(runs(980));
  await of.advance(2 * MINUTE_MS);
  const ends: string[] = [];
  const until = clock.now() + minutes * MINUTE_MS;
  for (let joinAt = clock.now(), endAt = joinAt + gapMs() / 2; ;) {
    const at = Math.min(joinAt, endAt);
    if (at > until) break;
    await of.advance(at - clock.now());
    if (at === joinAt) {
      joinAt += gapMs();
      upstream.endsAt.set(`late-${at}`, Infinity);
      void of.arrive(`late-${at}`);
    } else {
      endAt += gapMs();
      // One here, one there, each once: 379 has no divisor in common with 980.
      const runId = `run-${ends.length * 379 % 980}`;
      ends.push(runId);
      upstream.endsAt.set(runId, at);
    }
  }
  await of.advance(MINUTE_MS);
  const late = of.latenessOf(ends);
  assert.equal(upstream.limited, 0);
  of.source.close();
  await of.advance(1_001);
  assert.equal(clock.pending, 0);
  return late;
}

/** The longest but for this share. */
const within = (late: readonly number[], share: number): number =>
  late[Math.floor(late.length * (1 - share))] ?? Infinity;

describe('following 980 runs by ten pages, with 100 requests a minute', () => {
  it('tells each end within 10 s among thirty joins and ends a minute', async () => {
    const late = await busy(lab(), 20, () => 4_000);
    assert.ok(late.length >= 295 && within(late, 0.98) <= 10_000, `${within(late, 0.98)} ms`);
    // One page more for a run that has just moved on to the next one.
    assert.ok((late[0] ?? Infinity) <= 11_500, `all within ${late[0]} ms`);
    assert.ok(within(late, 0.5) <= 5_500, `half within ${within(late, 0.5)} ms`);
  });

  for (const seed of seeds(1)) {
    it(`tells it a little later where they come as they like (seed ${seed})`, async () => {
      const random = randomFrom(seed);
      const late = await busy(lab(RATE, random), 20, () => -4_000 * Math.log(1 - random()));
      // Where twenty bunch in half a minute the budget is all used.
      const [of50, of90] = [within(late, 0.5), within(late, 0.9)];
      assert.ok(of50 <= 7_000 && of90 <= 13_000, `half within ${of50} ms, 90 of 100 ${of90}`);
    });
  }

  it('leaves joins and pages their places while more want in than can', async () => {
    const of = lab();
    const { upstream } = of;
    await of.start(runs(480));
    await of.advance(2 * MINUTE_MS);
    const pages = upstream.pages;
    let [isIn, isOut] = [0, 0];
    for (let i = 0; i < 600; i++) {
      upstream.endsAt.set(`late-${i}`, Infinity);
      void of.join(`late-${i}`).then((is) => is ? isIn++ : isOut++);
      await of.advance(300);
    }
    const perMinute = (upstream.pages - pages) / 3;
    assert.ok(perMinute >= 15, `${perMinute} pages a minute`);
    assert.ok(isIn / 3 >= 30, `${isIn / 3} joins a minute`);
    assert.ok(isOut > 0);
    assert.equal(upstream.limited, 0);
    of.source.close();
  });
});

describe('following by a list', () => {
  it('asks for the list and not for the runs, and for outputs with what is left', async () => {
    const of = lab();
    const { upstream } = of;
    await of.start(runs(20));
    await of.advance(MINUTE_MS);
    const [pages, sent] = [upstream.pages, upstream.sentAt.length];
    await of.advance(5 * MINUTE_MS);
    const perMinute = (upstream.pages - pages) / 5;
    assert.ok(perMinute > 25 && perMinute <= 40, `${perMinute} pages a minute`);
    const polls = (upstream.sentAt.length - sent) / 5 - perMinute;
    assert.ok(polls > 15 && polls < 60, `${polls} polls a minute`);
    of.source.close();
  });

  it('asks again soon for a run that is over by the list and not by itself', async () => {
    // A cycle of 4.3 s.
    const of = lab({ requests: 20, perMs: MINUTE_MS });
    const { upstream, clock } = of;
    await of.start(['slow']);
    await of.advance(MINUTE_MS);
    const before = upstream.askedAt.get('slow')?.length ?? 0;
    upstream.script = (_key, runId) =>
      runId !== undefined && upstream.askedAt.get(runId)?.length === before + 1
        ? { status: 'running' } : undefined;
    upstream.endsAt.set('slow', clock.now());
    await of.advance(20_000);
    const [first = 0, second = Infinity] = upstream.askedAt.get('slow')?.slice(before) ?? [];
    assert.ok(second - first <= 2_500, `asked again after ${second - first} ms`);
    assert.ok((of.toldAt.get('slow') ?? Infinity) <= second + 500);
    of.source.close();
  });

  it('believes after three polls that a run is gone, though the list shows it', async () => {
    const of = lab(SCARCE);
    const { upstream } = of;
    await of.start(['gone', 'there']);
    await of.advance(MINUTE_MS);
    upstream.script = (_key, runId) => runId === 'gone' ? 404 : undefined;
    of.source.poke('gone');
    await of.advance(8_000);
    assert.equal(of.lost.get('gone')?.length, 1);
    of.source.close();
  });

  it('lets newcomers in while many runs have news', async () => {
    const of = lab();
    const { upstream, clock } = of;
    const startAt = 3 * MINUTE_MS;
    for (const runId of runs(90)) upstream.queuedUntil.set(runId, startAt);
    await of.start(runs(90));
    await of.advance(startAt + 2_500 - clock.now());
    const news = upstream.sentAt.length;
    for (let i = 0; i < 10; i++) {
      upstream.endsAt.set(`late-${i}`, Infinity);
      const joined = of.join(`late-${i}`);
      await of.advance(6_000);
      assert.equal(await joined, true, `after ${upstream.sentAt.length - news} requests`);
    }
    await of.advance(2 * MINUTE_MS);
    for (const runId of runs(90)) {
      const last = upstream.askedAt.get(runId)?.at(-1) ?? 0;
      assert.ok(last > startAt, `${runId} was asked for`);
    }
    assert.equal(upstream.limited, 0);
    of.source.close();
  });

  it('polls a run that the list does not show', async () => {
    const of = lab();
    const { upstream, clock } = of;
    upstream.unlisted.add('hidden');
    await of.start(['shown', 'hidden']);
    await of.advance(20_000);
    upstream.endsAt.set('hidden', clock.now());
    await of.advance(5_000);
    const [late = Infinity] = of.latenessOf(['hidden']);
    assert.ok(late <= 2_500, `${late} ms`);
    of.source.close();
  });

  for (const [what, status] of [['that fails', 500], ['that is not there', 404]] as const) {
    it(`polls all runs beside a list ${what}`, async () => {
      const of = lab();
      const { upstream, clock } = of;
      upstream.listStatus = status;
      await of.start(['one', 'two']);
      await of.advance(60_000);
      upstream.endsAt.set('two', clock.now());
      await of.advance(5_000);
      const [late = Infinity] = of.latenessOf(['two']);
      assert.ok(late <= 2_500, `${late} ms`);
      assert.equal(upstream.limited, 0);
      of.source.close();
    });
  }
});

/** As lists are: they keep what is over, and the oldest live run stands behind all of it. */
async function old(of: ListLab, over: number): Promise<void> {
  const { upstream, clock } = of;
  upstream.listedMs = Infinity;
  for (const runId of runs(180)) upstream.endsAt.set(runId, Infinity);
  for (const runId of runs(over, 'over')) upstream.endsAt.set(runId, clock.now());
  await of.start(runs(180));
}

describe('a list that is full of runs that are over', () => {
  it('is read by the status of those that are live', async () => {
    const of = lab();
    const { upstream, clock } = of;
    await old(of, 3_000);
    await of.advance(MINUTE_MS);
    const ends = runs(30).map((_, i) => `run-${i * 6}`);
    const [pages, asked] = [upstream.pages, upstream.sentAt.length];
    const began = clock.now();
    for (const runId of ends) {
      upstream.endsAt.set(runId, clock.now());
      await of.advance(4_000);
    }
    await of.advance(20_000);
    const late = of.latenessOf(ends);
    assert.ok((late[0] ?? Infinity) <= 4_500, `all within ${late[0]} ms`);
    const perMinute = (count: number): number => count * MINUTE_MS / (clock.now() - began);
    assert.ok(perMinute(upstream.pages - pages) <= 70);
    assert.ok(perMinute(upstream.sentAt.length - asked) <= 100);
    assert.equal(upstream.limited, 0);
    of.source.close();
  });

  it('is read to its end once for a run that it does not show, which then is polled', async () => {
    const of = lab();
    const { upstream, clock } = of;
    upstream.hasStatus = false;
    upstream.listedMs = Infinity;
    for (const runId of runs(3_000, 'over')) upstream.endsAt.set(runId, clock.now());
    upstream.unlisted.add('hidden');
    await of.start(['hidden', ...runs(20)]);
    await of.advance(2 * MINUTE_MS);
    for (const runId of ['hidden', 'run-3']) upstream.endsAt.set(runId, clock.now());
    await of.advance(10_000);
    const [late = Infinity] = of.latenessOf(['hidden', 'run-3']);
    assert.ok(late <= 3_000, `${late} ms`);
    of.source.close();
  });

  for (const [what, status] of [['ignores', undefined], ['refuses', 400]] as const) {
    it(`is read to the last live run where the API ${what} a status`, async () => {
      const of = lab();
      const { upstream, clock } = of;
      upstream.hasStatus = false;
      upstream.script = (_key, runId, query = '') =>
        runId === undefined && query.includes('status=') ? status : undefined;
      await old(of, 500);
      await of.advance(2 * MINUTE_MS);
      for (const runId of ['run-0', 'run-179']) upstream.endsAt.set(runId, clock.now());
      await of.advance(30_000);
      // Seven pages.
      const [late = Infinity] = of.latenessOf(['run-0', 'run-179']);
      assert.ok(late <= 8_000, `${late} ms`);
      assert.equal(upstream.limited, 0);
      of.source.close();
    });
  }
});
