/** Which runs the page's address names, in the order in which they stand on the page. Pure. */

import { RUN_ID } from '../core/run-id.ts';

/** Of a `location.hash`; each once, and none that cannot be. */
export function runsIn(hash: string): string[] {
  const named = new URLSearchParams(hash.slice(1)).getAll('run');
  return [...new Set(named.filter((each) => RUN_ID.test(each)))];
}

/** The other way round. */
export function hashOf(runIds: readonly string[]): string {
  return `#${new URLSearchParams(runIds.map((runId) => ['run', runId]))}`;
}
