/** A JSON Web Key Set (RFC 7517) into the keys of it that can verify Ed25519 (RFC 8037). Pure. */

import { createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';

/** More are left aside: every one of them is tried on what fits none. */
const MAX_KEYS = 16;

/**
 * `{"keys": […]}`, in a `data` envelope or not, or one key by itself. Keys of other kinds are
 * passed over. Undefined where there is none that can be used.
 */
export function parseJwks(text: string): readonly KeyObject[] | undefined {
  const root = parse(text);
  const set = field(root, 'keys') ?? field(field(root, 'data'), 'keys') ?? [root];
  if (!Array.isArray(set)) return undefined;
  const keys = set.flatMap(toKey).slice(0, MAX_KEYS);
  return keys.length > 0 ? keys : undefined;
}

function toKey(jwk: unknown): KeyObject[] {
  const [kty, crv, x] = ['kty', 'crv', 'x'].map((name) => field(jwk, name));
  if (kty !== 'OKP' || crv !== 'Ed25519' || typeof x !== 'string') return [];
  try {
    return [createPublicKey({ key: { kty, crv, x }, format: 'jwk' })];
  } catch {
    return [];
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;
}
