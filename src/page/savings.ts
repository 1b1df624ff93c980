/** How many requests upstream was spared, read from `/metrics` where that is served here. */

import { systemClock } from '../core/clock.ts';

const EVERY_MS = 5_000;

/** What the gateway has counted since it began. */
export interface Savings {
  readonly polls: number;
  /** That as many separate pollers would have made. */
  readonly separate: number;
}

/** Tells them now and then; stops for good where there are none. */
export async function tellSavings(base: URL, tell: (savings: Savings) => void): Promise<void> {
  const savings = document.hidden ? undefined : await readSavings(new URL('metrics', base));
  if (savings === 'none') return;
  if (savings !== undefined) tell(savings);
  systemClock.setTimeout(() => void tellSavings(base, tell), EVERY_MS);
}

/** Undefined: not now. */
async function readSavings(url: URL): Promise<Savings | undefined | 'none'> {
  try {
    const response = await fetch(url);
    if (response.status === 404) return 'none';
    if (!response.ok) return undefined;
    const text = await response.text();
    const value = (name: string): number =>
      Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1] ?? 0);
    const polls = value('runcast_polls_total') + value('runcast_proofs_total');
    return { polls, separate: Math.max(polls, value('runcast_separate_polls_total')) };
  } catch {
    return undefined;
  }
}
