/**
 * The one timer of all streams: never early, at most one tick late, silent when nothing waits.
 * Time stands still until moved; a stall is a clock whose time runs on while no timer fires.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import type { Timer } from '../../src/core/clock.ts';
import { TICK_MS, Wheel } from '../../src/hub/wheel.ts';
import type { Sleeper } from '../../src/hub/wheel.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { randomFrom, seeds } from '../support/random.ts';

class Dreamer implements Sleeper {
  slot = -1;
  readonly wokenAt: number[] = [];
  readonly #then: ((now: number) => void) | undefined;

  constructor(then?: (now: number) => void) {
    this.#then = then;
  }

  onWake(now: number): void {
    this.wokenAt.push(now);
    this.#then?.(now);
  }
}

/** Timers fire by one time, and everybody is told another, later one: the process stood still. */
class StallingClock extends FakeClock {
  #lostMs = 0;

  override now(): number {
    return super.now() + this.#lostMs;
  }

  stall(ms: number): void {
    this.#lostMs += ms;
  }
}

function at(ms: number): { clock: FakeClock; wheel: Wheel } {
  const clock = new FakeClock();
  clock.advance(ms);
  return { clock, wheel: new Wheel(clock) };
}

describe('a sleeper', () => {
  it('is woken once, with the time it is', () => {
    const { clock, wheel } = at(0);
    const sleeper = new Dreamer();
    wheel.schedule(sleeper, 1_000);
    clock.advance(999);
    assert.deepEqual(sleeper.wokenAt, []);
    clock.advance(10_000);
    assert.deepEqual([sleeper.wokenAt, sleeper.slot], [[1_000], -1]);
  });

  for (const seed of seeds(3)) {
    it(`is never early and at most one tick late, at any time (RUNCAST_SEED=${seed})`, (t) => {
      t.diagnostic(`RUNCAST_SEED=${seed}`);
      const random = randomFrom(seed);
      const { clock, wheel } = at(random() * 1_000);
      const sleepers = Array.from({ length: 400 }, () => {
        clock.advance(random() * 20);
        const sleeper = new Dreamer();
        const dueAt = clock.now() + random() * 3_000;
        wheel.schedule(sleeper, dueAt);
        return { sleeper, dueAt };
      });
      clock.advance(4_000);
      for (const { sleeper, dueAt } of sleepers) {
        assert.equal(sleeper.wokenAt.length, 1);
        const lateMs = (sleeper.wokenAt[0] ?? NaN) - dueAt;
        // No timer is finer than a millisecond.
        assert.ok(lateMs >= 0 && lateMs <= TICK_MS + 1, `${lateMs} ms late, due at ${dueAt}`);
      }
      assert.equal(clock.pending, 0);
    });
  }

  it('is at most one tick late also where the wheel began to turn between two slots', () => {
    const { clock, wheel } = at(30);
    const sleeper = new Dreamer();
    wheel.schedule(sleeper, 51);
    clock.advance(1_000);
    const lateMs = (sleeper.wokenAt[0] ?? NaN) - 51;
    assert.ok(lateMs >= 0 && lateMs <= TICK_MS, `${lateMs} ms late`);
  });

  it('whose time is past is woken with the next tick, not during the call', () => {
    const { clock, wheel } = at(10_000);
    const sleeper = new Dreamer();
    wheel.schedule(sleeper, 3);
    assert.deepEqual(sleeper.wokenAt, []);
    clock.advance(TICK_MS);
    assert.deepEqual(sleeper.wokenAt, [10_000 + TICK_MS]);
  });

  it('that is scheduled again is woken only at the new time, earlier or later', () => {
    for (const [first, second] of [[1_000, 2_000], [2_000, 1_000], [1_000, 1_001]] as const) {
      const { clock, wheel } = at(0);
      const sleeper = new Dreamer();
      wheel.schedule(sleeper, first);
      wheel.schedule(sleeper, second);
      clock.advance(5_000);
      assert.equal(sleeper.wokenAt.length, 1);
      const lateMs = (sleeper.wokenAt[0] ?? NaN) - second;
      assert.ok(lateMs >= 0 && lateMs <= TICK_MS, `${lateMs} ms late`);
    }
  });

  it('that changes its mind again and again, alone on the wheel, is still woken in time', () => {
    const { clock, wheel } = at(0);
    const sleeper = new Dreamer();
    // A stream whose reader falls behind and catches up: it waits for this, then for that.
    while (clock.now() < 2_000 && sleeper.wokenAt.length === 0) {
      wheel.schedule(sleeper, 30_000);
      wheel.schedule(sleeper, 1_000);
      clock.advance(TICK_MS - 10);
    }
    const [wokenAt = Infinity] = sleeper.wokenAt;
    assert.ok(wokenAt >= 1_000 && wokenAt <= 1_000 + TICK_MS, `woken at ${wokenAt}`);
  });

  it('may come back from its own wake, again and again', () => {
    const { clock, wheel } = at(0);
    const sleeper: Dreamer = new Dreamer((now) => wheel.schedule(sleeper, now + 1_000));
    wheel.schedule(sleeper, 1_000);
    clock.advance(4_500);
    assert.deepEqual(sleeper.wokenAt, [1_000, 2_000, 3_000, 4_000]);
    wheel.cancel(sleeper);
    assert.equal(clock.pending, 0);
  });

  it('that asks for a time that is past in its own wake does not stop time', () => {
    const { clock, wheel } = at(0);
    const sleeper: Dreamer = new Dreamer((now) => {
      if (sleeper.wokenAt.length < 5) wheel.schedule(sleeper, now);
    });
    wheel.schedule(sleeper, 100);
    clock.advance(1_000);
    assert.deepEqual([sleeper.wokenAt.length, clock.now(), clock.pending], [5, 1_000, 0]);
  });
});

