import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';

import { Budget } from '../../src/source/budget.ts';
import type { Urgency } from '../../src/source/budget.ts';
import { Quota } from '../../src/source/quota.ts';
import { FakeClock } from '../support/fake-clock.ts';

/** A budget whose requests are answered at once, and who got a place, in order. */
class Lab {
  readonly clock = new FakeClock();
  readonly quota: Quota;
  readonly budget: Budget;
  readonly granted: string[] = [];
  readonly refused: string[] = [];

  constructor(requests: number, perMs: number) {
    this.quota = new Quota({ requests, perMs }, () => 0);
    this.budget = new Budget(this.clock, this.quota);
  }

  ask(name: string, urgency: Urgency, isWanted = (): boolean => true, ahead = Infinity): void {
    const settle = (): void => {
      this.quota.settle(this.clock.now(), false);
      this.budget.onSettled();
    };
    const place = this.budget.take(urgency, isWanted, ahead);
    if (place === undefined) {
      this.granted.push(name);
      settle();
    }
    void place?.then((isGranted) => {
      (isGranted ? this.granted : this.refused).push(name);
      if (isGranted) settle();
    });
  }

  async advance(ms: number): Promise<void> {
    const end = this.clock.now() + ms;
    for (;;) {
      const nextInMs = this.clock.nextInMs;
      if (nextInMs === undefined || this.clock.now() + nextInMs > end) break;
      this.clock.advance(nextInMs);
      await turn();
    }
    this.clock.advance(end - this.clock.now());
    await turn();
  }
}

describe('a budget', () => {
  it('gives places at once while there are some', () => {
    const lab = new Lab(10, 1_000);
    for (const name of ['a', 'b', 'c']) lab.ask(name, 'urgent');
    assert.deepEqual(lab.granted, ['a', 'b', 'c']);
    assert.equal(lab.clock.pending, 0);
  });

  it('serves what is urgent before polls that came earlier', async () => {
    const lab = new Lab(2, 1_000);
    for (const name of ['a', 'b']) lab.ask(name, 'urgent');
    lab.ask('poll', 'routine');
    lab.ask('join', 'urgent');
    await lab.advance(2_600);
    assert.deepEqual(lab.granted.slice(2), ['join', 'poll']);
  });

  it('lets no poll starve: one in five requests is a poll, in the order they came', async () => {
    const lab = new Lab(10, 1_000);
    for (let i = 0; i < 10; i++) lab.ask('first', 'urgent');
    for (let i = 0; i < 40; i++) lab.ask(`join-${i}`, 'urgent');
    for (let i = 0; i < 3; i++) lab.ask(`poll-${i}`, 'routine');
    await lab.advance(6_300);
    const polls = lab.granted.filter((name) => name.startsWith('poll'));
    assert.deepEqual(polls, ['poll-0', 'poll-1', 'poll-2']);
    assert.ok(lab.granted.indexOf('poll-0') <= 16, lab.granted.join());
    assert.ok(lab.granted.indexOf('join-39') > 40);
  });

  it('lets a request wait for so many others of its kind, and no more', async () => {
    const lab = new Lab(1, 1_000);
    lab.ask('first', 'urgent');
    for (let i = 0; i < 4; i++) lab.ask(`join-${i}`, 'urgent');
    lab.ask('page', 'urgent', () => true, 2);
    await lab.advance(4_000);
    assert.deepEqual(lab.granted, ['first', 'join-0', 'join-1', 'page']);
  });

  it('spends nothing on what is not wanted any more when its turn comes', async () => {
    const lab = new Lab(1, 1_000);
    let isWanted = true;
    lab.ask('a', 'urgent');
    lab.ask('gone', 'urgent', () => isWanted);
    lab.ask('b', 'urgent');
    isWanted = false;
    await lab.advance(1_260);
    assert.deepEqual([lab.granted, lab.refused], [['a', 'b'], ['gone']]);
  });

  it('lets one who has waited long enough go, wherever it stands, and spends nothing', async () => {
    const lab = new Lab(1, 10_000);
    for (const name of ['a', 'b']) lab.ask(name, 'urgent');
    const turn = lab.budget.takeWithin(5_000, () => true);
    await lab.advance(4_999);
    lab.ask('c', 'urgent');
    await lab.advance(1);
    assert.equal(await turn, false);
    await lab.advance(30_000);
    assert.deepEqual(lab.granted, ['a', 'b', 'c']);
    assert.equal(lab.clock.pending, 0);
  });

  it('tells how long a newcomer would wait behind those that wait already', () => {
    const lab = new Lab(2, 1_000);
    assert.equal(lab.budget.waitMs, 0);
    for (const name of ['a', 'b', 'c', 'd']) lab.ask(name, 'urgent');
    assert.equal(lab.budget.waitMs, 2_500);
  });

  it('leaves nobody waiting when it closes', async () => {
    const lab = new Lab(1, 60_000);
    for (const name of ['a', 'b', 'c']) lab.ask(name, 'routine');
    lab.budget.close();
    await turn();
    assert.deepEqual([lab.granted, lab.refused], [['a'], ['b', 'c']]);
    assert.equal(lab.clock.pending, 0);
  });
});
