/**
 * Takes connections away from node:http once their stream's head is written. It would keep a
 * parser, a request and a response for each as long as it is open: 5 KB that a stream never needs
 * again. There is no documented way; what is undone here is what Node does itself at an upgrade
 * (Node 20 to 26). Where anything looks unfamiliar the connection stays as it is and costs more.
 */

import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

import type { Clock } from '../core/clock.ts';

/** Node's own listeners on a server's socket: by event, their names. */
const LISTENERS = Object.entries({
  close: 'bound socketOnClose', error: 'socketOnError', drain: 'bound socketOnDrain',
  data: 'bound socketOnData', end: 'bound socketOnEnd', timeout: 'socketOnTimeout',
  resume: 'onSocketResume', pause: 'onSocketPause',
});

interface Parser {
  /** Gives reading back to the socket. */
  unconsume(): void;
  /** From the server's list of connections with timeouts. */
  remove(): void;
  /** Frees its memory. */
  close(): void;
}

type Parsed = Omit<Socket, 'on'> & { parser?: Partial<Parser> | null };
type Listener = (...args: unknown[]) => void;

/** Of one server. */
export class Connections {
  readonly #clock: Clock;
  #parsers: Parser[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Undoes what ties the response's socket to HTTP: from here on it is its new owner's, who must
   * listen to `error` and to `end`. False: it stays with the response.
   */
  take(response: ServerResponse): boolean {
    const { socket } = response;
    if (socket === null) return false;
    const { parser } = socket as Parsed;
    const listeners = LISTENERS.map(([event, name]) =>
      [event, socket.listeners(event).find((listener) => listener.name === name)] as const);
    if (!isParser(parser) || listeners.some(([, listener]) => listener === undefined)) return false;
    response.detachSocket(socket);
    for (const [event, listener] of listeners) socket.off(event, listener as Listener);
    parser.unconsume();
    parser.remove();
    (socket as Parsed).parser = null;
    this.#closeLater(parser);
    return true;
  }

  /** Not now: it may be in the middle of the call that led here. */
  #closeLater(parser: Parser): void {
    if (this.#parsers.push(parser) > 1) return;
    this.#clock.setTimeout(() => {
      for (const each of this.#parsers.splice(0)) each.close();
    }, 0);
  }
}

function isParser(parser: Partial<Parser> | null | undefined): parser is Parser {
  const methods = [parser?.unconsume, parser?.remove, parser?.close];
  return methods.every((method) => typeof method === 'function');
}