describe('cancelling', () => {
  it('keeps a sleeper asleep, and may be done twice or for nothing', () => {
    const { clock, wheel } = at(0);
    const [sleeper, stranger] = [new Dreamer(), new Dreamer()];
    wheel.schedule(sleeper, 100);
    wheel.cancel(stranger);
    wheel.cancel(sleeper);
    wheel.cancel(sleeper);
    clock.advance(1_000);
    assert.deepEqual([sleeper.wokenAt, sleeper.slot], [[], -1]);
  });

  it('works inside a wake, for others of the same moment and of later ones', () => {
    const { clock, wheel } = at(0);
    const [same, later, stays] = [new Dreamer(), new Dreamer(), new Dreamer()];
    const first: Dreamer = new Dreamer(() => {
      for (const each of [first, same, later]) wheel.cancel(each);
    });
    for (const each of [first, same, stays]) wheel.schedule(each, 100);
    wheel.schedule(later, 300);
    clock.advance(1_000);
    assert.deepEqual([first, same, later, stays].map(({ wokenAt }) => wokenAt.length),
      [1, 0, 0, 1]);
    assert.equal(clock.pending, 0);
  });

  it('inside a wake of the last one that waits stops the timer', () => {
    const { clock, wheel } = at(0);
    const other = new Dreamer();
    const first = new Dreamer(() => wheel.cancel(other));
    wheel.schedule(first, 100);
    wheel.schedule(other, 100);
    clock.advance(100);
    assert.deepEqual([other.wokenAt, clock.pending], [[], 0]);
  });
});

describe('the timer of the wheel', () => {
  it('is one for all, and none when nothing waits', () => {
    const { clock, wheel } = at(0);
    assert.equal(clock.pending, 0);
    const sleepers = Array.from({ length: 100 }, () => new Dreamer());
    for (const [i, each] of sleepers.entries()) wheel.schedule(each, 100 + i * 10);
    assert.equal(clock.pending, 1);
    clock.advance(1_050);
    assert.equal(clock.pending, 1);
    clock.advance(50);
    assert.equal(clock.pending, 0);
    for (const { wokenAt } of sleepers) assert.equal(wokenAt.length, 1);
  });

  it('is set in whole milliseconds: Node cuts off the rest, and would be early', () => {
    const delays: number[] = [];
    const clock = new class extends FakeClock {
      override setTimeout(fn: () => void, delayMs: number): Timer {
        delays.push(delayMs);
        return super.setTimeout(fn, delayMs);
      }
    }();
    clock.advance(30.7);
    const wheel = new Wheel(clock);
    for (let ms = 50; ms <= 1_000; ms += 50) wheel.schedule(new Dreamer(), ms);
    clock.advance(2_000);
    assert.ok(delays.length >= 19, `${delays.length} ticks`);
    for (const delayMs of delays) assert.ok(Number.isInteger(delayMs), `${delayMs} ms`);
  });

  it('does not tick where nobody waits, and looks a second ahead at the most', () => {
    let ticks = 0;
    const clock = new class extends FakeClock {
      override setTimeout(fn: () => void, delayMs: number): Timer {
        return super.setTimeout(() => {
          ticks++;
          fn();
        }, delayMs);
      }
    }();
    const wheel = new Wheel(clock);
    const sleepers = [new Dreamer(), new Dreamer(), new Dreamer()];
    for (const [i, at] of [60_000, 30_000, 100].entries()) {
      wheel.schedule(sleepers[i] as Dreamer, at);
    }
    clock.advance(60_000);
    assert.deepEqual(sleepers.map(({ wokenAt }) => wokenAt), [[60_000], [30_000], [100]]);
    assert.ok(ticks <= 70, `${ticks} ticks`);
  });

  it('starts anew after a long rest, and is not late for it', () => {
    const { clock, wheel } = at(0);
    wheel.schedule(new Dreamer(), 100);
    clock.advance(3_600_000);
    assert.equal(clock.pending, 0);
    const sleeper = new Dreamer();
    wheel.schedule(sleeper, clock.now() + 100);
    clock.advance(100);
    assert.deepEqual(sleeper.wokenAt, [3_600_100]);
  });
});

describe('after a long stall of the process', () => {
  it('all that fell due are woken at once, once, in the order of their times', () => {
    const clock = new StallingClock();
    const wheel = new Wheel(clock);
    const order: number[] = [];
    for (const dueAt of [900, 100, 59_000, 30_000, 61_000]) {
      wheel.schedule(new Dreamer(() => order.push(dueAt)), dueAt);
    }
    clock.stall(60_000);
    clock.advance(100); // the timer was set for the first of them
    assert.deepEqual(order, [100, 900, 30_000, 59_000]);
    clock.advance(1_000);
    assert.deepEqual(order, [100, 900, 30_000, 59_000, 61_000]);
    assert.equal(clock.pending, 0);
  });

  it('the first to wake may still cancel one that fell due with it', () => {
    const clock = new StallingClock();
    const wheel = new Wheel(clock);
    const later = new Dreamer();
    wheel.schedule(new Dreamer(() => wheel.cancel(later)), 100);
    wheel.schedule(later, 5_000);
    clock.stall(10_000);
    clock.advance(1_000);
    assert.deepEqual([later.wokenAt, clock.pending], [[], 0]);
  });
});
