/**
 * Who is let through the door: sockets by number and by what they have said so far. The sockets
 * are Node's own, connected to nothing: only `destroy` and `close` of them matter here.
 */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Socket } from 'node:net';
import { describe, it } from 'node:test';

import type { Logger } from '../../src/core/log.ts';
import { silentLogger } from '../../src/core/log.ts';
import { Metrics } from '../../src/core/metrics.ts';
import { Doorkeeper } from '../../src/http/doorkeeper.ts';
import { within } from '../support/wait.ts';

/** Connections without a finished request; see doorkeeper.ts. */
const MAX_WAITING = 4096;

/** Let in beyond the limit, to be told so. */
const SPARE = 32;

class Door {
  readonly metrics = new Metrics();
  readonly warnings: (readonly [msg: string, facts: unknown])[] = [];
  readonly keeper: Doorkeeper;

  constructor(maxSockets: number, onRoom?: (hasRoom: boolean) => void) {
    const log: Logger = {
      ...silentLogger, warn: (msg, facts) => void this.warnings.push([msg, facts]),
    };
    this.keeper = new Doorkeeper(maxSockets - SPARE, log, this.metrics, onRoom);
  }

  /** So many connect. */
  connect(count: number): Socket[] {
    return Array.from({ length: count }, () => {
      const socket = new Socket();
      this.keeper.onConnection(socket);
      return socket;
    });
  }

  /** And say what they want. */
  ask(sockets: readonly Socket[]): void {
    for (const socket of sockets) this.keeper.onRequest(socket);
  }

  get refused(): number {
    const [sample] = this.metrics.samples();
    if (sample === undefined) return 0;
    assert.deepEqual(sample.slice(0, 2), ['runcast_limit_total', 'sockets']);
    return sample[2];
  }
}

async function close(sockets: readonly Socket[]): Promise<void> {
  const closed = sockets.map((socket) => once(socket, 'close'));
  for (const socket of sockets) socket.destroy();
  await within(2_000, 'the close of the sockets', Promise.all(closed));
}

const cut = (sockets: readonly Socket[]): number =>
  sockets.filter(({ destroyed }) => destroyed).length;

describe('the door', () => {
  it('lets in as many as there may be, cuts the next one, and counts it', () => {
    const door = new Door(3);
    const inside = door.connect(3);
    assert.deepEqual([cut(inside), door.refused], [0, 0]);
    door.ask(inside);
    const late = door.connect(2);
    assert.deepEqual([cut(inside), cut(late), door.refused], [0, 2, 2]);
  });

  it('is full before it is shut: who comes then is let in to be told', () => {
    const door = new Door(SPARE + 2);
    door.ask(door.connect(2));
    assert.equal(door.keeper.isFull, false);
    door.ask(door.connect(SPARE));
    assert.deepEqual([door.keeper.isFull, door.refused], [true, 0]);
    assert.equal(cut(door.connect(1)), 1);
  });

  it('has room again for each one that is gone', async () => {
    const door = new Door(2);
    const inside = door.connect(2);
    door.ask(inside);
    await close(inside.slice(0, 1));
    const next = door.connect(1);
    door.ask(next);
    assert.deepEqual([cut(next), cut(door.connect(1))], [0, 1]);
  });

  it('counts none twice, whether it asked or not, and none that it cut', async () => {
    const door = new Door(4);
    const [first, ...others] = door.connect(4);
    assert.ok(first, 'nobody is inside');
    door.ask([first, first, ...others]);
    const late = door.connect(3);
    await close([first]);
    await within(2_000, 'the close of those that were cut', Promise.all(late.map((socket) =>
      socket.closed ? undefined : once(socket, 'close'))));
    const next = door.connect(1);
    door.ask(next);
    assert.deepEqual([cut(next), cut(door.connect(1)), cut(others)], [0, 1, 0]);
  });

  it('counts those that ask as open still: descriptors do not grow by it', () => {
    const door = new Door(3);
    const inside = door.connect(3);
    door.ask(inside);
    assert.deepEqual([cut(door.connect(1)), cut(inside)], [1, 0]);
  });

  it('has no bound but that on the silent where there is none on sockets', () => {
    const door = new Door(Infinity);
    for (let i = 0; i < 3; i++) {
      const sockets = door.connect(MAX_WAITING);
      assert.equal(cut(sockets), 0, `round ${i}`);
      door.ask(sockets);
    }
    assert.equal(door.refused, 0);
  });
});

