/** Times and states as text. Pure. */

import { outputsOf } from '../client/events.ts';
import type { RunOutput, RunState } from '../client/events.ts';
import { percentOf } from '../client/measures.ts';
import { textOf } from '../client/plain-value.ts';

const MAX_LISTED = 4;
const MAX_NAME_CHARS = 80;
const MAX_STATUS_CHARS = 80;

/** The time of day, to the tenth of a second. */
export function timeOfDay(date: Date): string {
  const [h, m, s] = [date.getHours(), date.getMinutes(), date.getSeconds()]
    .map((n) => String(n).padStart(2, '0'));
  return `${h}:${m}:${s}.${Math.floor(date.getMilliseconds() / 100)}`;
}

/** So many characters of it at most, and then `…`. */
export function clipped(text: string, chars: number): string {
  if (text.length <= chars) return text;
  // Half a character is none.
  return `${text.slice(0, chars - 1).replace(/[\ud800-\udbff]$/, '')}…`;
}

/** The first few, and how many more there are. */
export function listed(names: readonly string[]): string {
  const more = names.length - MAX_LISTED;
  return more <= 0 ? names.join(', ') : `${names.slice(0, MAX_LISTED).join(', ')} and ${more} more`;
}

/** What a node is called: by upstream, or else by its place. */
export function nameOf({ label, id }: RunOutput, index: number): string {
  return clipped(textOf(label) || textOf(id), MAX_NAME_CHARS) || `Output ${index + 1}`;
}

/** What is new in a state: one line for the log. */
export function changeOf(before: RunState | undefined, now: RunState): string {
  const told: string[] = [];
  const wordOf = (status: unknown): string =>
    clipped(textOf(status), MAX_STATUS_CHARS) || 'no status';
  if (before?.status !== now.status) told.push(wordOf(now.status));
  const were = outputsOf(before);
  for (const [i, output] of outputsOf(now).entries()) {
    const was = were[i];
    if (output.status === was?.status || output.status === 'pending') continue;
    told.push(`${nameOf(output, i)}: ${wordOf(output.status)}`);
  }
  const percent = percentOf(now);
  if (told.length === 0 && percent !== undefined) told.push(`${percent} %`);
  return listed(told) || 'changed';
}

/** A URL that may be shown: not one that runs something. */
export function shownUrl(value: unknown): string | undefined {
  if (typeof value !== 'string' || !URL.canParse(value)) return undefined;
  const { protocol, href } = new URL(value);
  const isData = /^data:(?:image|video|audio)\//i.test(value);
  return protocol === 'https:' || protocol === 'http:' || isData ? href : undefined;
}
