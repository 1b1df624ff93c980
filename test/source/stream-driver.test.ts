/**
 * `--source stream` with all in the test's hands: one stream a run, polls that rest while it
 * lives and go on when it does not, keys that are refused, and upstream without streams.
 */

import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import { describe, it } from 'node:test';
import { StreamDriver } from '../../src/source/stream-driver.ts';
import { A, B, C, reading, RUN, step } from './harness.ts';
import { bytes, POLL_MS, refuses, says, SourceLab } from './source-lab.ts';
import type { LabOptions } from './source-lab.ts';

const MINUTE_MS = 60_000;

const relaying = (options: LabOptions & { readonly maxStreams?: number } = {}): SourceLab => {
  const { random = () => 0.5, maxStreams } = options;
  return new SourceLab({
    random, driver: (of) => new StreamDriver(of, random, maxStreams), ...options,
  });
};

const at = (n: number): ReturnType<typeof bytes> => bytes(step(n).body);

/** Time goes by, and what waits for a turn has lab. */
async function pass(of: SourceLab, ms: number): Promise<void> {
  of.clock.advance(ms);
  await turn();
}

/** The next poll, whatever else is due before it. */
async function poll(of: SourceLab, answer: ReturnType<typeof bytes>): Promise<void> {
  const before = of.count;
  while (of.count === before) await pass(of, of.clock.nextInMs ?? assert.fail('no poll is due'));
  await of.last.answer(answer);
}

/** A run that is followed by a stream of the first key, which has said that it lives. */
async function live(of: SourceLab): ReturnType<SourceLab['join']> {
  const joined = await of.join(A, at(0));
  await of.stream.ping();
  return joined;
}

const refusal = (code: string): string => JSON.stringify({
  runId: RUN, errorMessage: 'No', error: 'No', code, retryable: false, requestId: 'r',
});

describe('a run whose stream lives', () => {
  it('has one connection, opened with its key and its last id, and no polls', async () => {
    const lab = relaying();
    const { witness } = await live(lab);
    assert.deepEqual([lab.stream.key, lab.stream.lastEventId], ['lma_a', step(0).snapshot.id]);
    await pass(lab, 5 * MINUTE_MS);
    await lab.stream.state(step(1));
    await lab.stream.state(step(1));
    await lab.stream.ping();
    await pass(lab, 5 * MINUTE_MS);
    assert.deepEqual([lab.count, lab.upstream.opened.length], [1, 1]);
    assert.deepEqual(witness.ids, [step(1).snapshot.id]);
  });

  it('is over with its end: the connection is closed and nothing is left', async () => {
    const lab = relaying();
    const { witness } = await live(lab);
    await lab.stream.sends('event: complete\ndata: '
      + `${reading('completed').snapshot.data}\n\nevent: progress\ndata: `
      + `${step(9).snapshot.data}\n\n`);
    assert.deepEqual(witness.snapshots.map(({ terminal }) => terminal), ['complete']);
    assert.equal(lab.stream.isClosed, true);
    assert.deepEqual([lab.clock.pending, lab.source.size.pollers], [0, 0]);
  });

  it('keeps the first end that was seen, whichever way it came', async () => {
    const lab = relaying();
    const { witness } = await live(lab);
    lab.source.push(reading('completed').snapshot, true);
    const again = await lab.join(B, at(1));
    await lab.stream.state(reading('failed'), 'error');
    assert.deepEqual([witness, again.witness].flatMap(({ snapshots }) =>
      snapshots.map(({ status }) => status)), ['completed']);
    assert.equal(await lab.statusFor(A), 'completed');
  });

  it('is closed when nobody watches any more, and when all is over', async () => {
    const lab = relaying();
    (await live(lab)).watch.stop();
    assert.equal(lab.stream.isClosed, true);
    await lab.join(B, at(0));
    lab.source.close();
    assert.equal(lab.stream.isClosed, true);
    assert.equal(lab.clock.pending, 0);
  });

  it('has its other keys proved in turn, each once a minute; a refused one goes', async () => {
    const lab = relaying();
    const { witness } = await live(lab);
    const others = [await lab.join(B, at(0)), await lab.join(C, at(0))];
    const asked: string[] = [];
    for (let i = 0; i < 4; i++) {
      await poll(lab, at(0));
      asked.push(lab.last.key);
    }
    assert.deepEqual(asked, ['lma_b', 'lma_c', 'lma_b', 'lma_c']);
    assert.equal(lab.clock.now(), 2 * MINUTE_MS);
    await poll(lab, refuses(403));
    assert.deepEqual(others.map((other) => other.witness.lostKeys), [['lma_b'], []]);
    assert.deepEqual([witness.lostKeys, lab.stream.isClosed], [[], false]);
  });

  it('is polled at once when it is poked, and rests again', async () => {
    const lab = relaying();
    const { witness } = await live(lab);
    await pass(lab, MINUTE_MS);
    lab.source.poke(RUN);
    await poll(lab, at(1));
    assert.deepEqual(witness.ids, [step(1).snapshot.id]);
    await pass(lab, 10 * MINUTE_MS);
    assert.equal(lab.count, 2);
  });

  it('is not shown on the strength of a key with which nobody watches any more', async () => {
    const lab = relaying();
    const { watch } = await live(lab);
    const { witness } = await lab.join(B, at(0));
    const first = lab.stream;
    watch.release('lma_a');
    await pass(lab, 1);
    assert.equal(first.isClosed, true);
    assert.equal(lab.stream.key, 'lma_b');
    await lab.stream.state(step(1));
    assert.deepEqual(witness.ids, [step(1).snapshot.id]);
  });
});

