/** Which contenders can run on this machine. */

import type { Contender } from './contender.ts';

/** Those that can, by name and in order; and why the others cannot. `only`: the names asked for. */
export async function available<C extends Contender>(
  contenders: readonly C[], only: readonly string[] = [],
): Promise<{ readonly here: ReadonlyMap<string, C>; readonly skipped: readonly string[] }> {
  const here = new Map<string, C>();
  const skipped: string[] = [];
  for (const contender of contenders) {
    const isAsked = only.length === 0 || only.includes(contender.name);
    const reason = isAsked ? await contender.unavailable() : 'not asked for';
    if (reason === undefined) here.set(contender.name, contender);
    else skipped.push(`${contender.name}: ${reason}`);
  }
  return { here, skipped };
}
