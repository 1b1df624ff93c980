/** The key or tickets of a request, or why it has none. Nothing malformed ever reaches upstream. */

import type { IncomingMessage } from 'node:http';

import { refuse } from '../core/errors.ts';
import type { Refusal } from '../core/errors.ts';
import { valuesOf } from '../core/hop-headers.ts';
import type { ApiKey } from '../core/run-source.ts';

/** Longer keys are refused. */
const MAX_KEY_CHARS = 512;

/**
 * From `x-api-key`, or else `Authorization: Bearer`. Two different keys in one request are none:
 * a proxy in front might have judged by the other one. A token without the prefix beside an
 * `x-api-key` is no key, but meant for somebody on the way.
 */
export function readKey(request: IncomingMessage, keyPrefix: string): ApiKey | Refusal {
  const keys = given(request, 'x-api-key');
  const tokens = bearerTokens(request);
  const header = keys.length > 0 ? 'x-api-key' : 'authorization';
  const [value, another] = keys.length > 0
    ? new Set([...keys, ...tokens.filter((token) => token.startsWith(keyPrefix))])
    : new Set(tokens);
  if (value === undefined) return refuse('AUTH_MISSING_KEY');
  const isPlain = value.length <= MAX_KEY_CHARS && /^[\x21-\x2b\x2d-\x7e]+$/.test(value);
  const isWhole = value.startsWith(keyPrefix) && value.length > keyPrefix.length;
  if (another !== undefined || !isPlain || !isWhole) return refuse('AUTH_INVALID_KEY');
  return { value, header };
}

/** Is there a key, good or bad? As above, a token without the prefix is for somebody else. */
export function hasKey(request: IncomingMessage, keyPrefix: string): boolean {
  return given(request, 'x-api-key').length > 0
    || bearerTokens(request).some((token) => token.startsWith(keyPrefix));
}

/** Every `?ticket=` of a request, in the order in which they were given. */
export function ticketsOf({ url = '' }: IncomingMessage): string[] {
  const at = url.indexOf('?');
  return at < 0 ? [] : new URLSearchParams(url.slice(at + 1)).getAll('ticket');
}

/** Of `Authorization`, every `Bearer`. */
export function bearerTokens(request: IncomingMessage): string[] {
  return given(request, 'authorization').flatMap((value) => {
    const [, token] = /^Bearer +(.*)$/i.exec(value) ?? [];
    return token ? [token] : [];
  });
}

/** Those that are not empty. From the raw ones: Node joins or drops what is repeated. */
const given = ({ rawHeaders }: IncomingMessage, name: string): string[] =>
  valuesOf(rawHeaders, name).filter((value) => value !== '');