describe('a stream that ends', () => {
  it('with a timeout or cleanly is opened again at once, with the newest id', async () => {
    const lab = relaying();
    await live(lab);
    for (const [n, end] of [[1, 'timeout'], [2, 'clean']] as const) {
      await pass(lab, MINUTE_MS);
      await lab.stream.state(step(n));
      await (end === 'clean' ? lab.stream.ends() : lab.stream.event('timeout', '{"message":"x"}'));
      await pass(lab, 1);
      assert.equal(lab.upstream.opened.length, n + 1);
      assert.equal(lab.stream.lastEventId, step(n).snapshot.id);
      await lab.stream.ping();
    }
    assert.equal(lab.count, 1, 'no polls');
  });

  it('time and again is opened less and less often, and polls go on', async () => {
    const lab = relaying();
    await live(lab);
    await lab.stream.ends();
    for (const restMs of [1, 2_000, 4_000, 8_000, 15_000, 15_000]) {
      const before = lab.upstream.opened.length;
      await pass(lab, restMs - 1);
      assert.equal(lab.upstream.opened.length, before, `before ${restMs}`);
      await pass(lab, 1);
      assert.equal(lab.upstream.opened.length, before + 1, `after ${restMs}`);
      await lab.stream.ping();
      await lab.stream.ends();
    }
  });

  for (const [name, breaks] of Object.entries<(of: SourceLab) => Promise<void>>({
    'a cut': (of) => of.stream.ends('cut short'),
    'silence': (of) => of.stream.ends('silent'),
    'no JSON': (of) => of.stream.event('progress', '{"status":'),
    'no status': (of) => of.stream.event('progress', '{"runId":"run_1"}'),
    'no UTF-8': (of) => of.stream.sends(Buffer.from([0x64, 0xff, 10])),
    'an event over the limit': (of) => of.stream.sends(`data: ${'x'.repeat(1_010_000)}`),
    'an error that may pass': (of) =>
      of.stream.event('error', '{"code":"INTERNAL_ERROR","retryable":true}'),
  })) {
    it(`by ${name} is made up for by polls at once, until it lives again`, async () => {
      const lab = relaying();
      const { witness } = await live(lab);
      await pass(lab, MINUTE_MS);
      const broken = lab.stream;
      await breaks(lab);
      assert.equal(lab.upstream.opened.length, 1);
      assert.equal(lab.clock.nextInMs, POLL_MS / 2);
      await pass(lab, POLL_MS / 2);
      await lab.last.answer(at(1));
      assert.equal(lab.upstream.opened.length, 2, 'half of 2 s later');
      await poll(lab, at(2));
      assert.deepEqual(witness.ids, [step(1), step(2)].map(({ snapshot }) => snapshot.id));
      await broken.state(step(8)); // what comes behind is nobody's
      await lab.stream.state(step(3));
      await pass(lab, 10 * MINUTE_MS);
      assert.deepEqual(witness.ids.slice(2), [step(3).snapshot.id]);
      assert.equal(lab.count, 3);
    });
  }

  it('before its first event leaves the polls as they were', async () => {
    const lab = relaying();
    await lab.join(A, at(0));
    await lab.stream.opens();
    await pass(lab, POLL_MS);
    assert.equal(lab.count, 2, 'a head alone is no sign of life');
    await lab.last.answer(at(0));
    await lab.stream.ends();
    await poll(lab, at(1));
  });

  it('with 204 is asked about, and the run is over', async () => {
    const lab = relaying();
    const { witness } = await lab.join(A, at(0));
    await lab.stream.head(204);
    assert.equal(lab.count, 2);
    await lab.last.answer(says('failed'));
    assert.deepEqual(witness.snapshots.map(({ terminal }) => terminal), ['error']);
    assert.deepEqual([lab.clock.pending, lab.source.size.pollers], [0, 0]);
  });

  it('as a refusal that passes is opened again when it said, polled until then', async () => {
    const lab = relaying();
    await lab.join(A, at(0));
    await lab.stream.opens({ 'x-runcast-refused': '503 RESOURCE_UNAVAILABLE' });
    await lab.stream.sends('retry: 20000\nevent: ping\nid: none\ndata: 1\n\n');
    assert.equal(lab.stream.isClosed, true);
    for (let i = 0; i < 9; i++) await poll(lab, at(0));
    assert.equal(lab.upstream.opened.length, 1);
    while (lab.upstream.opened.length === 1) await pass(lab, 100);
    assert.equal(Math.round(lab.clock.now() / 1000), 21);
  });

  it('with 429 or 503 obeys Retry-After', async () => {
    for (const status of [429, 503]) {
      const lab = relaying();
      await lab.join(A, at(0));
      await lab.stream.head(status, { 'retry-after': '30' });
      await pass(lab, 30_000);
      assert.equal(lab.upstream.opened.length, 1);
      await pass(lab, 3_000);
      assert.equal(lab.upstream.opened.length, 2);
    }
  });
});

