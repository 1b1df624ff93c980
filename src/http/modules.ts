/** Files of ours that browsers load, modules above all: for the page and for the doctor. */

import { readFile } from 'node:fs/promises';

import { refuse } from '../core/errors.ts';
import { digest } from '../core/execution.ts';
import type { Exchange } from './exchange.ts';
import { matchesTag } from './headers.ts';

/**
 * Answers with one of `served`, which are paths below the root of what was compiled: nothing else
 * is read. 404 where there is none, as when nothing was compiled.
 */
export async function serveModule(
  exchange: Exchange, name: string, served: readonly string[],
): Promise<void> {
  const script = served.includes(name) ? await textOf(name) : undefined;
  if (!exchange.isOpen) return undefined;
  if (script !== undefined) return serveFile(exchange, script, 'text/javascript');
  return exchange.refuse(refuse('NOT_FOUND', { error: 'There is nothing here' }));
}

/** With a tag: a page that is opened again is not sent again. */
export function serveFile(
  exchange: Exchange, text: string, type: string, more: Record<string, string> = {},
): void {
  const tag = digest(text);
  const headers = { 'etag': `"${tag}"`, 'cache-control': 'no-cache', ...more };
  if (matchesTag(exchange.request, tag)) return exchange.notModified(headers);
  return exchange.json(200, text, { ...headers, 'content-type': `${type}; charset=utf-8` });
}

function textOf(name: string): Promise<string | undefined> {
  return readFile(new URL(`../${name}`, import.meta.url), 'utf8').catch(() => undefined);
}
