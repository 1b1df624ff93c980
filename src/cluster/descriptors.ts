/** How many sockets this process can afford: a descriptor too few breaks what is open already. */

import { readFileSync } from 'node:fs';

/** Of all descriptors, kept for upstream, logs, workers and whatever else is opened. */
const RESERVED_SHARE = 0.01;
const MIN_RESERVED = 64;

/**
 * Client connections that fit into the limit on open files, with a reserve left, and room for
 * `others` (sockets to upstream) as far as a quarter of the limit has it. Infinity where the
 * system does not tell.
 */
export function socketBudget(others: number): number {
  const limit = openFilesLimit();
  if (limit === Infinity) return limit;
  const reserved = Math.max(MIN_RESERVED, Math.ceil(limit * RESERVED_SHARE));
  return Math.max(16, limit - reserved - Math.min(others, limit / 4));
}

function openFilesLimit(): number {
  try {
    const limits = readFileSync('/proc/self/limits', 'utf8');
    return Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? Infinity);
  } catch {
    return Infinity;
  }
}