describe('a key that is refused', () => {
  const how: Readonly<Record<string, (of: SourceLab) => Promise<void>>> = {
    'before its stream': async (of) => {
      await of.stream.head(401);
      await of.last.answer(refuses(401));
    },
    'in its stream': (of) => of.stream.event('error', refusal('FORBIDDEN')),
    'in its stream, by a code of upstream\'s own': (of) =>
      of.stream.event('error', refusal('TEAM_SUSPENDED')),
  };
  for (const [name, refuse] of Object.entries(how)) {
    it(`${name} loses its own streams; the next key has the run at once`, async () => {
      const lab = relaying();
      const { witness } = await lab.join(A, at(0));
      const other = await lab.join(B, at(0));
      await refuse(lab);
      await pass(lab, 1);
      assert.deepEqual([witness.lostKeys, other.witness.lostKeys], [['lma_a'], []]);
      assert.equal(lab.stream.key, 'lma_b');
      await lab.stream.state(step(1));
      assert.deepEqual([witness.ids, other.witness.ids], [[], [step(1).snapshot.id]]);
    });
  }

  it('as the only one ends all, and its refusal is remembered', async () => {
    const lab = relaying();
    const { witness } = await live(lab);
    await lab.stream.event('error', refusal('FORBIDDEN'));
    assert.deepEqual(witness.losses.map(({ loss }) =>
      loss.kind === 'refused' && [loss.refusal.code, loss.refusal.error]), [['FORBIDDEN', 'No']]);
    assert.deepEqual([lab.clock.pending, lab.source.size.pollers], [0, 0]);
    const admission = await lab.admission(A);
    assert.equal(admission.kind === 'refused' && admission.refusal.code, 'FORBIDDEN');
  });

  it('with 404 is believed after three times, plain requests among them', async () => {
    const lab = relaying();
    const { witness } = await live(lab);
    await lab.stream.event('error', refusal('NOT_FOUND'));
    await poll(lab, refuses(404));
    assert.deepEqual(witness.lostKeys, []);
    await poll(lab, refuses(404));
    assert.deepEqual(witness.lostKeys, ['lma_a']);
    lab.source.close();
  });

  it('that is shown another run under the same id is sent away alone', async () => {
    const lab = relaying();
    const { witness } = await live(lab);
    const other = await lab.join(B, at(0));
    await lab.stream.state(step(1, { workflowId: 'wf_foreign' }));
    await pass(lab, 1);
    assert.deepEqual([witness.losses.map(({ loss }) => loss.kind), witness.ids], [['moved'], []]);
    assert.deepEqual([other.witness.losses, other.witness.ids], [[], []]);
    assert.equal(lab.stream.key, 'lma_b');
  });
});

