/**
 * Tickets: a key, sealed for one run and for a while, that may stand in a URL. There is no list
 * of them: whoever has the secret can open them, on any worker, replica, or after a restart.
 */

import {
  createCipheriv, createDecipheriv, hkdfSync, randomBytes,
} from 'node:crypto';

import type { Clock } from '../core/clock.ts';
import { refuse } from '../core/errors.ts';
import type { Refusal } from '../core/errors.ts';
import type { ApiKey } from '../core/run-source.ts';

/** What tickets are put together from. */
export interface TicketsOptions {
  readonly clock: Clock;
  /** The first one seals, all open. None: a random one, which no other gateway has. */
  readonly ticketSecrets: readonly string[] | undefined;
  readonly streamTimeoutMs: number;
}

/** A ticket, and when it is no longer good. */
export interface Ticket {
  readonly text: string;
  /** Unix time. */
  readonly expiresAtMs: number;
}

const CIPHER = 'aes-256-gcm';
/** Also keeps these keys and sealed bytes apart from any other use of the same secret. */
const CONTEXT = 'runcast ticket 1';
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
/** Sealed: when it expires in milliseconds, which header the key came in, and the key. */
const TIME_BYTES = 6;
const HEADERS = ['x-api-key', 'authorization'] as const;
/** Longer than one with the longest key; no secret is tried on it. */
const MAX_CHARS = 1024;
/** At least as long as {@link Tickets} promises, and with time to come back after a stream. */
const MIN_LIFETIME_MS = 15 * 60_000;
const RECONNECT_MS = 5 * 60_000;

/** Seals and opens tickets, good for a stream's whole life and 5 minutes, at least for 15. */
export class Tickets {
  readonly #clock: Clock;
  readonly #keys: readonly Buffer[];
  readonly #lifetimeMs: number;

  constructor({ clock, ticketSecrets, streamTimeoutMs }: TicketsOptions) {
    this.#clock = clock;
    this.#lifetimeMs = Math.max(MIN_LIFETIME_MS, streamTimeoutMs + RECONNECT_MS);
    const secrets = ticketSecrets ?? [randomBytes(KEY_BYTES).toString('base64url')];
    this.#keys = secrets.map((secret) => {
      return Buffer.from(hkdfSync('sha256', secret, '', CONTEXT, KEY_BYTES));
    });
  }

  /** One that opens for this run only. */
  seal(runId: string, { value, header }: ApiKey): Ticket {
    const [key = randomBytes(KEY_BYTES)] = this.#keys;
    const nonce = randomBytes(NONCE_BYTES);
    const expiresAtMs = Math.floor(this.#clock.wallNow()) + this.#lifetimeMs;
    const head = Buffer.alloc(TIME_BYTES + 1);
    head.writeUIntBE(expiresAtMs, 0, TIME_BYTES);
    head.writeUInt8(HEADERS.indexOf(header), TIME_BYTES);
    const cipher = createCipheriv(CIPHER, key, nonce).setAAD(boundTo(runId));
    const sealed = [nonce, cipher.update(head), cipher.update(value, 'utf8'), cipher.final()];
    const text = Buffer.concat([...sealed, cipher.getAuthTag()]).toString('base64url');
    return { text, expiresAtMs };
  }

  /** The key inside, or why it opens nothing. */
  open(text: string, runId: string): ApiKey | Refusal {
    const bytes = Buffer.from(text.slice(0, MAX_CHARS), 'base64url');
    // Decoding is lenient: only the one spelling that was sealed counts.
    const isWhole = bytes.toString('base64url') === text
      && bytes.length > NONCE_BYTES + TIME_BYTES + 1 + TAG_BYTES;
    if (!isWhole) return refuse('TICKET_INVALID');
    for (const key of this.#keys) {
      const inside = unseal(bytes, key, runId);
      if (inside === undefined) continue;
      const isExpired = inside.readUIntBE(0, TIME_BYTES) <= this.#clock.wallNow();
      const header = HEADERS[inside.readUInt8(TIME_BYTES)];
      if (isExpired || header === undefined) return refuse('TICKET_EXPIRED');
      return { value: inside.toString('utf8', TIME_BYTES + 1), header };
    }
    return refuse('TICKET_INVALID');
  }
}

/** Undefined: not sealed with this key, or not for this run, or not as it was sealed. */
function unseal(bytes: Buffer, key: Buffer, runId: string): Buffer | undefined {
  const nonce = bytes.subarray(0, NONCE_BYTES);
  const decipher = createDecipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES });
  decipher.setAAD(boundTo(runId)).setAuthTag(bytes.subarray(-TAG_BYTES));
  try {
    const inside = decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES));
    return Buffer.concat([inside, decipher.final()]);
  } catch {
    return undefined;
  }
}

function boundTo(runId: string): Buffer {
  return Buffer.from(`${CONTEXT}\0${runId}`);
}
