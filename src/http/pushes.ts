/**
 * What others send without being asked: webhooks that are signed, states from whoever has a
 * publish key, and pokes, of which nothing is believed. What they do to runs is the intake's.
 */

import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

import type { Clock } from '../core/clock.ts';
import { refuse } from '../core/errors.ts';
import type { Refusal } from '../core/errors.ts';
import type { Delivery, Intake } from '../core/intake.ts';
import type { Metrics } from '../core/metrics.ts';
import { RUN_ID } from '../core/run-id.ts';
import { Bodies } from './bodies.ts';
import { bearerTokens } from './credentials.ts';
import type { Exchange } from './exchange.ts';
import type { Offers } from './routes.ts';

/** What pushes are put together from. */
export interface PushesOptions {
  readonly clock: Clock;
  readonly metrics: Metrics;
  /** Undefined: there is nobody to take what is pushed. */
  readonly intake: Intake | undefined;
  readonly publishKeys: readonly string[] | undefined;
  /** Is it known where the keys of webhooks are? */
  readonly hasWebhookKeys: boolean;
  readonly webhookHeaderPrefix: string;
  readonly maxBodyBytes: number;
}

/** How far a webhook's clock may be from ours, either way. */
const WINDOW_MS = 300_000;
/** Both 1 to 12 digits of Unix seconds, and Ed25519 in hex. */
const TIMESTAMP = /^\d{1,12}$/;
const SIGNATURE = /^[0-9a-f]{128}$/i;

/** Takes what is pushed. */
export class Pushes {
  /** Which of its routes there are. */
  readonly offers: Pick<Offers, 'publish' | 'webhooks'>;
  readonly #options: PushesOptions;
  readonly #bodies: Bodies;
  readonly #publishKeys: readonly Buffer[];

  constructor(options: PushesOptions) {
    const { clock, metrics, intake, publishKeys = [], hasWebhookKeys, maxBodyBytes } = options;
    this.#options = options;
    this.#bodies = new Bodies(maxBodyBytes, clock, metrics);
    this.#publishKeys = publishKeys.map(digestOf);
    const takes = intake !== undefined;
    this.offers = { publish: takes && publishKeys.length > 0, webhooks: takes && hasWebhookKeys };
  }

  /** The same to everybody, whatever is known of the run. */
  async poke(exchange: Exchange, runId: string): Promise<void> {
    this.#options.intake?.poke(runId);
    await this.#bodies.discard(exchange.request);
    if (exchange.isOpen) exchange.json(202, JSON.stringify({ data: { accepted: true } }));
  }

  async publish(exchange: Exchange, runId: string): Promise<void> {
    const refusal = this.#refusePublisher(exchange.request);
    if (refusal !== undefined) return this.#refuse(exchange, refusal);
    const accepted = JSON.stringify({ data: { accepted: true } });
    return this.#take(exchange, 202, accepted, (intake, body) => intake.publish(runId, body));
  }

  async webhook(exchange: Exchange): Promise<void> {
    const head = this.#readHead(exchange.request);
    if ('code' in head) return this.#refuse(exchange, head);
    const received = JSON.stringify({ data: { received: true } });
    return this.#take(exchange, 200, received, (intake, body) => intake.deliver({ ...head, body }));
  }

  /** The body is taken all the same: whoever is cut off in it may miss the answer. */
  async #refuse(exchange: Exchange, refusal: Refusal): Promise<void> {
    await this.#bodies.discard(exchange.request);
    if (exchange.isOpen) exchange.refuse(refusal);
  }

  async #take(
    exchange: Exchange, status: number, answer: string,
    give: (intake: Intake, body: Buffer) => Promise<Refusal | undefined>,
  ): Promise<void> {
    const { intake } = this.#options;
    const body = await this.#bodies.read(exchange.request);
    if (body === undefined || intake === undefined) return;
    const isWhole = 'bytes' in body;
    const refusal = isWhole ? await give(intake, body.bytes).finally(body.release) : body;
    if (!exchange.isOpen) return;
    if (refusal === undefined) exchange.json(status, answer);
    else exchange.refuse(refusal);
  }

  /** As long for a key that is nearly right as for any other. */
  #refusePublisher(request: IncomingMessage): Refusal | undefined {
    const [token, another] = new Set(bearerTokens(request));
    if (token === undefined) {
      const error = 'A publish key is required: Authorization: Bearer';
      return refuse('AUTH_MISSING_KEY', { error });
    }
    const given = digestOf(token);
    const same = this.#publishKeys.filter((key) => timingSafeEqual(key, given));
    if (another === undefined && same.length > 0) return undefined;
    return refuse('AUTH_INVALID_KEY', { error: 'The publish key is not valid' });
  }

  /** Where it is wrong nothing of the body is kept: it may be large. */
  #readHead(request: IncomingMessage): Omit<Delivery, 'body'> | Refusal {
    const [signature, timestamp, runId] = ['Signature', 'Timestamp', 'Request-Id'].map((name) => {
      const value = request.headers[`${this.#options.webhookHeaderPrefix}${name}`.toLowerCase()];
      return typeof value === 'string' ? value : '';
    }) as [string, string, string];
    const isWhole = SIGNATURE.test(signature) && TIMESTAMP.test(timestamp) && RUN_ID.test(runId);
    if (!isWhole) return this.#count('head');
    const awayMs = Math.abs(this.#options.clock.wallNow() - Number(timestamp) * 1000);
    return awayMs <= WINDOW_MS ? { runId, timestamp, signature } : this.#count('time');
  }

  #count(reason: 'head' | 'time'): Refusal {
    this.#options.metrics.count('runcast_webhooks_refused_total', reason);
    return refuse('SIGNATURE_INVALID');
  }
}

function digestOf(key: string): Buffer {
  return createHash('sha256').update(key).digest();
}
