/**
 * Which workers take connections. The kernel gives them to whoever is first, so one worker may be
 * full while another is half empty: a full one leaves them to those that have room. Where nobody
 * has, all take them, and say in HTTP that there is none.
 */

import type { FromPrimary, FromWorker, Port } from './messages.ts';

type Door = Pick<Port<FromPrimary, FromWorker>, 'send'>;

/** Of all workers that listen. */
export class Doors {
  readonly #doors = new Map<Door, { hasRoom: boolean; isOpen: boolean }>();

  add(door: Door): void {
    this.#doors.set(door, { hasRoom: true, isOpen: true });
    this.#settle();
  }

  delete(door: Door): void {
    if (this.#doors.delete(door)) this.#settle();
  }

  onRoom(door: Door, hasRoom: boolean): void {
    const of = this.#doors.get(door);
    if (of === undefined) return;
    of.hasRoom = hasRoom;
    this.#settle();
  }

  #settle(): void {
    const isRoom = [...this.#doors.values()].some(({ hasRoom }) => hasRoom);
    // Those that open before those that close: a socket that nobody listens on is gone.
    for (const isOn of [true, false]) {
      for (const [door, of] of this.#doors) {
        const isToOpen = of.hasRoom || !isRoom;
        if (isToOpen !== isOn || of.isOpen === isOn) continue;
        of.isOpen = isOn;
        door.send({ kind: 'accept', isOn });
      }
    }
  }
}
