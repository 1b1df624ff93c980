/**
 * Limits around a source: who is let in, who is not, and that every place comes back, whatever
 * becomes of an admission. Proofs are let through one by one, so that they can overtake.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { Metrics } from '../../src/core/metrics.ts';
import type { Sample } from '../../src/core/metrics.ts';
import type { Admission, Admitted, ApiKey, RunObserver } from '../../src/core/run-source.ts';
import { LimitedSource } from '../../src/source/limited-source.ts';
import type { LimitedOptions } from '../../src/source/limited-source.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { apiKey, FakeSource, snapshotOf } from '../support/fake-source.ts';
import { within } from '../support/wait.ts';

const NO_LIMITS: LimitedOptions = {
  maxStreams: 1_000, maxStreamsPerKey: 1_000, maxRuns: 1_000, pollIntervalMs: 2_000,
};
const NOBODY: RunObserver = { onSnapshot: () => undefined, onLost: () => undefined };

/** Upstream knows run_1 to run_5; counts its own leases, and may hold its answers back. */
class Upstream extends FakeSource {
  asked = 0;
  left = 0;
  #held: (() => void)[] | undefined;

  constructor() {
    super();
    for (const n of [1, 2, 3, 4, 5]) this.emit(snapshotOf(`run_${n}`, 'running'));
  }

  hold(): void {
    this.#held = [];
  }

  /** From the `from`th question on, counted from 0. */
  letGo(from = 0): void {
    for (const answer of this.#held?.splice(from) ?? []) answer();
  }

  override async admit(runId: string, key: ApiKey): Promise<Admission> {
    this.asked++;
    const held = this.#held;
    if (held !== undefined) await new Promise<void>((resolve) => held.push(resolve));
    const admission = await super.admit(runId, key);
    return admission.kind === 'refused' ? admission : { ...admission, leave: () => this.left++ };
  }
}

class House {
  readonly upstream = new Upstream();
  readonly metrics = new Metrics();
  readonly clock = new FakeClock();
  readonly source: LimitedSource;

  constructor(limits: Partial<LimitedOptions>) {
    const all = { ...NO_LIMITS, ...limits };
    this.source = new LimitedSource(this.upstream, all, this.metrics, this.clock);
  }

  /** All but what is reckoned with time. */
  counts(): Sample[] {
    return this.metrics.samples().filter(([name]) => name !== 'runcast_separate_polls_total');
  }

  ask(runId: string, key = 'lma_a'): Promise<Admission> {
    return within(1_000, `the admission of ${key} to ${runId}`,
      this.source.admit(runId, apiKey(key)));
  }

