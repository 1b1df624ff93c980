/** `--source list` with several keys: what one may not see is no loss to the others. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { A, B, C, FOREIGN } from './harness.ts';
import { MINUTE_MS, SCARCE, lab, runs } from './list-lab.ts';

describe('following by lists with several keys', () => {
  for (const [what, status] of [['is not there', 404], ['fails', 500]] as const) {
    it(`goes on for one key beside another whose list ${what}`, async () => {
      const of = lab();
      const { upstream, clock } = of;
      upstream.script = (key, runId) =>
        key === B.value && runId === undefined ? status : undefined;
      await of.start(runs(20));
      await of.start(runs(2, 'other'), B);
      await of.advance(2 * MINUTE_MS);
      const pages = upstream.pages;
      await of.advance(MINUTE_MS);
      assert.ok(upstream.pages - pages >= 20, `${upstream.pages - pages} pages a minute`);
      for (const runId of ['run-7', 'other-1']) upstream.endsAt.set(runId, clock.now());
      await of.advance(10_000);
      const [late = Infinity] = of.latenessOf(['run-7', 'other-1']);
      assert.ok(late <= 5_000, `${late} ms`);
      assert.equal(upstream.limited, 0);
      of.source.close();
      await of.advance(1);
      assert.equal(clock.pending, 0);
    });
  }

  it('asks a key whose list is refused for the run, and no other key for it', async () => {
    const of = lab(SCARCE);
    const { upstream } = of;
    for (const key of [A, B, C]) await of.start(['shared'], key);
    await of.advance(20_000);
    const before = upstream.keysOf.get('shared')?.length ?? 0;
    upstream.script = (key) => key === C.value ? 401 : undefined;
    await of.advance(15_000);
    assert.equal(upstream.keysOf.get('shared')?.[before], C.value);
    assert.deepEqual(of.lost.get('shared'), [C.value]);
    of.source.close();
  });

  it('asks for the runs of a revoked key without a burst that newcomers wait for', async () => {
    const of = lab();
    const { upstream } = of;
    await of.start(runs(90), B);
    await of.start(['own']);
    await of.advance(MINUTE_MS);
    upstream.script = (key) => key === B.value ? 401 : undefined;
    await of.advance(5_000);
    for (let i = 0; i < 5; i++) {
      upstream.endsAt.set(`late-${i}`, Infinity);
      const joined = of.join(`late-${i}`);
      await of.advance(6_000);
      assert.equal(await joined, true);
    }
    await of.advance(2 * MINUTE_MS);
    assert.equal(of.lost.size, 90);
    assert.equal(upstream.limited, 0);
    of.source.close();
  });

  it('finds both runs that share an id and a key', async () => {
    const of = lab(SCARCE);
    const { upstream } = of;
    // To B it is another run at first, then the same: so B joins what A follows, too.
    let isForeign = true;
    upstream.script = (key, runId) => runId === 'twice' && (key === B.value || !isForeign)
      ? { status: 'running', over: FOREIGN } : undefined;
    upstream.endsAt.set('twice', Infinity);
    const first = of.watch('twice', A);
    await of.advance(1_000);
    await of.start(['twice'], B);
    await of.advance(5_000);
    isForeign = false;
    of.source.poke('twice');
    await of.advance(5_000);
    await of.start(['twice'], B);
    (await first)?.stop();
    assert.equal(of.source.size.pollers, 2);
    await of.advance(10_000);
    const before = upstream.askedAt.get('twice')?.length ?? 0;
    await of.advance(MINUTE_MS);
    assert.equal(upstream.askedAt.get('twice')?.length, before, 'the list shows both');
    of.source.close();
  });

  it('reads one list where two keys see the same runs', async () => {
    const of = lab();
    const { upstream } = of;
    await of.start(runs(10), A);
    await of.start(runs(10), B);
    await of.advance(20_000);
    const pages = upstream.pages;
    await of.advance(MINUTE_MS);
    assert.ok(upstream.pages - pages <= MINUTE_MS / 2_000 + 1, `${upstream.pages - pages} pages`);
    of.source.close();
  });
});
