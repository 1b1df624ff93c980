/** The runs in the address of the live page, in Chromium: kept, followed, and in their order. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { noBrowser } from '../../support/browser.ts';
import type { Browser } from '../../support/browser.ts';
import { PAGE_MS, follow, servePage, untilLook, useStage } from '../../support/live-page.ts';
import type { Look } from '../../support/live-page.ts';
import { state } from '../../support/upstream.ts';
import type { Upstream } from '../../support/upstream.ts';
import { until } from '../../support/wait.ts';

const idsOf = ({ cards }: Look): string => cards.map(({ runId }) => runId).join();

describe('the address of the live page', { skip: noBrowser, timeout: 5 * PAGE_MS }, () => {
  let browser: Browser;
  let upstream: Upstream;
  useStage((stage) => ({ browser, upstream } = stage));

  const hash = (): Promise<string> => browser.evaluate('return location.hash');

  async function reload(): Promise<void> {
    await browser.evaluate('window.isOld = true; location.reload();');
    await until('the new page', () => browser.evaluate<boolean>(
      'return window.isOld === undefined && document.readyState === "complete"'), PAGE_MS);
  }

  it('keeps all runs until there is a key, and takes more while it is open', async (t) => {
    for (const runId of ['t-1', 't-2', 't-3', 't-4']) upstream.run(runId, state('running'));
    const { url } = await servePage(t, '--upstream', upstream.origin, '--page', 'on');
    const all = '#run=t-1&run=t-2&run=t-3';
    await browser.open(url + all);
    await reload();
    const field = await browser.evaluate('return document.getElementById("run").value');
    assert.deepEqual([await hash(), field], [all, 't-1']);
    await untilLook(browser, 'what is missing', ({ said }) =>
      said === 'Enter a key that may see t-1, t-2, t-3');
    await follow(browser, 't-1', 'x');
    await untilLook(browser, 'the wrong key', (seen) => idsOf(seen) === 't-1,t-2,t-3'
      && seen.cards.every(({ tone }) => tone === 'lost'));
    await follow(browser, 't-1');
    await untilLook(browser, 'all of them', (seen) => idsOf(seen) === 't-1,t-2,t-3'
      && seen.cards.every(({ status }) => status === 'running'));
    assert.equal(await hash(), all);
    await browser.evaluate('location.hash = "run=t-4&run=t-1"');
    await untilLook(browser, 'the fourth', (seen) => idsOf(seen) === 't-4,t-1,t-2,t-3'
      && seen.cards[0]?.status === 'running');
    assert.equal(await hash(), '#run=t-4&run=t-1&run=t-2&run=t-3');
  });

  it('is not all there is to see of a run that is not followed: why shows as well', async (t) => {
    for (const runId of ['a', 'b']) upstream.run(runId, state('running'));
    const { url } = await servePage(t, '--upstream', upstream.origin, '--page', 'on');
    await browser.open(url);
    const untilSaid = (wanted: RegExp, isBad: boolean): Promise<void> =>
      until(String(wanted), async () => {
        const [text, isError, left] = await browser.evaluate<[string, boolean, number]>(`
          const said = document.getElementById('said');
          return [said.textContent, said.className === 'bad', said.getBoundingClientRect().left]`);
        return wanted.test(text) && isError === isBad && left > 0;
      }, PAGE_MS);
    await follow(browser, 'a', 'x');
    await untilSaid(/^a: .*key/i, true);
    const invalid = `return document.getElementById('key').getAttribute('aria-invalid')`;
    assert.equal(await browser.evaluate(invalid), 'true');
    await follow(browser, 'a');
    await untilLook(browser, 'a', ({ cards }) => cards[0]?.status === 'running');
    await follow(browser, 'a', 'lma_b');
    await untilSaid(/^a is on the page already, with another key/, true);
    await follow(browser, 'a');
    await untilSaid(/^a is on the page already$/, false);
    const more = Array.from({ length: 50 }, (_, i) => `m${i}`);
    for (const runId of more) upstream.run(runId, state('running'));
    await browser.evaluate('location.hash = arguments[0]',
      more.map((runId) => `run=${runId}`).join('&'));
    await untilSaid(/^No more than 50 runs/, true);
    await follow(browser, 'b');
    await untilSaid(/^No more than 50 runs/, true);
  });

  it('keeps the order of the cards, however often it is loaded', async (t) => {
    const { url } = await servePage(t);
    await browser.open(`${url}#run=demo-a&run=demo-b&run=demo-c`);
    for (let i = 0; i < 3; i++) {
      await untilLook(browser, 'the cards', (seen) => idsOf(seen) === 'demo-a,demo-b,demo-c');
      await reload();
    }
  });
});