  async enter(runId: string, key = 'lma_a'): Promise<Admitted> {
    return admitted(await this.ask(runId, key));
  }
}

function admitted(admission: Admission): Admitted {
  return admission.kind === 'admitted' ? admission : assert.fail(admission.refusal.error);
}

function assertFull(admission: Admission, error: RegExp): void {
  assert.equal(admission.kind, 'refused');
  const { refusal } = admission.kind === 'refused' ? admission : assert.fail();
  const { code, status, retryable } = refusal;
  assert.deepEqual({ code, status, retryable },
    { code: 'RESOURCE_UNAVAILABLE', status: 503, retryable: true });
  assert.match(refusal.error, error);
  assert.doesNotMatch(refusal.error, /lma_/);
}

describe('a source with limits', () => {
  it('lets in as many streams as there may be, and the next one when one is gone', async () => {
    const house = new House({ maxStreams: 2 });
    const first = await house.enter('run_1', 'lma_a');
    await house.enter('run_2', 'lma_b');
    assertFull(await house.ask('run_3', 'lma_c'), /too many streams are open$/i);
    first.leave?.();
    await house.enter('run_3', 'lma_c');
    assert.deepEqual(house.source.size, { streams: 2, runs: 2 });
  });

  it('gives one key no more than its share, over all its runs, and others theirs', async () => {
    const house = new House({ maxStreamsPerKey: 2 });
    const first = await house.enter('run_1', 'lma_a');
    await house.enter('run_2', 'lma_a');
    assertFull(await house.ask('run_1', 'lma_a'), /with this key/);
    await house.enter('run_1', 'lma_b');
    first.leave?.();
    await house.enter('run_3', 'lma_a');
    assertFull(await house.ask('run_1', 'lma_a'), /with this key/);
  });

  it('counts a key once, whichever header it comes in', async () => {
    const house = new House({ maxStreamsPerKey: 1 });
    await house.enter('run_1', 'lma_a');
    const bearer: ApiKey = { value: 'lma_a', header: 'authorization' };
    assertFull(await house.source.admit('run_1', bearer), /with this key/);
  });

  it('follows no more runs than it may, and any number of streams of them', async () => {
    const house = new House({ maxRuns: 2 });
    const all = [await house.enter('run_1'), await house.enter('run_1', 'lma_b')];
    await house.enter('run_2');
    assertFull(await house.ask('run_3'), /too many runs/i);
    await house.enter('run_2', 'lma_c');
    for (const { leave } of all.slice(1)) leave?.();
    assertFull(await house.ask('run_3'), /too many runs/i);
    all[0]?.leave?.();
    await house.enter('run_3');
    assert.deepEqual(house.source.size, { streams: 3, runs: 2 });
  });

  it('does not trouble upstream with those that it has no place for', async () => {
    const house = new House({ maxStreams: 1 });
    await house.enter('run_1');
    const { asked } = house.upstream;
    assertFull(await house.ask('run_2'), /too many streams/i);
    assert.equal(house.upstream.asked, asked);
  });

  it('counts each refusal by the limit that refused', async () => {
    const house = new House({ maxStreams: 3, maxStreamsPerKey: 2, maxRuns: 1 });
    await house.enter('run_1', 'lma_a');
    await house.ask('run_2', 'lma_b');
    await house.enter('run_1', 'lma_a');
    await house.ask('run_1', 'lma_a');
    await house.ask('run_1', 'lma_a');
    await house.enter('run_1', 'lma_c');
    await house.ask('run_1', 'lma_d');
    assert.deepEqual(house.counts(), [
      ['runcast_limit_total', 'maxRuns', 1],
      ['runcast_limit_total', 'maxStreamsPerKey', 2],
      ['runcast_limit_total', 'maxStreams', 1],
    ]);
  });
});

describe('places of a source with limits', () => {
  it('are not taken by those whom upstream refuses', async () => {
    const house = new House({ maxStreams: 1 });
    const admission = await house.ask('run_unknown');
    assert.equal(admission.kind === 'refused' && admission.refusal.code, 'NOT_FOUND');
    assert.deepEqual(house.source.size, { streams: 0, runs: 0 });
    assert.deepEqual(house.counts(), []);
    await house.enter('run_1');
  });

  it('are given back once, however often a client says that it is gone', async () => {
    const house = new House({ maxStreams: 2 });
    const first = await house.enter('run_1');
    await house.enter('run_1');
    for (let i = 0; i < 3; i++) first.leave?.();
    assert.deepEqual(house.source.size, { streams: 1, runs: 1 });
    assert.equal(house.upstream.left, 1);
    await house.enter('run_1');
    assertFull(await house.ask('run_1'), /too many streams/i);
  });

  it('hold when many come at once: as many are let in as there is room for', async () => {
    const cases = [
      { limits: { maxStreams: 3 }, error: /too many streams are open$/i, name: 'maxStreams' },
      { limits: { maxStreamsPerKey: 3 }, error: /with this key/, name: 'maxStreamsPerKey' },
      { limits: { maxRuns: 3 }, error: /too many runs/i, name: 'maxRuns' },
    ];
    for (const { limits, error, name } of cases) {
      const house = new House(limits);
      house.upstream.hold();
      const asked = [1, 2, 3, 4, 5].map((n) => house.ask(`run_${n}`));
      house.upstream.letGo();
      const answers = await Promise.all(asked);
      assert.deepEqual(answers.map(({ kind }) => kind),
        ['admitted', 'admitted', 'admitted', 'refused', 'refused'], name);
      for (const late of answers.slice(3)) assertFull(late, error);
      assert.equal(house.upstream.left, 2, 'who came too late takes no place of the inner source');
      assert.deepEqual(house.counts(), [['runcast_limit_total', name, 2]]);
      for (const answer of answers.slice(0, 3)) admitted(answer).leave?.();
      assert.deepEqual(house.source.size, { streams: 0, runs: 0 });
      assert.equal(house.upstream.left, 5, name);
    }
  });

  it('are taken by the first that is proved, not by the first that asked', async () => {
    const house = new House({ maxStreams: 1 });
    house.upstream.hold();
    const [slow, fast] = [house.ask('run_1', 'lma_a'), house.ask('run_2', 'lma_b')];
    assert.deepEqual(house.source.size, { streams: 0, runs: 0 }, 'asking takes no place');
    house.upstream.letGo(1);
    admitted(await fast);
    house.upstream.letGo();
    assertFull(await slow, /too many streams/i);
    assert.deepEqual(house.source.size, { streams: 1, runs: 1 });
  });

  it('come back to nothing, and so do the names of keys and runs', async () => {
    const house = new House({ maxStreamsPerKey: 1, maxRuns: 1 });
    for (let i = 0; i < 3; i++) {
      for (const [run, key] of [['run_1', 'lma_a'], ['run_2', 'lma_b'], ['run_3', 'lma_a']]) {
        (await house.enter(run ?? '', key)).leave?.();
      }
    }
    assert.deepEqual(house.source.size, { streams: 0, runs: 0 });
    assert.deepEqual(house.counts(), []);
  });
});

describe('a source with limits is, for those who are in,', () => {
  it('the source that it is around: the same state, key and run', async () => {
    const house = new House({});
    const { runId, key, snapshot, kind } = await house.enter('run_2', 'lma_b');
    assert.deepEqual({ runId, key, snapshot, kind }, {
      kind: 'admitted', runId: 'run_2', key: apiKey('lma_b'),
      snapshot: house.upstream.newest('run_2'),
    });
  });

  it('not in the way: watches work, when all is full too', async () => {
    const house = new House({ maxStreams: 1 });
    const told: string[] = [];
    const watch = house.source.watch(await house.enter('run_1'), {
      ...NOBODY, onSnapshot: ({ status }) => told.push(status),
    });
    assertFull(await house.ask('run_1'), /too many streams/i);
    house.upstream.emit(snapshotOf('run_1', 'waiting'));
    assert.deepEqual(told, ['waiting']);
    watch.stop();
    assert.equal(house.upstream.live().length, 0);
  });

  it('closed with it', () => {
    const house = new House({});
    house.source.close();
    assert.equal(house.upstream.isClosed, true);
  });
});

describe('what is saved', () => {
  it('is reckoned from the clients that are in, as if each polled once an interval', async () => {
    const house = new House({});
    const saved = (): number | undefined => house.metrics.samples()
      .find(([name]) => name === 'runcast_separate_polls_total')?.[2];
    assert.equal(saved(), 0);
    const first = await house.enter('run_1');
    await house.enter('run_1');
    house.clock.advance(20_000);
    assert.equal(saved(), 20);
    first.leave?.();
    house.clock.advance(20_000);
    assert.equal(saved(), 30);
  });
});
