/**
 * Which workers take connections. The kernel gives them to whoever is first, so one worker may be
 * full while another is half empty: a full one leaves them to those that have room. Where nobody
 * has, all take them, and say in HTTP that there is none.
 */

import type { FromPrimary, FromWorker, Port } from './messages.ts';

type Door = Pick<Port<FromPrimary, FromWorker>, 'send'>;

interface State {
  hasRoom: boolean;
  /** As it was told to be. */
  isOpen: boolean;
  /** It has said that it listens, since it was told to. */
  isListening: boolean;
}

/** Of all workers that listen. */
export class Doors {
  readonly #doors = new Map<Door, State>();

  add(door: Door): void {
    this.#doors.set(door, { hasRoom: true, isOpen: true, isListening: true });
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

  /** It listens again. */
  onListening(door: Door): void {
    const of = this.#doors.get(door);
    if (of === undefined || !of.isOpen) return;
    of.isListening = true;
    this.#settle();
  }

  #settle(): void {
    const all = [...this.#doors.values()];
    const isRoom = all.some(({ hasRoom }) => hasRoom);
    const isToOpen = ({ hasRoom }: State): boolean => hasRoom || !isRoom;
    // A socket that nobody listens on is gone: none closes before another one has opened.
    const mayClose = all.some((of) => isToOpen(of) && of.isOpen && of.isListening);
    for (const [door, of] of this.#doors) {
      const isOn = isToOpen(of);
      if (of.isOpen === isOn || !isOn && !mayClose) continue;
      of.isOpen = isOn;
      of.isListening = false;
      door.send({ kind: 'accept', isOn });
    }
  }
}
