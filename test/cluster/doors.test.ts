/** Who of the workers takes connections, by what they said of their room. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { Doors } from '../../src/cluster/doors.ts';
import type { FromPrimary } from '../../src/cluster/messages.ts';

class Door {
  isOpen = true;
  readonly #log: string[];
  readonly #name: string;

  constructor(name: string, log: string[]) {
    this.#name = name;
    this.#log = log;
  }

  send(message: FromPrimary): boolean {
    assert.ok(message.kind === 'accept' && message.isOn !== this.isOpen);
    this.isOpen = message.isOn;
    this.#log.push(`${this.#name} ${message.isOn ? 'opens' : 'closes'}`);
    return true;
  }
}

function three(): { doors: Doors; log: string[]; each: [Door, Door, Door] } {
  const log: string[] = [];
  const doors = new Doors();
  const each: [Door, Door, Door] = [new Door('a', log), new Door('b', log), new Door('c', log)];
  for (const door of each) doors.add(door);
  return { doors, log, each };
}

describe('doors', () => {
  it('close where a worker is full, while another has room, and open when it has again', () => {
    const { doors, log, each: [a, b] } = three();
    doors.onRoom(a, false);
    doors.onRoom(b, false);
    doors.onRoom(a, true);
    assert.deepEqual(log, ['a closes', 'b closes', 'a opens']);
  });

  it('are all open where nobody has room: somebody has to say so', () => {
    const { doors, log, each: [a, b, c] } = three();
    doors.onRoom(a, false);
    doors.onRoom(b, false);
    doors.onRoom(c, false);
    assert.deepEqual(log.slice(2), ['a opens', 'b opens']);
    doors.onRoom(b, true);
    assert.deepEqual(log.slice(4), []);
    doors.onListening(b);
    assert.deepEqual(log.slice(4), ['a closes', 'c closes']);
  });

  it('open when the only worker with room is gone, and close again for its successor', () => {
    const { doors, log, each: [a, b, c] } = three();
    doors.onRoom(a, false);
    doors.onRoom(b, false);
    doors.delete(c);
    assert.deepEqual(log.slice(2), ['a opens', 'b opens']);
    doors.add(new Door('d', log));
    assert.deepEqual(log.slice(4), ['a closes', 'b closes']);
  });

  it('close only when one that is to be open has said that it listens', () => {
    const { doors, log, each: [a, b, c] } = three();
    doors.onRoom(a, false);
    doors.onRoom(b, false);
    log.length = 0;
    doors.onRoom(a, true);
    doors.delete(b);
    doors.onRoom(c, false);
    assert.deepEqual(log, ['a opens'], 'c is the only one that is known to listen');
    doors.onListening(a);
    assert.deepEqual(log, ['a opens', 'c closes']);
  });

  it('know nothing of a worker that is gone', () => {
    const { doors, log, each: [a] } = three();
    doors.delete(a);
    doors.onRoom(a, false);
    assert.deepEqual(log, []);
  });
});
