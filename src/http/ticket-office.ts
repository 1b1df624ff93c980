/** `POST /v1/runs/{runId}/ticket`: a ticket for whoever has a key that opens the run. */

import type { Clock } from '../core/clock.ts';
import type { Metrics } from '../core/metrics.ts';
import { Bodies } from './bodies.ts';
import type { Entrance } from './entrance.ts';
import type { Exchange } from './exchange.ts';
import type { Tickets } from './tickets.ts';

/** What the office is put together from, besides tickets and entrance. */
export interface TicketOfficeOptions {
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly maxBodyBytes: number;
  readonly basePath: string | undefined;
}

/** Issues tickets. */
export class TicketOffice {
  readonly #tickets: Tickets;
  readonly #entrance: Entrance;
  readonly #bodies: Bodies;
  readonly #basePath: string | undefined;

  constructor(tickets: Tickets, entrance: Entrance, options: TicketOfficeOptions) {
    this.#tickets = tickets;
    this.#entrance = entrance;
    this.#basePath = options.basePath;
    this.#bodies = new Bodies(options.maxBodyBytes, options.clock, options.metrics);
  }

  /** Some clients send a body with every POST; nothing of it is kept. */
  async issue(exchange: Exchange, runId: string): Promise<void> {
    await this.#bodies.discard(exchange.request);
    if (!exchange.isOpen) return;
    const key = this.#entrance.ownKeyOf(exchange);
    if (key === undefined) return;
    const admitted = await this.#entrance.admit(exchange, runId, key, 'look');
    if (admitted === undefined) return;
    admitted.leave?.();
    const { text: ticket, expiresAtMs } = this.#tickets.seal(runId, key);
    const expiresAt = new Date(expiresAtMs).toISOString();
    const url = `${this.#basePath ?? mountOf(exchange)}/v1/runs/${runId}/stream?ticket=${ticket}`;
    exchange.json(200, JSON.stringify({ data: { ticket, expiresAt, url } }));
  }
}

/** Express takes the path that a handler is mounted under off the URL, and leaves it here. */
function mountOf({ request, place }: Exchange): string {
  const { baseUrl } = request as { baseUrl?: unknown };
  return place === 'host' && typeof baseUrl === 'string' ? baseUrl : '';
}
