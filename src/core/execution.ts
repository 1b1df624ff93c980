/**
 * A run's state, as upstream's own bytes. Nothing here is ever parsed and printed again: the
 * JSON of the run is cut out of the body as it stands, so no number is rounded, no unknown field
 * is lost and no key changes place. Pure functions; what is fetched, and when, is not known here.
 */

import { isUtf8 } from 'node:buffer';
import { createHash } from 'node:crypto';

/** One state of one run, complete in itself: a newer one replaces it, whatever came between. */
export interface Snapshot {
  readonly runId: string;
  /**
   * Digest of `data`: it names the state on any worker, on any replica, after a restart. A source
   * of your own may name it otherwise, by up to 64 of `A-Z a-z 0-9 _ -`; what is no such name, or
   * `none` or `refused`, is replaced by the digest.
   */
  readonly id: string;
  readonly status: string;
  /** Which event ends the run's streams; undefined while the run goes on. */
  readonly terminal: 'complete' | 'error' | undefined;
  /** JSON of the run, upstream's own. Raw CR and LF are dropped: valid JSON has none in strings. */
  readonly data: string;
  /**
   * What proves that two keys look at the same run: its `runId`, `workflowId` and `createdAt`,
   * where the answer shows all three. Undefined proves nothing, so nothing is shared.
   */
  readonly identity: string | undefined;
}

/** How a run API spells its states. */
export interface StatusMapping {
  /** Names of the members that hold the status: see {@link statusOf}. */
  readonly statusFields: readonly string[];
  /** Statuses that mean success; every status in neither list is progress. */
  readonly completeOn: readonly string[];
  readonly errorOn: readonly string[];
}

/** A mapping as the options spell it: `statusField` holds names separated by commas. */
export interface SpelledMapping extends Omit<StatusMapping, 'statusFields'> {
  readonly statusField: string;
}

/** Taken apart once, and not for each body. */
export function mappingOf({ statusField, completeOn, errorOn }: SpelledMapping): StatusMapping {
  const statusFields = statusField.split(',').map((name) => name.trim());
  return { statusFields, completeOn, errorOn };
}

/** What a body is. */
export type Parsed =
  | { readonly kind: 'snapshot'; readonly snapshot: Snapshot }
  | { readonly kind: 'invalid'; readonly why: string };

/** Deeper nesting is refused: readers in other languages give up on it (PHP at 512). */
export const MAX_DEPTH = 512;

/**
 * What the bytes are of. In an answer the run is looked for in `data` first, in an event of a
 * stream first in the whole: a run may have a `data` with a status of its own.
 */
export type Form = 'answer' | 'event';

/** Upstream's bytes into a snapshot, or why they are none. Never throws. */
export function parseExecution(
  runId: string, body: Buffer, mapping: StatusMapping, form: Form = 'answer',
): Parsed {
  if (!isUtf8(body)) return invalid('not UTF-8');
  const text = (hasBom(body) ? body.subarray(3) : body).toString('utf8');
  const root = parseObject(text);
  if (root === undefined) return invalid('not a JSON object');
  const { span, depth } = scan(text);
  if (depth > MAX_DEPTH) return invalid(`nested deeper than ${MAX_DEPTH}`);

  const bare = execution(root, mapping);
  const isBare = form === 'event' && bare !== undefined;
  const enveloped = isBare ? undefined : execution(root['data'], mapping);
  const run = enveloped ?? bare;
  if (run === undefined) {
    return invalid(`no string ${mapping.statusFields.map((name) => `"${name}"`).join(' or ')}`);
  }
  const value = enveloped === undefined ? text : text.slice(span.start, span.end);
  const data = value.replace(/[\r\n]+/g, '').trim();
  const { status, fields } = run;
  return {
    kind: 'snapshot',
    snapshot: {
      runId, id: digest(data), status, terminal: terminalOf(status, mapping), data,
      identity: identityOf(fields),
    },
  };
}

/** Do both show one and the same run, so that what one key sees may go to the other? */
export function isSameRun(a: Snapshot, b: Snapshot): boolean {
  return a.identity !== undefined && a.identity === b.identity;
}

/**
 * Of several members the last one that is there and not null: some APIs say `completed` in one
 * and how it went in another. Undefined where that is no string.
 */
export function statusOf(fields: Fields, mapping: StatusMapping): string | undefined {
  let status: unknown;
  for (const name of mapping.statusFields) status = fields[name] ?? status;
  return typeof status === 'string' ? status : undefined;
}

/** Which event a status ends the run with, if it does. */
export function terminalOf(status: string, mapping: StatusMapping): Snapshot['terminal'] {
  if (mapping.completeOn.includes(status)) return 'complete';
  return mapping.errorOn.includes(status) ? 'error' : undefined;
}

/** 96 bits of SHA-256, base64url: 16 characters that are safe in a header and in a query. */
export function digest(data: string): string {
  return createHash('sha256').update(data, 'utf8').digest('base64url').slice(0, 16);
}

type Fields = Readonly<Record<string, unknown>>;

const invalid = (why: string): Parsed => ({ kind: 'invalid', why });
const hasBom = (b: Buffer): boolean => b[0] === 0xef && b[1] === 0xbb && b[2] === 0xbf;

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function parseObject(text: string): Fields | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isFields(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function execution(value: unknown, mapping: StatusMapping): Run | undefined {
  if (!isFields(value)) return undefined;
  const status = statusOf(value, mapping);
  return status === undefined ? undefined : { status, fields: value };
}

interface Run {
  readonly status: string;
  readonly fields: Fields;
}

function identityOf(fields: Fields): string | undefined {
  const { runId, workflowId, createdAt } = fields;
  const parts = [runId, workflowId, createdAt];
  return parts.every((part) => typeof part === 'string') ? JSON.stringify(parts) : undefined;
}

interface Span {
  readonly start: number;
  readonly end: number;
}

/**
 * One pass over text that `JSON.parse` has accepted, so only brackets, strings and the commas
 * and colons of the outermost object matter. Gives where the value of its last member `data`
 * stands (`JSON.parse` takes the last one too), and how deep the whole is nested.
 */
function scan(text: string): { span: Span; depth: number } {
  let span: Span = { start: 0, end: 0 };
  let level = 0;
  let depth = 0;
  let key = '';
  let start = 0;
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case 0x22: { // "
        const end = stringEnd(text, i);
        if (level === 1 && start === 0) key = text.slice(i, end);
        i = end - 1;
        break;
      }
      case 0x7b: case 0x5b: // { [
        depth = Math.max(depth, ++level);
        break;
      case 0x3a: // :
        if (level === 1) start = i + 1;
        break;
      case 0x2c: // ,
        if (level !== 1) break;
        if (isData(key)) span = { start, end: i };
        start = 0;
        break;
      case 0x7d: case 0x5d: // } ]
        if (--level === 0 && isData(key)) span = { start, end: i };
        break;
      default:
    }
  }
  return { span, depth };
}

/** The index behind the closing quote of the string that opens at `open`. */
function stringEnd(text: string, open: number): number {
  let at = text.indexOf('"', open + 1);
  while (isEscaped(text, at)) at = text.indexOf('"', at + 1);
  return at + 1;
}

function isEscaped(text: string, quote: number): boolean {
  let backslashes = 0;
  while (text.charCodeAt(quote - 1 - backslashes) === 0x5c) backslashes++;
  return backslashes % 2 === 1;
}

/** The literal of a key may spell `data` with escapes. */
function isData(key: string): boolean {
  return key === '"data"' || (key.includes('\\') && JSON.parse(key) === 'data');
}
