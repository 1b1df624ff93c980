/**
 * One page of the run API's list of runs, read: which runs it shows, and where the next page is.
 * Pure. How a list is paged is not told by the API, so the usual ways are understood.
 */

import type { StatusMapping } from '../core/execution.ts';
import { digest, statusOf, terminalOf } from '../core/execution.ts';

/** What a list says of a run. */
export interface Summary {
  readonly runId: string;
  /** Of all that it says: another one is news. */
  readonly digest: string;
  readonly status: string;
  readonly isOver: boolean;
}

/** One page. */
export interface Page {
  readonly summaries: readonly Summary[];
  /** What the query of the next page has beside that of this one; undefined: it was the last. */
  readonly next: string | undefined;
}

/** What came of asking for one. `refused`: the key may not see it. */
export type PageAnswer = Page | 'refused' | 'trouble' | 'no list';

/** As many runs as the API shows at once. */
export const PAGE_RUNS = 100;

type Fields = Readonly<Record<string, unknown>>;

/** Undefined where the body is no list of runs. Never throws. */
export function readPage(body: Buffer, mapping: StatusMapping): Page | undefined {
  const root = parse(body);
  const items = Array.isArray(root) ? root : fieldsOf(root)['data'];
  if (!Array.isArray(items)) return undefined;
  const summaries = readSummaries(items, mapping);
  if (summaries === undefined) return undefined;
  if (summaries.length === 0 && items.length > 0) return undefined;
  return { summaries, next: items.length === 0 ? undefined : nextOf(fieldsOf(root)) };
}

/** The query of the first page: of all runs, or of those in one status. */
export function firstQuery(status?: string): string {
  const of = status === undefined ? {} : { status };
  return String(new URLSearchParams({ ...of, limit: String(PAGE_RUNS) }));
}

/** That of the page that comes after it. */
export function nextQuery(query: string, next: string): string {
  const params = new URLSearchParams(query);
  for (const [name, value] of new URLSearchParams(next)) params.set(name, value);
  return String(params);
}

/** What `JSON.parse` takes may be too deep to be printed, before Node 26.12: that is no list. */
function readSummaries(items: readonly unknown[], mapping: StatusMapping): Summary[] | undefined {
  try {
    return items.flatMap((item) => readSummary(fieldsOf(item), mapping));
  } catch {
    return undefined;
  }
}

function readSummary(item: Fields, mapping: StatusMapping): Summary[] {
  const { runId } = item;
  const status = statusOf(item, mapping);
  if (typeof runId !== 'string' || status === undefined) return [];
  const isOver = terminalOf(status, mapping) !== undefined;
  return [{ runId, digest: digest(JSON.stringify(item)), status, isOver }];
}

/** A cursor, a number of a page, an offset or a link: whatever the list itself goes by. */
function nextOf(root: Fields): string | undefined {
  const pagination = fieldsOf(root['pagination']);
  const { next, page, offset, limit, total, hasMore } = pagination;
  if (hasMore === false) return undefined;
  const cursor = [pagination['nextCursor'], pagination['next_cursor'], pagination['cursor']]
    .find((value) => typeof value === 'string' && value !== '');
  // Half of a surrogate pair would make `encodeURIComponent` throw.
  if (typeof cursor === 'string') return String(new URLSearchParams({ cursor }));
  // Of a link only the query is taken: it must not lead anywhere else.
  if (typeof next === 'string') return /\?([\x21\x22\x24-\x7e]*)/.exec(next)?.[1];
  const pages = pagination['totalPages'] ?? pagination['pages'];
  if (isCount(page) && (hasMore === true || (isCount(pages) && page < pages))) {
    return `page=${page + 1}`;
  }
  if (!isCount(offset) || !isCount(limit) || limit === 0) return undefined;
  const isMore = hasMore === true || (isCount(total) && offset + limit < total);
  return isMore ? `offset=${offset + limit}` : undefined;
}

const isCount = (value: unknown): value is number =>
  Number.isSafeInteger(value) && Number(value) >= 0;

function fieldsOf(value: unknown): Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : {};
}

function parse(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    return undefined;
  }
}
