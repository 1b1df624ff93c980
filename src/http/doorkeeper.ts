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

/** Cuts connections above the limits, and says so once an episode. */
export class Doorkeeper {
  readonly #maxSockets: number;
  readonly #log: Logger;
  readonly #metrics: Metrics;
  /** The oldest first. */
  readonly #waiting = new Set<Socket>();
  #open = 0;
  #isTold = false;

  /** `maxSockets`: connections of this process in all. */
  constructor(maxSockets: number, log: Logger, metrics: Metrics) {
    this.#maxSockets = maxSockets;
    this.#log = log;
    this.#metrics = metrics;
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
    this.#open++;
    this.#waiting.add(socket);
    socket.once('close', () => {
      this.#open--;
      this.onRequest(socket);
    });
  };

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
