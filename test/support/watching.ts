/** A watch to its end. */

import type { RunEvent } from '../../src/client/index.ts';
import { within } from './wait.ts';

/** Everything that it tells; rejects as it does. */
export async function all(
  events: AsyncIterable<RunEvent>, ms = 30_000, what = 'the end of a watch',
): Promise<RunEvent[]> {
  const seen: RunEvent[] = [];
  const reading = (async () => {
    for await (const each of events) seen.push(each);
  })();
  await within(ms, what, reading);
  return seen;
}
