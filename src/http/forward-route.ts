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

function isPlain(path: string): boolean {
  let decoded = path;
  for (let i = 0; i <= MAX_DECODINGS; i++) {
    if (/[\\\x00-\x1f\x7f]|\/\/|(?:^|\/)\.{1,2}(?:;[^/]*)?(?:\/|$)/.test(decoded)) return false;
    try {
      const next = decodeURIComponent(decoded);
      if (next === decoded) return true;
      decoded = next;
    } catch {
      return i > 0; // what is no encoding the second time is a name with a % in it
    }
  }
  return false;
}
