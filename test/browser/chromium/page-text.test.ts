/** What upstream says, on the live page in Chromium: long texts, many nodes, text turned round. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';

import { noBrowser } from '../../support/browser.ts';
import type { Browser } from '../../support/browser.ts';
import { PAGE_MS, follow, servePage, untilLook, useStage } from '../../support/live-page.ts';
import { state } from '../../support/upstream.ts';
import type { Upstream } from '../../support/upstream.ts';
import { until } from '../../support/wait.ts';

const ENTER = '\uE007';

const output = (label: string, over: object = {}): object =>
  ({ id: label, label, type: 'text', value: null, status: 'completed', error: null, ...over });

describe('what upstream says, on the live page', { skip: noBrowser, timeout: 5 * PAGE_MS }, () => {
  let browser: Browser;
  let upstream: Upstream;
  useStage((stage) => ({ browser, upstream } = stage));

  /** The page, with a run that is over. */
  async function show(
    t: TestContext, over: Record<string, unknown>, status = 'completed',
  ): Promise<string> {
    upstream.run('run', state(status, over));
    const { url } = await servePage(t, '--upstream', upstream.origin, '--page', 'on');
    await browser.open(url);
    await follow(browser, 'run');
    await untilLook(browser, 'the end', ({ cards }) => cards[0]?.tone === 'done'
      || cards[0]?.tone === 'failed');
    return url;
  }

  it('has its bounds, and all of it is there for who wants it', async (t) => {
    const long = 'word '.repeat(10_000);
    const outputs = Array.from({ length: 3000 }, (_, i) => output(`n${i}`));
    outputs[0] = output('l'.repeat(5000), { type: long, status: long, error: long });
    await show(t, { outputs, errorMessage: long }, 'failed');
    const seen = (): Promise<[number, number, string]> => browser.evaluate(`
      const card = document.querySelector('.card');
      return [card.querySelectorAll('li').length, document.documentElement.scrollHeight,
        card.querySelector('.more').textContent];`);
    const [rows, height, button] = await seen();
    assert.deepEqual([rows, button], [60, 'Show all 3000 nodes']);
    assert.ok(height < 5_000, `${height} px`);
    const click = 'document.querySelector(".more").click()';
    await browser.evaluate(click);
    assert.deepEqual([(await seen())[0], (await seen())[2]], [3000, 'Show the first 60 nodes']);
    await browser.evaluate(click);
    assert.deepEqual(await seen(), [60, height, button]);
    const whole = await browser.evaluate<string>(
      'return document.querySelector(".card > .error details p").textContent');
    assert.equal(whole, long);
  });

  it('turns nothing round but itself', async (t) => {
    const turned = (text: string): string => `\u202e${text}\u2067`;
    await show(t, {
      outputs: [output(turned('abc'), { type: turned('def'), value: turned('ghi'.repeat(99)) })],
      errorMessage: turned('jkl'),
    }, 'failed');
    const [text = '', ...bidi] = await browser.evaluate<string[]>(`return [
        document.body.textContent,
      ...['.status', '.name', '.kind', '.state', '.text', 'td', '#said'].map((each) =>
        getComputedStyle(document.querySelector(each)).unicodeBidi)];`);
    assert.ok(text.includes('abc') && text.includes('ghi') && text.includes('jkl'));
    assert.ok(!/[\u202a-\u202e\u2066-\u2069]/.test(text));
    assert.deepEqual(bidi, Array(7).fill('plaintext'));
  });

  it('is a picture or a video that cannot be loaded: its address is shown', async (t) => {
    const url = 'http://127.0.0.1:9/a.png';
    const words = `cannot be shown: ${url}`;
    await show(t, {
      outputs: ['image', 'video'].map((type) => output(type, { type, value: url })),
    });
    await until('the words', async () => await browser.evaluate(`
      const texts = [...document.querySelectorAll('.value .text')];
      return texts.map((each) => each.textContent).join();`) === `${words},${words}`, PAGE_MS);
  });

  it('of one run has the width that there is', async (t) => {
    await browser.emulate(1200, 900);
    await show(t, {});
    const width = 'return document.querySelector(".card").getBoundingClientRect().width';
    assert.equal(await browser.evaluate(width), 768);
    await follow(browser, 'other');
    await untilLook(browser, 'two', ({ cards }) => cards.length === 2);
    assert.ok(await browser.evaluate<number>(width) < 700);
  });

  it('of its start is understood as seconds too', async (t) => {
    const from = Math.floor(Date.now() / 1000) - 75;
    await show(t, { startedAt: from, completedAt: (from + 75) * 1000 });
    assert.equal(await browser.evaluate(
      'return [...document.querySelectorAll(".card .time")].at(-1).textContent'), '1:15');
  });

  it('that is long is opened and closed by keyboard, and keeps the focus', async (t) => {
    await show(t, { outputs: [output('a', { value: 'long '.repeat(100) })] });
    // It says so a moment later.
    const untilSeen = (wanted: string): Promise<void> => until(wanted, async () =>
      await browser.evaluate(`const { open, firstChild } = document.querySelector('details');
        const isShown = firstChild.getClientRects().length === 1;
        return [open, firstChild.textContent.slice(0, 9),
          isShown && document.activeElement === firstChild].join();`) === wanted, PAGE_MS);
    await browser.evaluate('document.querySelector("summary").focus()');
    await browser.press([ENTER]);
    await untilSeen('true,Show less,true');
    await browser.press([ENTER]);
    await untilSeen('false,long long,true');
  });
});
