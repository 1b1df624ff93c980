/** Compiled modules of ours that browsers load, for the page and for the doctor. */

import { readFile } from 'node:fs/promises';

/**
 * The text of one of `served`, which are paths below the root of what was compiled: nothing else
 * is read. Undefined where there is none, as when nothing was compiled.
 */
export async function moduleText(
  name: string, served: readonly string[],
): Promise<string | undefined> {
  if (!served.includes(name)) return undefined;
  return readFile(new URL(`../${name}`, import.meta.url), 'utf8').catch(() => undefined);
}
