/** The live page as tests in a browser see it, and what they do on it. */

import { after, before } from 'node:test';
import type { TestContext } from 'node:test';

import { startBrowser } from './browser.ts';
import type { Browser } from './browser.ts';
import { startCli } from './cli.ts';
import type { Cli } from './cli.ts';
import { startUpstream } from './upstream.ts';
import type { Upstream } from './upstream.ts';
import { until } from './wait.ts';

/** For anything to show. */
export const PAGE_MS = 60_000;

const LOOK = `return {
  connection: document.getElementById('connection').textContent,
  said: document.getElementById('said').textContent,
  cards: [...document.querySelectorAll('.card')].map((card) => ({
    runId: card.querySelector('h3').textContent, tone: card.dataset.tone,
    status: card.querySelector('.status').textContent,
    percent: card.querySelector('.bar').getAttribute('aria-valuenow'),
    error: card.querySelector('.error').textContent,
    states: [...card.querySelectorAll('.node .state')].map((each) => each.textContent),
    images: card.querySelectorAll('img').length,
  })),
  events: [...document.querySelectorAll('#log tr')].map((row) =>
    [...row.children].slice(1, 4).map((cell) => cell.textContent).join(' ')).reverse(),
};`;

/** What a test looks at; each is undefined or empty where it is not there. */
export interface Look {
  readonly connection: string;
  readonly said: string;
  readonly cards: readonly {
    readonly runId: string; readonly tone: string; readonly status: string;
    readonly percent: string | null; readonly error: string; readonly states: readonly string[];
    readonly images: number;
  }[];
  readonly events: readonly string[];
}

/** A browser and an upstream for one suite. */
export interface Stage {
  readonly browser: Browser;
  readonly upstream: Upstream;
}

/** Given to a suite before its first test, gone after the last. */
export function useStage(take: (stage: Stage) => void): void {
  let stage: Stage | undefined;
  before(async () => {
    const [browser, upstream] = await Promise.all([startBrowser(), startUpstream()]);
    take(stage = { browser, upstream });
  });
  after(() => Promise.all([stage?.browser.quit(), stage?.upstream.close()]));
}

/** The program, and where its page is. */
export async function servePage(
  t: TestContext, ...flags: string[]
): Promise<{ cli: Cli; url: string }> {
  const cli = startCli([
    'serve', '--port', '0', '--poll-interval', '100ms', '--drain-timeout', '1s', ...flags,
  ]);
  t.after(() => cli.stop(8_000));
  const [, url = ''] = await cli.stdoutLine(/ is at (http:\S+\/) /, 20_000);
  return { cli, url };
}

/** What there is to see now. */
export const look = (browser: Browser): Promise<Look> => browser.evaluate<Look>(LOOK);

/** Looks until it is so; says what there was instead. */
export async function untilLook(
  browser: Browser, what: string, isSo: (seen: Look) => boolean,
): Promise<Look> {
  let seen = await look(browser);
  const isSeen = async (): Promise<boolean> => isSo(seen = await look(browser));
  await until(what, isSeen, PAGE_MS).catch((error: unknown) => {
    throw new Error(`${String(error)}: ${JSON.stringify(seen)}`);
  });
  return seen;
}

/** As a user does: into the fields, and Enter. */
export async function follow(browser: Browser, runId: string, key = 'lma_a'): Promise<void> {
  await browser.evaluate(`const [run, key] = ['run', 'key'].map((id) =>
    document.getElementById(id));
    [run.value, key.value] = arguments; document.getElementById('follow').requestSubmit();`,
  runId, key);
}
