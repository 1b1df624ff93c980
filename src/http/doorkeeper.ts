/**
 * Watches connections before they are requests. Who connects and says nothing, or too little too
 * slowly, costs a socket until the server's header timeout; here the number of these is bounded,
 * and that of all sockets, so that descriptors are left for what is open already. Whoever has
 * been silent for the longest makes room: a newcomer speaks at once, a slowloris never does.
 */

import type { Socket } from 'node:net';

import type { Logger } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';

/** Sockets beyond the limit: enough to say in HTTP that there is no room, and to answer probes. */
const SPARE_SOCKETS = 32;

/** Connections without a finished request; above it the oldest of them are cut. */
const MAX_WAITING = 4096;

/** Of the limit: from here on others are to take what comes, and below it no longer. */
const FULL_SHARE = 0.97;
const ROOM_SHARE = 0.94;

/** Cuts connections above the limits, and says so once an episode. */
export class Doorkeeper {
  readonly #maxSockets: number;
  readonly #log: Logger;
  readonly #metrics: Metrics;
  /** The oldest first. */
  readonly #waiting = new Set<Socket>();
  readonly #onRoom: (hasRoom: boolean) => void;
  #open = 0;
  #hasRoom = true;
  #isTold = false;

  /**
   * `maxSockets`: connections of this process in all. `onRoom` hears when it is nearly full, and
   * when it no longer is.
   */
  constructor(
    maxSockets: number, log: Logger, metrics: Metrics,
    onRoom: (hasRoom: boolean) => void = () => undefined,
  ) {
    this.#maxSockets = maxSockets;
    this.#log = log;
    this.#metrics = metrics;
    this.#onRoom = onRoom;
  }

  /** Is there no room for another stream? */
  get isFull(): boolean {
    return this.#open > this.#maxSockets;
  }

  readonly onConnection = (socket: Socket): void => {
    const hasNoPlace = this.#open >= this.#maxSockets + SPARE_SOCKETS;
    if (hasNoPlace || this.#waiting.size >= MAX_WAITING) {
      const [oldest = socket] = this.#waiting;
      this.#cut(oldest);
      if (oldest === socket) return;
    }
    this.#count(1);
    this.#waiting.add(socket);
    socket.once('close', () => {
      this.#count(-1);
      this.onRequest(socket);
    });
  };

  #count(more: 1 | -1): void {
    this.#open += more;
    const share = this.#open / this.#maxSockets;
    if (this.#hasRoom ? share < FULL_SHARE : share >= ROOM_SHARE) return;
    this.#hasRoom = !this.#hasRoom;
    this.#onRoom(this.#hasRoom);
  }

  /** A whole request head has come. */
  onRequest(socket: Socket): void {
    this.#waiting.delete(socket);
    const hasRoom = this.#open < this.#maxSockets * 0.9 && this.#waiting.size < MAX_WAITING * 0.9;
    if (hasRoom) this.#isTold = false;
  }

  #cut(socket: Socket): void {
    this.#metrics.count('runcast_limit_total', 'sockets');
    if (!this.#isTold) {
      const facts = { open: this.#open, waiting: this.#waiting.size };
      this.#log.warn('too many connections: silent ones are cut, or else new ones', facts);
    }
    this.#isTold = true;
    this.#waiting.delete(socket);
    socket.destroy();
  }
}
