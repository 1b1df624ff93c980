/** `--source list` on the test's clock, over an upstream that enforces its limit. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { ListDriver } from '../../src/source/list-driver.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { randomFrom } from '../support/random.ts';
import { QuotaLab, QuotaUpstream } from './quota-upstream.ts';

const RATE = { requests: 100, perMs: 60_000 };
const MINUTE_MS = 60_000;

function lab(rate = RATE, random = randomFrom(11)): [QuotaLab, QuotaUpstream, FakeClock] {
  const clock = new FakeClock();
  const upstream = new QuotaUpstream(clock, rate);
  const driver = (options: ConstructorParameters<typeof ListDriver>[0]): ListDriver =>
    new ListDriver(options, random);
  return [new QuotaLab(clock, upstream, rate, driver, random), upstream, clock];
}

/** Again and again, as a client would, until it is in. */
async function enter(of: QuotaLab, runId: string): Promise<void> {
  for (;;) {
    const joined = of.join(runId);
    let isIn: boolean | undefined;
    void joined.then((is) => (isIn = is));
    while (isIn === undefined) await of.advance(50);
    if (isIn) return;
    await of.advance(1_000);
  }
}

describe('following by a list', () => {
  it('tells ends of 980 runs, ten pages, in about 10 s with 100 requests a minute', async () => {
    const seed = Math.floor(Math.random() * 2 ** 32);
    const random = randomFrom(seed);
    const [of, upstream, clock] = lab(RATE, random);
    for (let i = 0; i < 980; i++) upstream.endsAt.set(`run-${i}`, Infinity);
    for (let i = 0; i < 980; i++) await enter(of, `run-${i}`);
    await of.advance(2 * MINUTE_MS);
    // Thirty joins and ends a minute, for twenty minutes.
    const ends: string[] = [];
    for (let i = 0; i < 300; i++) {
      const runId = `run-${i * 3}`;
      ends.push(runId);
      upstream.endsAt.set(runId, clock.now() + random() * 2_000);
      upstream.endsAt.set(`late-${i}`, Infinity);
      await Promise.all([enter(of, `late-${i}`), of.advance(4_000)]);
    }
    await of.advance(MINUTE_MS);
    const late = ends.map((id) => (of.toldAt.get(id) ?? Infinity) - (upstream.endsAt.get(id) ?? 0));
    late.sort((a, b) => b - a);
    assert.equal(upstream.limited, 0, `seed ${seed}`);
    // Half of them come late in a cycle; where joins and ends bunch the budget is all used.
    const of95 = late[Math.floor(late.length / 20)] ?? Infinity;
    assert.ok(of95 <= 14_000 && (late[0] ?? Infinity) <= 20_000,
      `95 of 100 within ${of95} ms, all within ${late[0]} ms, seed ${seed}`);
    assert.ok((late[late.length >> 1] ?? Infinity) <= 7_000, `seed ${seed}`);
    of.source.close();
    await of.advance(1);
    assert.equal(clock.pending, 0);
  });

  it('asks for the list and not for the runs, and for outputs with what is left', async () => {
    const [of, upstream] = lab();
    for (let i = 0; i < 20; i++) upstream.endsAt.set(`run-${i}`, Infinity);
    for (let i = 0; i < 20; i++) await enter(of, `run-${i}`);
    await of.advance(MINUTE_MS);
    const [pages, sent] = [upstream.pages, upstream.sentAt.length];
    await of.advance(5 * MINUTE_MS);
    const perMinute = (upstream.pages - pages) / 5;
    assert.ok(perMinute > 25 && perMinute <= 40, `${perMinute} pages a minute`);
    const polls = (upstream.sentAt.length - sent) / 5 - perMinute;
    assert.ok(polls > 15 && polls < 60, `${polls} polls a minute`);
    of.source.close();
  });

  it('polls a run that the list does not show', async () => {
    const [of, upstream, clock] = lab();
    for (const runId of ['shown', 'hidden']) upstream.endsAt.set(runId, Infinity);
    upstream.unlisted.add('hidden');
    for (const runId of ['shown', 'hidden']) await enter(of, runId);
    await of.advance(20_000);
    upstream.endsAt.set('hidden', clock.now());
    const endedAt = clock.now();
    await of.advance(5_000);
    assert.ok((of.toldAt.get('hidden') ?? Infinity) - endedAt <= 2_500);
    of.source.close();
  });

  for (const [what, status] of [['that fails', 500], ['that is not there', 404]] as const) {
    it(`polls all runs beside a list ${what}`, async () => {
      const [of, upstream, clock] = lab();
      upstream.listStatus = status;
      for (const runId of ['one', 'two']) upstream.endsAt.set(runId, Infinity);
      for (const runId of ['one', 'two']) await enter(of, runId);
      await of.advance(60_000);
      const endedAt = clock.now();
      upstream.endsAt.set('two', endedAt);
      await of.advance(5_000);
      assert.ok((of.toldAt.get('two') ?? Infinity) - endedAt <= 2_500);
      assert.equal(upstream.limited, 0);
      of.source.close();
    });
  }
});
