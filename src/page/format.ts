/** Times and states as text. Pure. */

import { outputsOf } from '../client/events.ts';
import type { RunState } from '../client/events.ts';

/** `75.4` seconds → `1:15`. */
export function elapsed(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const two = (n: number): string => String(n).padStart(2, '0');
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** The time of day, to the tenth of a second. */
export function timeOfDay(date: Date): string {
  const [h, m, s] = [date.getHours(), date.getMinutes(), date.getSeconds()]
    .map((n) => String(n).padStart(2, '0'));
  return `${h}:${m}:${s}.${Math.floor(date.getMilliseconds() / 100)}`;
}

/** 0 to 100, where upstream tells it; else by outputs; undefined where it tells neither. */
export function percentOf({ progress, outputs = [] }: RunState): number | undefined {
  const stated = progress?.percentComplete;
  if (typeof stated === 'number' && Number.isFinite(stated)) return clamp(stated);
  if (!Array.isArray(outputs) || outputs.length === 0) return undefined;
  const done = outputs.filter((output) => output?.status !== 'pending').length;
  return clamp(100 * done / outputs.length);
}

const clamp = (percent: number): number => Math.round(Math.min(100, Math.max(0, percent)));

/** What is new in a state: one line for the log. */
export function changeOf(before: RunState | undefined, now: RunState): string {
  const told: string[] = [];
  if (before?.status !== now.status) told.push(String(now.status ?? 'no status'));
  const were = outputsOf(before);
  for (const [i, output] of outputsOf(now).entries()) {
    const was = were[i];
    if (output.status === was?.status || output.status === 'pending') continue;
    told.push(`${output.label ?? output.id ?? `output ${i + 1}`}: ${String(output.status)}`);
  }
  const percent = percentOf(now);
  if (told.length === 0 && percent !== undefined) told.push(`${percent} %`);
  return told.join(', ') || 'changed';
}

/** A URL that may be shown: not one that runs something. */
export function shownUrl(value: unknown): string | undefined {
  if (typeof value !== 'string' || !URL.canParse(value)) return undefined;
  const { protocol, href } = new URL(value);
  const isData = /^data:(?:image|video|audio)\//i.test(value);
  return protocol === 'https:' || protocol === 'http:' || isData ? href : undefined;
}
