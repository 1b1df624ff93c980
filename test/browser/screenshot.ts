/**
 * The README's picture of the live page, made from what was built:
 * `npm run build && TEST_DIST=1 node --import tsx test/browser/screenshot.ts`. Other files, sizes
 * and schemes for whoever changes how the page looks: `… FILE WIDTH HEIGHT light|dark`.
 */

import { startBrowser } from '../support/browser.ts';
import { startCli } from '../support/cli.ts';
import { openStream } from '../support/sse-client.ts';
import { until } from '../support/wait.ts';

const README_PICTURE = new URL('../../.github/page.png', import.meta.url).pathname;
const [path = README_PICTURE, width = '1200', height = '900', scheme = 'light'] =
  process.argv.slice(2);

/** So far that there is something of everything: done, under way and yet to come. */
const IS_RIPE = `const [bar] = [...document.querySelectorAll('.card')].slice(-1)
    .map((card) => card.querySelector('.bar'));
  return Number(bar?.getAttribute('aria-valuenow') ?? 0) >= 60;`;
/** Its ids tell the same story each time. */
const RUNS = ['demo-launch', 'demo-fail-intro', 'demo-spring'];
/** Of each run, beside the page: what is saved are their polls. */
const OTHERS = 8;

const cli = startCli(['serve', '--port', '0', '--log-level', 'warn']);
const browser = await startBrowser();
const others: { destroy(): void }[] = [];
try {
  const [, url = ''] = await cli.stdoutLine(/ is at (http:\S+\/) /, 60_000);
  await browser.emulate(Number(width), Number(height), scheme === 'dark' ? 'dark' : 'light');
  await browser.open(`${url}#${RUNS.map((runId) => `run=${runId}`).join('&')}`);
  for (const runId of RUNS.flatMap((each) => Array<string>(OTHERS).fill(each))) {
    const headers = { 'x-api-key': 'lma_demo' };
    others.push(await openStream(`${url}v1/runs/${runId}/stream`, { headers }));
  }
  await until('a run halfway', () => browser.evaluate<boolean>(IS_RIPE), 60_000);
  // What comes in fades in.
  await browser.run('await new Promise((resolve) => setTimeout(resolve, 800));');
  await browser.screenshot(path);
} finally {
  for (const other of others) other.destroy();
  await browser.quit();
  await cli.stop();
}
