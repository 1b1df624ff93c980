/**
 * Requests that came on one connection and are not answered yet. HTTP/1.1 lets a client send any
 * number of them, and their answers go out in order, so here they are bounded; and what may take
 * long, or change something, is begun only when what came before it is done: a hundred waits in
 * one packet hold one place, not all.
 */

import type { Socket } from 'node:net';

import type { Metrics } from '../core/metrics.ts';
import type { Exchange } from './exchange.ts';

/** More than so many on one connection close it. */
const MAX_PIPELINED = 64;

interface Line {
  count: number;
  newest: Exchange;
  /** The end of the last one that has a turn. */
  last: Promise<void>;
}

/** Of all connections. */
export class Pipeline {
  readonly #metrics: Metrics;
  readonly #lines = new WeakMap<Socket, Line>();

  constructor(metrics: Metrics) {
    this.#metrics = metrics;
  }

  /**
   * Would an answer to what cannot be read be taken for that to an earlier request? Not where it is
   * the body of the only one.
   */
  isHeld(socket: Socket): boolean {
    const line = this.#lines.get(socket);
    if (line === undefined) return false;
    const { request, response } = line.newest;
    return line.count > 1 || request.complete || response.headersSent;
  }

  /** False: there are too many before this one. */
  enter(exchange: Exchange): boolean {
    const { socket } = exchange.request;
    const line = this.#lines.get(socket)
      ?? { count: 0, newest: exchange, last: Promise.resolve() };
    if (line.count >= MAX_PIPELINED) {
      this.#metrics.count('runcast_limit_total', 'pipelined');
      return false;
    }
    line.count++;
    line.newest = exchange;
    this.#lines.set(socket, line);
    return true;
  }

  /** One that entered is answered. */
  leave(socket: Socket): void {
    const line = this.#lines.get(socket);
    if (line !== undefined && --line.count === 0) this.#lines.delete(socket);
  }

  /** For one that has entered: answers it when those are done that had a turn before it. */
  inTurn(socket: Socket, answer: () => Promise<void>): Promise<void> {
    const line = this.#lines.get(socket);
    if (line === undefined) return answer();
    return line.last = line.last.catch(() => undefined).then(answer);
  }
}
