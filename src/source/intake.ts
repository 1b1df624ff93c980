/**
 * The {@link Intake} of a gateway that polls: what is pushed becomes the same Snapshot that a poll
 * would have brought, at the pollers that follow the run, or makes them ask. Keeps no state of its
 * own: a replay meets the first end that was seen, which stands.
 */

import type { Delivery, Intake } from '../core/intake.ts';
import { refuse } from '../core/errors.ts';
import type { Refusal } from '../core/errors.ts';
import { parseExecution } from '../core/execution.ts';
import type { Snapshot, StatusMapping } from '../core/execution.ts';
import type { Metrics } from '../core/metrics.ts';
import type { PollingSource } from './polling-source.ts';
import type { SigningKeys } from './signing-keys.ts';

/** What taking in takes. */
export interface PushIntakeOptions {
  readonly source: PollingSource;
  readonly mapping: StatusMapping;
  /** Undefined: no webhook is believed. */
  readonly keys: SigningKeys | undefined;
  readonly metrics: Metrics;
}

/** Feeds the pollers. */
export class PushIntake implements Intake {
  readonly #options: PushIntakeOptions;

  constructor(options: PushIntakeOptions) {
    this.#options = options;
  }

  poke(runId: string): void {
    const { source, metrics } = this.#options;
    if (source.poke(runId)) metrics.count('runcast_pushes_total', 'poke');
  }

  publish(runId: string, body: Buffer): Promise<Refusal | undefined> {
    const { source, mapping, metrics } = this.#options;
    const parsed = parseExecution(runId, body, mapping);
    if (parsed.kind === 'invalid') return Promise.resolve(unreadable(parsed.why));
    const stated = statedRunId(parsed.snapshot);
    if (stated !== undefined && stated !== runId) {
      return Promise.resolve(unreadable('its runId is not that of the path'));
    }
    source.push(parsed.snapshot, true);
    metrics.count('runcast_pushes_total', 'publish');
    return Promise.resolve(undefined);
  }

  async deliver({ runId, timestamp, signature, body }: Delivery): Promise<Refusal | undefined> {
    const { mapping, keys, metrics } = this.#options;
    const message = Buffer.concat([Buffer.from(`${timestamp}.`), body]);
    const isSigned = await keys?.verify(message, Buffer.from(signature, 'hex'));
    if (isSigned === undefined) {
      const error = 'The keys that sign webhooks cannot be had now';
      return refuse('RESOURCE_UNAVAILABLE', { error });
    }
    if (!isSigned) return this.#refuse('signature');
    const parsed = parseExecution(runId, body, mapping);
    if (parsed.kind === 'invalid') return unreadable(parsed.why);
    if (statedRunId(parsed.snapshot) !== runId) return this.#refuse('run');
    this.#onSigned(parsed.snapshot);
    metrics.count('runcast_pushes_total', 'webhook');
    return undefined;
  }

  close(): void {
    this.#options.keys?.close();
  }

  /**
   * An end stays true, however late it comes. How old any other state is cannot be told, and a
   * replay must not take a run back: it says no more than that there may be news.
   */
  #onSigned(snapshot: Snapshot): void {
    const { source } = this.#options;
    if (snapshot.terminal === undefined) source.poke(snapshot.runId);
    else source.push(snapshot, false);
  }

  #refuse(reason: 'signature' | 'run'): Refusal {
    this.#options.metrics.count('runcast_webhooks_refused_total', reason);
    return refuse('SIGNATURE_INVALID');
  }
}

function unreadable(why: string): Refusal {
  return refuse('VALIDATION_ERROR', { error: `The body is no state of the run: ${why}` });
}

/** Of what was parsed before. */
function statedRunId({ data }: Snapshot): unknown {
  return (JSON.parse(data) as { readonly runId?: unknown }).runId;
}
