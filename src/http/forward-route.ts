/** Which of the targets that are none of ours may go to upstream. Pure. */

import { refuse } from '../core/errors.ts';
import type { Refusal } from '../core/errors.ts';

/** For upstream, as it came. */
export interface ForwardRoute {
  readonly kind: 'forward';
  /** Path and query. */
  readonly target: string;
}

/** What is passed on; the others have no meaning there, or one of their own here. */
const FORWARD_METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'];

/** Servers have decoded a path twice, and none that is known of three times. */
const MAX_DECODINGS = 3;

/**
 * Undefined: it is not below `/v1`, or is kept for ourselves. A path that leads out of `/v1` by
 * anybody's reading of it (dot segments, backslashes, however often encoded) is refused: upstream
 * may have more on this origin than was meant to be shown.
 */
export function parseForward(
  method: string, target: string,
): ForwardRoute | { kind: 'refused'; refusal: Refusal; allow?: string } | undefined {
  const [path = ''] = target.split('?');
  if (!path.startsWith('/v1/') || path === '/v1/runs/stream') return undefined;
  if (!FORWARD_METHODS.includes(method)) {
    const allow = FORWARD_METHODS.join(', ');
    return { kind: 'refused', refusal: refuse('METHOD_NOT_ALLOWED'), allow };
  }
  if (/^[\x21\x22\x24-\x7e]+$/.test(target) && isPlain(path)) return { kind: 'forward', target };
  const refusal = refuse('VALIDATION_ERROR', { error: 'The path leads astray' });
  return { kind: 'refused', refusal };
}

/** What no name in a path holds: controls, backslashes, dot segments, and overlong UTF-8. */
const ASTRAY = /[\\\x00-\x1f\x7f\xc0\xc1]|\/\/|(?:^|\/)\.{1,2}(?:;[^/]*)?(?:\/|$)/;

function isPlain(path: string): boolean {
  if (!isEncoded(path)) return false;
  let decoded = path;
  for (let i = 0; i <= MAX_DECODINGS; i++) {
    if (ASTRAY.test(decoded)) return false;
    const next = decodedLeniently(decoded);
    if (next === decoded) return true;
    decoded = next;
  }
  return false;
}

/** Byte for byte, and what is none is left: one bad escape must not hide the others. */
function decodedLeniently(text: string): string {
  return text.replace(/%([0-9a-f]{2})/gi, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)));
}

function isEncoded(path: string): boolean {
  try {
    decodeURIComponent(path);
    return true;
  } catch {
    return false;
  }
}
