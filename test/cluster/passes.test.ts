/** Places in the one budget for what workers pass on: through the channel, and never lost. */

import assert from 'node:assert/strict';
import { it } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';

import { IpcSource } from '../../src/cluster/ipc-source.ts';
import type { FromPrimary, FromWorker } from '../../src/cluster/messages.ts';
import { Passes } from '../../src/cluster/passes.ts';
import { refuse } from '../../src/core/errors.ts';
import type { Refusal } from '../../src/core/errors.ts';
import type { Pass, Settled, Toll } from '../../src/core/forward.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { within } from '../support/wait.ts';

const LONG_MS = 1000;

class FakeToll implements Toll {
  taken = 0;
  readonly settled: (Settled | undefined)[] = [];
  refusal: Refusal | undefined;

  async enter(): Promise<Pass | Refusal> {
    if (this.refusal) return this.refusal;
    this.taken++;
    return (settled) => void this.settled.push(settled);
  }
}

class Pair {
  readonly clock = new FakeClock();
  readonly toll = new FakeToll();
  isHeld = false;
  readonly held: (() => void)[] = [];
  readonly passes: Passes = new Passes((message) => {
    const give = (): void => this.source.onMessage(copy(message));
    if (this.isHeld) this.held.push(give);
    else setImmediate(give);
  }, this.toll);
  readonly source: IpcSource = new IpcSource({
    send: (message: FromWorker) => {
      setImmediate(() => assert.ok(this.passes.onMessage(copy(message))));
      return true;
    },
    onMessage: () => undefined,
  }, this.clock, LONG_MS);

  enter(): Promise<Pass | Refusal> {
    return within(20_000, 'a place', this.source.enter());
  }
}

const copy = <T extends FromPrimary | FromWorker>(message: T): T =>
  JSON.parse(JSON.stringify(message)) as T;

it('a place is taken at the primary, and what came of it is told there', async () => {
  const { source, toll, ...pair } = new Pair();
  void pair;
  const pass = await source.enter();
  assert.ok(typeof pass === 'function');
  pass({ status: 429, headers: {
    'retry-after': '7', 'ratelimit-remaining': '0', 'x-ratelimit-reset': '9', 'date': 'now',
    'set-cookie': ['secret=1'], 'etag': 'x',
  } });
  await nextTurn();
  await nextTurn();
  assert.deepEqual(toll.settled, [{ status: 429, headers: {
    'retry-after': '7', 'ratelimit-remaining': '0', 'x-ratelimit-reset': '9', 'date': 'now',
  } }], 'what tells of limits, and no more');
});

it('where there is no place the primary says why', async () => {
  const pair = new Pair();
  pair.toll.refusal = refuse('RATE_LIMITED', { retryAfterMs: 9000 });
  assert.deepEqual(await pair.enter(), pair.toll.refusal);
});

it('a request that is not sent after all gives its place back', async () => {
  const pair = new Pair();
  const pass = await pair.enter();
  assert.ok(typeof pass === 'function');
  pass();
  await nextTurn();
  await nextTurn();
  assert.deepEqual(pair.toll.settled, [undefined]);
});

it('a worker that dies gives back what it has, also what is on its way', async () => {
  const pair = new Pair();
  await pair.enter();
  const asked = pair.passes.onMessage({ kind: 'enter', n: 99 });
  assert.ok(asked);
  pair.passes.close();
  await nextTurn();
  assert.equal(pair.toll.taken, 2);
  assert.deepEqual(pair.toll.settled, [undefined, undefined]);
});

it('a place that comes when nobody waits any more is given back', async () => {
  const pair = new Pair();
  pair.isHeld = true;
  const asked = pair.enter();
  await nextTurn();
  await nextTurn();
  pair.clock.advance(LONG_MS);
  assert.equal((await asked as Refusal).code, 'RESOURCE_UNAVAILABLE');
  for (const give of pair.held) give();
  await nextTurn();
  await nextTurn();
  assert.deepEqual(pair.toll.settled, [undefined]);
});
