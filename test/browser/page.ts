/**
 * The page of these tests, and what a test sees of it: each stream that is opened there, by an
 * EventSource or by fetch, keeps a log of what happens to it, in order, which the test reads on.
 */

import type { Browser } from '../support/browser.ts';

/** An EventSource's events; `lost` with the `readyState` that a lost connection leaves. */
export type SourceItem =
  | { readonly kind: 'open' }
  | SourceEvent
  | { readonly kind: 'lost'; readonly readyState: number };

/** `at` by the wall clock, in milliseconds. */
export interface SourceEvent {
  readonly kind: 'event';
  readonly event: string;
  readonly data: string;
  readonly id: string;
  readonly at: number;
}

/** What fetch shows: the head, the body piece by piece, and how that ended. */
export type FetchItem =
  | { readonly kind: 'head'; readonly status: number; readonly encoding: string | null }
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'end' }
  | { readonly kind: 'failed'; readonly error: string };

/** Of an EventSource. */
export const CONNECTING = 0;
export const CLOSED = 2;

const WAIT_MS = 10_000;
/** Shorter than the browser lets a script take. */
const LOOK_MS = 5_000;

/** `logs[i]` is the i-th stream's. Plain script: nothing here is compiled. */
export const HTML = `<!doctype html>
<html lang="en"><title>runcast</title><link rel="icon" href="data:,"><script>
const logs = [];
const sources = {};

function newLog() {
  let wake = () => {};
  const log = { items: [], changed: null, add: null };
  const renew = () => (log.changed = new Promise((resolve) => (wake = resolve)));
  log.add = (item) => { log.items.push(item); wake(); renew(); };
  renew();
  logs.push(log);
  return log;
}

/* What has come since the test looked last; nothing if nothing comes for so long. */
async function more(number, from, ms) {
  const log = logs[number];
  const late = new Promise((resolve) => setTimeout(resolve, ms));
  if (log.items.length <= from) await Promise.race([log.changed, late]);
  return log.items.slice(from);
}

function openSource(url) {
  const source = new EventSource(url);
  const log = newLog();
  source.onopen = () => log.add({ kind: 'open' });
  for (const event of ['progress', 'complete', 'error', 'timeout', 'ping', 'message']) {
    source.addEventListener(event, ({ data, lastEventId: id }) => {
      if (data === undefined) log.add({ kind: 'lost', readyState: source.readyState });
      else log.add({ kind: 'event', event, data, id, at: Date.now() });
    });
  }
  sources[logs.length - 1] = source;
  return logs.length - 1;
}

function openFetch(url) {
  const log = newLog();
  const read = async () => {
    const response = await fetch(url, { headers: { accept: 'text/event-stream' } });
    const encoding = response.headers.get('content-encoding');
    log.add({ kind: 'head', status: response.status, encoding });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      log.add({ kind: 'text', text: part.value });
    }
    log.add({ kind: 'end' });
  };
  read().catch((error) => log.add({ kind: 'failed', error: String(error) }));
  return logs.length - 1;
}
</script>`;

/** What happened to one stream so far; grows while a test waits for something. */
export class Log<Item extends { readonly kind: string }> {
  readonly items: Item[] = [];
  readonly #browser: Browser;
  readonly #number: number;

  constructor(browser: Browser, number: number) {
    this.#browser = browser;
    this.#number = number;
  }

  /** All of one kind so far. */
  of<Kind extends Item['kind']>(kind: Kind): Extract<Item, { kind: Kind }>[] {
    return this.items.filter((item): item is Extract<Item, { kind: Kind }> => item.kind === kind);
  }

  /** Waits in the page, so that nothing is asked for as long as nothing comes. */
  async until(what: string, isTrue: (log: this) => boolean, ms = WAIT_MS): Promise<void> {
    const deadline = performance.now() + ms;
    for (let lookMs = 0; !isTrue(this); lookMs = Math.min(deadline - performance.now(), LOOK_MS)) {
      if (lookMs < 0) {
        const seen = this.items.map((item) => JSON.stringify(item).slice(0, 120)).join('\n');
        throw new Error(`${what}: not within ${ms} ms\n${seen}`);
      }
      const body = 'return await more(...arguments)';
      const { length } = this.items;
      this.items.push(...await this.#browser.run<Item[]>(body, this.#number, length, lookMs));
    }
  }

  /** An EventSource that does as its user wants. */
  async close(): Promise<void> {
    await this.#browser.evaluate('sources[arguments[0]].close()', this.#number);
  }
}

/** `new EventSource(url)` in the page. */
export async function openSource(browser: Browser, url: string): Promise<Log<SourceItem>> {
  return new Log(browser, await browser.evaluate('return openSource(arguments[0])', url));
}

/** `fetch(url)` in the page, whose body is read as it comes. */
export async function openFetch(browser: Browser, url: string): Promise<Log<FetchItem>> {
  return new Log(browser, await browser.evaluate('return openFetch(arguments[0])', url));
}
