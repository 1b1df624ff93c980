/**
 * What `Last-Event-ID` says: the digest of a state, or those of several runs in one. For the
 * gateway and for the page, so without anything of Node's.
 */

/** The id of an event that is sent before any state was. */
export const NO_ID = 'none';

/** In the id of a stream of several runs, the place of one that its key may not see. */
export const REFUSED_ID = 'refused';

/** Between the ids of several runs; in no id itself. */
const SEPARATOR = '.';

/** The id of a stream of several runs: theirs, in the order of the request. */
export function joinIds(ids: readonly string[]): string {
  return ids.join(SEPARATOR);
}

/** Where a client left off, by run. What does not fit `count` runs is no position at all. */
export function splitId(id: string | undefined, count: number): string[] {
  const ids = id?.split(SEPARATOR) ?? [];
  return ids.length === count ? ids : Array.from({ length: count }, () => NO_ID);
}
