/** What an embedder holds: the face of a gateway, and how to get one. */

import type { IncomingMessage, ServerResponse } from 'node:http';

import { ComposedGateway, machineParts } from './composition.ts';
import type { Address } from './core/address.ts';
import { silentLogger } from './core/log.ts';
import type { Stats } from './core/machine.ts';
import { resolveOptions } from './options.ts';
import type { GatewayOptions } from './options.ts';

export type { Stats as GatewayStats } from './core/machine.ts';

/** A gateway: mounted by its handler, or listening by itself. */
export interface Gateway {
  /** For any `node:http` server. Bound. When the last one that used it closes, so does this. */
  readonly handler: (request: IncomingMessage, response: ServerResponse) => void;
  /**
   * Listens on `host` and `port`; resolves with what it really listens on, and rejects with the
   * system's error where it cannot. Once.
   */
  listen(): Promise<Address>;
  /**
   * Ends every stream without a verdict, spread over `drainTimeoutMs`, refuses new ones in a way
   * that brings them back, then stops listening and polling. Never rejects; idempotent: the
   * first call's time counts.
   */
  close(drainTimeoutMs?: number): Promise<void>;
  /** Of this process. */
  stats(): Stats;
}

/** Throws a {@link GatewayError} `INVALID_OPTIONS` that names every mistake. */
export function createGateway(options: GatewayOptions): Gateway {
  const settings = resolveOptions(options);
  const log = options.logger ?? silentLogger;
  return new ComposedGateway(machineParts(settings, log, options.source));
}
