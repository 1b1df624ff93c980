/**
 * The servers that a gateway is mounted in. `server.close()` waits for every open connection, and
 * a stream is one: so whoever closes the host means the gateway too, and it is told.
 */

import type { RequestListener } from 'node:http';
import { Server } from 'node:net';
import type { Socket } from 'node:net';

import type { Clock, Timer } from '../core/clock.ts';

/** Nobody tells that a server closes before it has closed, so it is looked at this often. */
const LOOK_MS = 250;

/** Calls `onClosed` once, when the last server that requests came from listens no more. */
export class Hosts {
  readonly #clock: Clock;
  readonly #onClosed: () => void;
  readonly #servers = new Set<Server>();
  #timer: Timer | undefined;
  #isStopped = false;

  constructor(clock: Clock, onClosed: () => void) {
    this.#clock = clock;
    this.#onClosed = onClosed;
  }

  /** `handle`, and a look at whose request it is. */
  mounted(handle: RequestListener): RequestListener {
    return (request, response) => {
      this.#see(request.socket);
      handle(request, response);
    };
  }

  /** Looks no more. Idempotent. */
  stop(): void {
    this.#isStopped = true;
    if (this.#timer !== undefined) this.#clock.clearTimeout(this.#timer);
    this.#servers.clear();
  }

  /** What listens nowhere, as in a test that injects its requests, is no host. */
  #see(socket: Socket): void {
    // Not in the types, but there in every Node since 0.x, TLS included.
    const { server } = socket as { server?: unknown };
    if (this.#isStopped || !(server instanceof Server) || !server.listening) return;
    if (this.#servers.has(server)) return;
    this.#servers.add(server);
    if (this.#timer === undefined) this.#look();
  }

  #look(): void {
    for (const server of this.#servers) if (!server.listening) this.#servers.delete(server);
    if (this.#servers.size > 0) {
      this.#timer = this.#clock.setIdleTimeout(() => this.#look(), LOOK_MS);
      return;
    }
    this.stop();
    this.#onClosed();
  }
}
