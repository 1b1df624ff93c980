/** One question to a gateway, whether it takes streams: for containers, which have no `curl`. */

import type { Clock } from '../core/clock.ts';

/** Less than what a container engine waits for its health command by default. */
const PATIENCE_MS = 2_500;

/** Does the gateway at `origin` answer 200 to `/readyz`, in time? Never rejects. */
export async function isReady(origin: string, clock: Clock): Promise<boolean> {
  const abort = new AbortController();
  const timer = clock.setTimeout(() => abort.abort(), PATIENCE_MS);
  try {
    const { status } = await fetch(`${origin}/readyz`, {
      signal: abort.signal, redirect: 'manual', headers: { connection: 'close' },
    });
    return status === 200;
  } catch {
    return false;
  } finally {
    clock.clearTimeout(timer);
  }
}
