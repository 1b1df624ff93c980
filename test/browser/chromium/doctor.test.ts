/**
 * The doctor's page in Chromium, as it was compiled: under its own strict policy, straight to the
 * gateway and through a real nginx that breaks streams, with the verdicts that the terminal has.
 */

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { noBrowser, startBrowser } from '../../support/browser.ts';
import type { Browser } from '../../support/browser.ts';
import { Cli, startNode } from '../../support/cli.ts';
import { noNginx, startNginx } from '../../support/proxies.ts';
import { until } from '../../support/wait.ts';

const DIST = new URL('../../../dist/cli.js', import.meta.url);

let browser: Browser;

interface Shown {
  readonly status: string;
  /** Verdict and words, by check. */
  readonly checks: Readonly<Record<string, readonly [verdict: string, words: string]>>;
}

/** The compiled program: the page's modules are what was compiled. */
async function serve(t: TestContext): Promise<string> {
  const args = ['serve', '--port', '0', '--ping-interval', '2s', '--log-level', 'warn'];
  const cli: Cli = startNode(DIST, args, {}, []);
  t.after(() => cli.stop());
  const [, url = ''] = await cli.stdoutLine(/ is at (http:\S+)\/ /);
  return url;
}

async function consult(origin: string): Promise<Shown> {
  await browser.open(`${origin}/doctor`);
  const look = (): Promise<Shown> => browser.evaluate(`
    const checks = [...document.querySelectorAll('dt')].map((name) => [name.textContent,
      [name.nextElementSibling.querySelector('strong').className,
        name.nextElementSibling.textContent]]);
    return { status: document.getElementById('status').textContent,
      checks: Object.fromEntries(checks) };`);
  await until('the end of the examination', async () =>
    !(await look()).status.startsWith('Measuring'), 60_000);
  return look();
}

const verdictsOf = ({ checks }: Shown): Record<string, string> =>
  Object.fromEntries(Object.entries(checks).map(([name, [verdict]]) => [name, verdict]));

const WELL = {
  'request headers': 'ok', 'response headers': 'ok', 'protocol': 'ok', 'buffering': 'ok',
  'compression': 'ok', 'silence': 'ok',
};

describe('the doctor in Chromium', { skip: noBrowser }, () => {
  before(async () => void (browser = await startBrowser()));
  after(() => browser.quit());

  it('finds nothing wrong where nothing is in between', async (t) => {
    const shown = await consult(await serve(t));
    assert.deepEqual(verdictsOf(shown), WELL, JSON.stringify(shown));
    assert.equal(shown.status, 'Done. On the way: nothing that can be seen; no problem found');
    assert.match(shown.checks['compression']?.[1] ?? '', /compressed$/);
  });

  it('sees what a real nginx does, and says what to change', { skip: noNginx }, async (t) => {
    const { port } = new URL(await serve(t));
    const directives = 'proxy_ignore_headers X-Accel-Buffering; proxy_read_timeout 1s;'
      + ' proxy_set_header Last-Event-ID "";';
    const shown = await consult(await startNginx(t, Number(port), directives));
    assert.deepEqual(verdictsOf(shown), {
      ...WELL, 'request headers': 'problem', 'buffering': 'problem', 'compression': 'unknown',
      'silence': 'problem',
    }, JSON.stringify(shown));
    assert.match(shown.checks['silence']?.[1] ?? '', /nginx: proxy_read_timeout 8s;/);
    assert.equal(shown.status, 'Done. On the way: nginx; 3 problems');
  });
});
