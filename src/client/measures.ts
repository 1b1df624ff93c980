/** How far a run is and how long it takes, for terminals and for the page. Pure. */

import { outputsOf } from './events.ts';
import type { RunState } from './events.ts';

/** Numbers below it are seconds: as milliseconds they were in 1973, as seconds in 5138. */
const FIRST_MS = 1e11;

/** 0 to 100, where upstream tells it; else by outputs; undefined where it tells neither. */
export function percentOf(run: RunState): number | undefined {
  const stated = percentIn(run.progress?.percentComplete);
  if (stated !== undefined) return stated;
  const statuses = outputsOf(run).map(({ status }) => status).filter((each) => each !== undefined);
  const done = statuses.filter((status) => status === 'completed' || status === 'error');
  return percentIn(100 * done.length / statuses.length);
}

/** Rounded down: what is not over is not at 100. Undefined where it is no number. */
export function percentIn(value: unknown): number | undefined {
  if (typeof value !== 'number' || !Number.isFinite(value)) return undefined;
  return Math.min(100, Math.max(0, Math.floor(value)));
}

/** `75_400` → `1:15`, with hours where there are any. */
export function elapsed(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const two = (n: number): string => String(n).padStart(2, '0');
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** Unix time in milliseconds of what upstream says; undefined where that is no time. */
export function momentOf(value: unknown): number | undefined {
  const ms = typeof value === 'string' ? Date.parse(value)
    : typeof value === 'number' ? value * (value < FIRST_MS ? 1000 : 1) : NaN;
  return Number.isFinite(ms) ? ms : undefined;
}