describe('an upstream without streams', () => {
  for (const [name, head] of Object.entries<(of: SourceLab) => Promise<void>>({
    404: (of) => of.stream.head(404), 405: (of) => of.stream.head(405),
    501: (of) => of.stream.head(501),
    'another type': (of) => of.stream.head(200, { 'content-type': 'application/json' }),
  })) {
    it(`(${name}) is polled, and asked again after ten minutes`, async () => {
      const lab = relaying();
      await lab.join(A, at(0));
      await head(lab);
      await lab.last.answer(at(0));
      for (let i = 0; i < 100; i++) await poll(lab, at(i));
      assert.equal(lab.upstream.opened.length, 1);
      for (let i = 0; lab.upstream.opened.length === 1 && i < 300; i++) await poll(lab, at(i));
      assert.ok(lab.clock.now() > 10 * MINUTE_MS && lab.clock.now() < 11 * MINUTE_MS);
      lab.source.close();
    });
  }

  it('is not asked for the streams of other runs meanwhile', async () => {
    const lab = relaying();
    await lab.join(A, at(0));
    await lab.stream.head(404);
    await lab.last.answer(at(0));
    const { snapshot } = step(0, { createdAt: 'later' }, 'run_2');
    lab.source.watch({ kind: 'admitted', runId: 'run_2', key: A, snapshot }, {
      onSnapshot: () => undefined, onLost: () => undefined,
    });
    await pass(lab, 1);
    assert.equal(lab.upstream.opened.length, 1);
    lab.source.close();
  });
});

describe('the bounds of streams', () => {
  const follow = (of: SourceLab, runId: string): void => void of.source.watch(
    { kind: 'admitted', runId, key: A, snapshot: step(0, {}, runId).snapshot },
    { onSnapshot: () => undefined, onLost: () => undefined },
  );

  it('are those of the budget: no more are opened than it has room for', async () => {
    const lab = relaying({ rate: { requests: 10, perMs: MINUTE_MS } });
    for (let i = 0; i < 30; i++) follow(lab, `run_${i}`);
    for (let i = 1; i <= 3; i++) {
      for (const opened of lab.upstream.opened) await opened.ping();
      for (const { answer } of lab.upstream.asked) await answer(refuses(500));
      const sent = lab.upstream.opened.length + lab.count;
      assert.ok(sent <= 10 * i && sent >= 10 * i - 4, `${sent} requests in ${i} minutes`);
      await pass(lab, MINUTE_MS + 1_000);
    }
    lab.source.close();
    assert.equal(lab.clock.pending, 0);
  });

  it('are a number of them: runs beyond it are polled', async () => {
    const lab = relaying({ maxStreams: 2 });
    for (let i = 0; i < 3; i++) follow(lab, `run_${i}`);
    for (const opened of lab.upstream.opened) await opened.ping();
    assert.equal(lab.upstream.opened.length, 2);
    await pass(lab, POLL_MS);
    assert.deepEqual(lab.upstream.asked.slice(-1).map(({ runId }) => runId), ['run_2']);
    lab.source.close();
  });
});