describe('those who connect and say nothing', () => {
  it('are no more than 4096, and leave who has asked alone', () => {
    const door = new Door(100_000);
    const streams = door.connect(100);
    door.ask(streams);
    const silent = door.connect(MAX_WAITING);
    const late = door.connect(2);
    assert.deepEqual([cut(streams), cut(silent), cut(late), door.refused], [0, 2, 0, 2]);
    assert.equal(cut(silent.slice(0, 2)), 2, 'who was silent for the longest');
  });

  it('make room for who comes later, also where sockets are few', () => {
    const door = new Door(10);
    const streams = door.connect(4);
    door.ask(streams);
    const silent = door.connect(6);
    const late = door.connect(3);
    assert.deepEqual([cut(streams), cut(silent), cut(late), door.refused], [0, 3, 0, 3]);
  });

  it('make room by speaking as well as by leaving', async () => {
    const door = new Door(100_000);
    const silent = door.connect(MAX_WAITING);
    door.ask(silent.slice(0, 1));
    door.connect(1);
    assert.equal(door.refused, 0);
    await close(silent.slice(1, 2));
    door.connect(1);
    assert.equal(door.refused, 0);
    door.connect(1);
    assert.deepEqual([cut(silent.slice(2)), door.refused], [1, 1]);
  });

  it('are forgotten when they go without a word', async () => {
    const door = new Door(100_000);
    await close(door.connect(MAX_WAITING));
    assert.equal(cut(door.connect(MAX_WAITING)), 0);
  });
});

describe('a full house', () => {
  it('is told of once, with how full it is, and not once a newcomer', () => {
    const door = new Door(10);
    door.ask(door.connect(4));
    door.connect(6);
    assert.equal(door.warnings.length, 0);
    door.connect(50);
    const [[msg, facts] = [], ...more] = door.warnings;
    assert.equal(more.length, 0);
    assert.match(msg ?? '', /too many connections/);
    assert.deepEqual(facts, { open: 10, waiting: 6 });
    assert.equal(door.refused, 50);
  });

  it('is not told of again while it only flickers', async () => {
    const door = new Door(100);
    const inside = door.connect(100);
    door.ask(inside);
    door.connect(1);
    for (let i = 0; i < 5; i++) {
      await close(inside.splice(0, 1));
      const next = door.connect(1);
      door.ask(next);
      inside.push(...next);
      door.connect(1);
    }
    assert.equal(door.warnings.length, 1);
  });

  it('is told of again once there was room for a tenth', async () => {
    const door = new Door(100);
    const inside = door.connect(100);
    door.ask(inside);
    door.connect(1);
    await close(inside.splice(0, SPARE + 8));
    door.connect(SPARE + 9);
    assert.deepEqual([door.warnings.length, door.refused], [2, 2]);
  });

  it('is told of again when the silent ones had spoken, and others are silent now', async () => {
    const door = new Door(100_000);
    const first = door.connect(MAX_WAITING + 1);
    assert.equal(door.warnings.length, 1);
    door.ask(first);
    door.connect(MAX_WAITING + 1);
    assert.equal(door.refused, 2);
    assert.equal(door.warnings.length, 2, 'the second episode was not told of');
  });
});

describe('the room of a process', () => {
  it('is told once when it is nearly gone, and once when it is back', async () => {
    const told: boolean[] = [];
    const door = new Door(232, (hasRoom) => told.push(hasRoom));
    const sockets = door.connect(193);
    assert.deepEqual(told, []);
    sockets.push(...door.connect(5));
    assert.deepEqual(told, [false]);
    await close(sockets.splice(0, 8));
    assert.deepEqual(told, [false]);
    await close(sockets.splice(0, 5));
    assert.deepEqual(told, [false, true]);
    await close(sockets);
    assert.deepEqual(told, [false, true]);
  });
});
