/**
 * Whoever signs webhooks, as upstream does: keys made with node:crypto, their JWKS, and deliveries
 * that are right until a test makes them wrong.
 */

import { generateKeyPairSync, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Signed {
  readonly headers: Record<string, string>;
  readonly body: Buffer;
}

interface DeliveryOptions {
  /** Unix seconds. */
  readonly timestamp?: number;
  /** For the head alone; the body says its own. */
  readonly requestId?: string;
  readonly prefix?: string;
}

export class Signer {
  readonly jwk: Readonly<Record<string, unknown>>;
  readonly #key: KeyObject;

  constructor(kid = 'key_1') {
    const { privateKey, publicKey } = generateKeyPairSync('ed25519');
    this.#key = privateKey;
    this.jwk = { ...publicKey.export({ format: 'jwk' }), kid, use: 'sig', alg: 'EdDSA' };
  }

  sign(message: string | Buffer): Buffer {
    return sign(null, Buffer.from(message), this.#key);
  }

  /** A POST of this state. */
  deliver(data: object, options: DeliveryOptions = {}): Signed {
    const { timestamp = Math.floor(Date.now() / 1000), prefix = 'X-Lamina-Webhook-' } = options;
    const { requestId = String(Reflect.get(data, 'runId')) } = options;
    const body = Buffer.from(JSON.stringify({ data }));
    const signature = this.sign(Buffer.concat([Buffer.from(`${timestamp}.`), body]));
    const headers = {
      'content-type': 'application/json',
      [`${prefix}Signature`]: signature.toString('hex'),
      [`${prefix}Timestamp`]: String(timestamp),
      [`${prefix}Request-Id`]: requestId,
    };
    return { headers, body };
  }
}

export const jwksOf = (...signers: readonly Signer[]): string =>
  JSON.stringify({ keys: signers.map(({ jwk }) => jwk) });

/** A file that holds these keys. */
export function jwksFile(...signers: readonly Signer[]): string {
  const path = join(mkdtempSync(join(tmpdir(), 'runcast-')), 'jwks.json');
  writeFileSync(path, jwksOf(...signers));
  return path;
}
