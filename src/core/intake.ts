/**
 * The seam for what comes without being asked for: a signed webhook, a hint that there is news, a
 * state from a backend. As with `run-source.ts` there is polling behind it, or in a worker the
 * primary. Who may publish is decided before it, who has signed behind it.
 */

import type { Refusal } from './errors.ts';

/** A webhook whose head is as it should be. Nothing of it is believed yet. */
export interface Delivery {
  /** What its head says; the signed body must say so too. */
  readonly runId: string;
  /** As it was sent: the signature is over these very characters. */
  readonly timestamp: string;
  /** Ed25519, 128 hex digits. */
  readonly signature: string;
  /** As it was sent. */
  readonly body: Buffer;
}

/** Where pushed news go. Nothing here rejects. */
export interface Intake {
  /** There may be news of the run. Tells nothing, not even whether it is known. */
  poke(runId: string): void;
  /** The run is so, by the word of its owner. Refuses what is no state of it. */
  publish(runId: string, body: Buffer): Promise<Refusal | undefined>;
  /** Takes it where the run API has signed it; refuses it otherwise. */
  deliver(delivery: Delivery): Promise<Refusal | undefined>;
  /** Takes nothing more. Idempotent. */
  close(): void;
}
