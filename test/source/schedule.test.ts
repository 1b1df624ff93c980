import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';

import { Schedule } from '../../src/source/schedule.ts';
import { FakeClock } from '../support/fake-clock.ts';

/** A schedule whose turns the test gives by hand. */
class Lab {
  readonly clock = new FakeClock();
  readonly turns: { urgency: string; isWanted: () => boolean; give: (may: boolean) => void }[] = [];
  asked = 0;
  givenBack = 0;
  readonly schedule: Schedule;

  constructor(isLimited: boolean) {
    this.schedule = new Schedule({
      pollIntervalMs: 2_000, clock: this.clock, random: () => 1,
      turn: (urgency, isWanted) => isLimited ? new Promise((resolve) => {
        this.turns.push({ urgency, isWanted, give: resolve });
      }) : undefined,
      giveBack: () => this.givenBack++,
    }, () => this.asked++, 2_000);
  }
}

describe('a schedule', () => {
  it('asks at once when it is due and nothing limits it', () => {
    const lab = new Lab(false);
    lab.clock.advance(2_000);
    assert.equal(lab.asked, 1);
  });

  it('waits for its turn, and is not wanted any more once it has ended', async () => {
    const lab = new Lab(true);
    lab.clock.advance(2_000);
    assert.deepEqual([lab.asked, lab.turns[0]?.isWanted()], [0, true]);
    lab.schedule.end();
    assert.equal(lab.turns[0]?.isWanted(), false);
    lab.turns[0]?.give(false);
    await turn();
    assert.deepEqual([lab.asked, lab.givenBack, lab.schedule.isOver], [0, 0, true]);
  });

  it('that ends between the word and the deed gives its place back', async () => {
    const lab = new Lab(true);
    lab.clock.advance(2_000);
    lab.turns[0]?.give(true);
    lab.schedule.end();
    await turn();
    assert.deepEqual([lab.asked, lab.givenBack, lab.schedule.isOver], [0, 1, true]);
  });

  it('that is poked asks now and urgently, but not twice within half a second', async () => {
    const lab = new Lab(true);
    lab.schedule.poke();
    lab.schedule.poke();
    lab.clock.advance(499);
    assert.equal(lab.turns.length, 0, 'its proof was just now');
    lab.clock.advance(1);
    assert.deepEqual(lab.turns.map(({ urgency }) => urgency), ['urgent']);
    lab.turns[0]?.give(true);
    await turn();
    lab.schedule.poke();
    lab.schedule.rest(2_000);
    lab.clock.advance(499);
    assert.equal(lab.turns.length, 1);
    lab.clock.advance(1);
    assert.equal(lab.turns.length, 2, 'a poke during a request comes behind it');
  });

  it('in trouble is not hurried by a poke', () => {
    const lab = new Lab(false);
    lab.clock.advance(2_000);
    lab.schedule.backOff(undefined);
    lab.schedule.poke();
    lab.clock.advance(1_999);
    assert.equal(lab.asked, 1);
    lab.clock.advance(1);
    assert.equal(lab.asked, 2);
  });
});
