/**
 * The live page in Chromium, served by the program as it was built: a run from its start to its
 * end, a gateway that is restarted, a run that fails, more tabs than a browser has connections,
 * text that pretends to be HTML, keys alone, a phone; and what axe says of it.
 */

import assert from 'node:assert/strict';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';

import { noBrowser } from '../../support/browser.ts';
import type { Browser } from '../../support/browser.ts';
import type { Cli } from '../../support/cli.ts';
import {
  PAGE_MS as MS, follow as followIn, look as lookAt, servePage, untilLook as untilLookAt, useStage,
} from '../../support/live-page.ts';
import type { Look } from '../../support/live-page.ts';
import { installed } from '../../support/packages.ts';
import { refused, state } from '../../support/upstream.ts';
import type { Upstream } from '../../support/upstream.ts';
import { until } from '../../support/wait.ts';

const TAB = '\uE004';
const ENTER = '\uE007';

const output = (label: string, over: object = {}): object =>
  ({ id: label, label, type: 'pending', value: null, status: 'pending', error: null, ...over });

describe('the live page', { skip: noBrowser, timeout: 5 * MS }, () => {
  let browser: Browser;
  let upstream: Upstream;
  useStage((stage) => ({ browser, upstream } = stage));

  const serve = servePage;

  const page = (t: TestContext, ...flags: string[]): Promise<{ cli: Cli; url: string }> =>
    serve(t, '--upstream', upstream.origin, '--page', 'on', ...flags);

  const look = (): Promise<Look> => lookAt(browser);
  const untilLook = (what: string, isSo: (seen: Look) => boolean): Promise<Look> =>
    untilLookAt(browser, what, isSo);
  const follow = (runId: string, key?: string): Promise<void> => followIn(browser, runId, key);

  it('shows a demo run from its start to its end, and one that fails', async (t) => {
    const { url } = await serve(t);
    await browser.open(url);
    await browser.evaluate(`const { fetch } = window;
      window.codings = [];
      window.fetch = async (url, ...rest) => {
        const answer = await fetch(url, ...rest);
        if (String(url).includes('/stream')) codings.push(answer.headers.get('content-encoding'));
        return answer;
      };
      for (const button of document.querySelectorAll('[data-demo]'))
      button.click();`);
    const begun = await untilLook('both', ({ cards }) => cards.length === 2
      && cards.every(({ percent }) => percent !== null));
    assert.ok(begun.cards.every(({ states }) => states.length === 5));
    const { cards, said, events } = await untilLook('both ends', (seen) =>
      seen.cards.every(({ tone }) => tone === 'done' || tone === 'failed'));
    const [failed, done] = cards;
    assert.deepEqual([failed?.status, done?.status, done?.percent],
      ['failed', 'completed', '100']);
    assert.match(failed?.error ?? '', /The model gave no answer in time/);
    assert.ok(done?.images !== undefined && done.images >= 2);
    assert.match(said, /is (completed|failed)$/);
    assert.ok(events.filter((each) => each.startsWith('progress')).length > 10);
    const saved = await browser.evaluate<string>(
      'return document.getElementById("saved").textContent');
    assert.match(saved, /^\d+ upstream requests, \d+ saved$/);
    const codings = await browser.evaluate<string[]>('return window.codings');
    assert.ok(codings.length > 0 && codings.every((coding) => coding === 'gzip'));
  });

  it('goes on over a restart of the gateway, and shows nothing twice', async (t) => {
    upstream.run('long', state('running', { step: 1 }));
    const first = await page(t, '--ticket-secret', 'a-secret-of-the-tests');
    const { port } = new URL(first.url);
    await browser.open(first.url);
    await follow('long');
    await untilLook('running', ({ cards }) => cards[0]?.status === 'running');
    await first.cli.stop(8_000);
    await untilLook('a reconnect', ({ events }) => events.some((each) => /^reconnect/.test(each)));
    await page(t, '--port', port);
    await untilLook('live', ({ connection }) => /^live, \d+ reconnects?$/.test(connection));
    upstream.run('long', state('completed', { step: 2 }));
    const { events } = await untilLook('the end', ({ cards }) => cards[0]?.tone === 'done');
    assert.deepEqual(events.filter((each) => /^(?:progress|complete)/.test(each))
      .map((each) => each.split(' ')[0]), ['progress', 'complete']);
  });

  it('shows several runs on one connection, and says which one it may not see', async (t) => {
    for (const runId of ['a', 'b']) upstream.run(runId, state('running'));
    upstream.run('secret', refused(403, 'FORBIDDEN', 'Not yours'));
    const { url } = await page(t);
    await browser.open(url);
    for (const runId of ['a', 'secret', 'b']) await follow(runId);
    const { cards } = await untilLook('all', (seen) => seen.cards.length === 3
      && seen.cards.every(({ tone }) => tone === 'running' || tone === 'lost'));
    assert.deepEqual(cards.map(({ runId, tone }) => [runId, tone]),
      [['b', 'running'], ['secret', 'lost'], ['a', 'running']]);
    assert.equal(cards[1]?.status, 'not shown', 'nobody had it');
    assert.match(cards[1]?.error ?? '', /Not yours \(FORBIDDEN\)/);
    const { streams } = await (await fetch(`${url}healthz`)).json() as { streams: number };
    assert.equal(streams, 2, 'two runs');
    const count = upstream.count('a');
    upstream.run('a', state('completed'));
    await untilLook('an end', (seen) => seen.cards[2]?.tone === 'done');
    assert.ok(upstream.count('a') > count);
  });

  it('takes nothing that upstream says for HTML, and follows no dangerous URL', async (t) => {
    const evil = '<img src=x onerror="window.evil=1"><script>window.evil=1</script>';
    const over = state('failed', {
      errorMessage: evil, outputs: [
        output(evil, { type: evil, status: evil, value: evil }),
        output('image', { type: 'image', status: 'completed', value: 'javascript:window.evil=1' }),
        output('video', { type: 'video', status: 'completed', value: 'data:text/html,evil' }),
        output('object', { type: 'text', status: 'completed', value: { html: evil } }), null, 7,
      ],
    });
    // Under way first: each status, and what the log says of it, is text too.
    upstream.run('evil', state('running', { status: evil, startedAt: evil, progress: evil }));
    const { url } = await page(t);
    await browser.open(url);
    await follow('evil');
    const under = await untilLook('a start', (seen) => seen.cards[0]?.status === evil);
    assert.ok(under.events.some((each) => each.includes(evil)));
    upstream.run('evil', over);
    const { cards } = await untilLook('the end', (seen) => seen.cards[0]?.tone === 'failed');
    assert.equal(cards[0]?.error, evil);
    assert.equal(cards[0]?.images, 0);
    assert.deepEqual(await browser.evaluate(`return [typeof window.evil,
      document.querySelectorAll('main script, main video, main a, main iframe').length,
      location.href.includes('lma_')];`), ['undefined', 0, false]);
  });

  it('goes on whatever values there are, and forgets outputs that are gone', async (t) => {
    const odd = { toString: 0 };
    const outputs = [output('a', { label: odd, type: odd, value: odd }), output('b', {
      label: null, id: null, status: odd, error: odd,
    }), output('c')];
    upstream.run('odd', state('running', { outputs, progress: odd, startedAt: odd }));
    const { url } = await page(t);
    await browser.open(url);
    await follow('odd');
    const { connection } = await untilLook('three', ({ cards }) => cards[0]?.states.length === 3);
    assert.equal(connection, 'live');
    upstream.run('odd', state('completed', { outputs: outputs.slice(0, 1) }));
    const { cards } = await untilLook('the end', (seen) => seen.cards[0]?.tone === 'done');
    assert.deepEqual(cards[0]?.states, ['never came']);
  });

  it('is of use with keys alone, and on a phone without going sideways', async (t) => {
    const { url } = await serve(t);
    await browser.emulate(360, 740);
    t.after(() => browser.emulate(1200, 900));
    await browser.open(url);
    await browser.evaluate('document.body.focus()');
    await browser.press([TAB, TAB, ...'demo-keys', TAB, TAB, ENTER]);
    await untilLook('the run', ({ cards }) => cards[0]?.runId === 'demo-keys'
      && cards[0].percent !== null);
    const [width, inner] = await browser.evaluate<[number, number]>(
      'return [document.documentElement.scrollWidth, innerWidth]');
    assert.equal(width, inner);
    // Nor has its log anything at its side, and what is touched is large enough.
    const [log, client, remove] = await browser.evaluate<number[]>(`
      const { scrollWidth, clientWidth } = document.querySelector('.scroll');
      const { width, height } = document.querySelector('.remove').getBoundingClientRect();
      return [scrollWidth, clientWidth, Math.min(width, height)];`);
    assert.equal(log, client);
    assert.ok(remove !== undefined && remove >= 32, `${remove} px`);
    const outline = await browser.evaluate<string>(
      'return getComputedStyle(document.activeElement).outlineStyle');
    assert.equal(outline, 'solid', 'the focus shows');
  });

  it('says so where a seventh tab finds no connection, and comes when one is free', async (t) => {
    upstream.run('tabs', state('running'));
    const { url } = await page(t);
    await browser.open(url);
    const streams = async (): Promise<number> =>
      (await (await fetch(`${url}healthz`)).json() as { streams: number }).streams;
    await browser.evaluate(`window.frames7 = Array.from({ length: 6 }, () =>
      new EventSource('v1/runs/tabs/stream?ticket=' + arguments[0]))`,
    await ticket(url, 'tabs'));
    await until('six streams', async () => await streams() === 6, MS);
    await follow('tabs');
    const waiting = await look();
    assert.equal(waiting.connection, 'connecting');
    await untilLook('why', ({ connection }) => /a browser opens six/.test(connection));
    await browser.evaluate('window.frames7.pop().close()');
    await untilLook('a connection', ({ connection, cards }) =>
      connection === 'live' && cards[0]?.status === 'running');
    await browser.evaluate('for (const each of window.frames7) each.close()');
  });

  it('in seven tabs: the one looked at is live, and goes on from where it was', async (t) => {
    upstream.run('seven', state('running', { step: 1 }));
    const { url } = await page(t);
    await browser.open(url);
    const tabs = [await browser.tab()];
    t.after(async () => {
      for (const handle of tabs.slice(1)) {
        await browser.look(handle);
        await browser.closeTab();
      }
      await browser.look(tabs[0] ?? '');
    });
    const isLive = ({ connection, cards }: Look): boolean =>
      connection === 'live' && cards[0]?.status === 'running';
    for (let n = 1; n <= 7; n++) {
      if (n > 1) {
        tabs.push(await browser.newTab());
        await browser.open(url);
      }
      await follow('seven');
      await untilLook(`tab ${n}`, isLive);
    }
    // All of them in turn, twice: none may find that the others have all that there is.
    for (const [i, handle] of [...tabs, ...tabs].entries()) {
      await browser.look(handle);
      await untilLook(`tab ${i % 7 + 1} again`, isLive);
    }
    const { streams } = await (await fetch(`${url}healthz`)).json() as { streams: number };
    assert.ok(streams <= 2, `${streams} streams`);
    upstream.run('seven', state('completed', { step: 2 }));
    for (const handle of tabs) {
      await browser.look(handle);
      await untilLook('the end', ({ cards }) => cards[0]?.tone === 'done');
    }
  });

  it('tells of all connections in one line, each key having one', async (t) => {
    for (const runId of ['mine', 'yours']) upstream.run(runId, state('running'));
    const { url } = await page(t);
    await browser.open(url);
    await follow('mine', 'lma_a');
    await follow('yours', 'lma_b');
    await follow('none', 'lma_b');
    await untilLook('both', ({ connection, cards }) => connection === 'live'
      && cards.filter(({ tone }) => tone === 'running').length === 2);
    upstream.run('yours', state('completed'));
    const { connection } = await untilLook('an end', ({ cards }) => cards[1]?.tone === 'done');
    assert.equal(connection, 'live', 'the other one is');
    await browser.evaluate('document.querySelector(\'[aria-label^="Remove mine"]\').click()');
    const seen = await untilLook('nothing left', ({ cards }) => cards.length === 2);
    assert.equal(seen.connection, 'all runs are over');
  });

  it('forgets a key that was mistyped, once it has the right one or no run of it', async (t) => {
    upstream.run('typed', state('running'));
    const { url } = await page(t);
    await browser.open(url);
    await follow('typed', 'x');
    await untilLook('a refusal', ({ connection }) => connection === 'refused');
    await follow('typed', 'lma_a');
    const { cards } = await untilLook('live', ({ connection }) => connection === 'live');
    assert.equal(cards.length, 1);
    await follow('other', 'y');
    await untilLook('another', ({ connection }) => connection === 'refused');
    await browser.evaluate('document.querySelector(\'[aria-label^="Remove other"]\').click()');
    await untilLook('live again', ({ connection }) => connection === 'live');
  });

  it('has nothing that axe complains about, in light and in dark', async (t) => {
    const axe = await axeSource();
    if (axe === undefined) return t.skip('axe-core cannot be installed here');
    const { url } = await serve(t);
    t.after(() => browser.emulate(1200, 900));
    await browser.open(url);
    await browser.evaluate(`for (const button of document.querySelectorAll('[data-demo]'))
      button.click();`);
    await untilLook('something to see', ({ cards }) => cards.length === 2
      && cards.some(({ images }) => images > 0));
    // By the debugger's door: the page's own policy lets no foreign script in.
    for (const scheme of ['light', 'dark'] as const) {
      // What is fading in just then has not yet the contrast that it will have.
      await browser.emulate(1200, 900, scheme, 'reduce');
      await browser.evaluate(`${axe}; window.axe = axe;`);
      const found = await browser.run<string[]>(`const { violations } = await window.axe.run();
        return violations.map(({ id, nodes }) =>
          id + ': ' + nodes.map(({ target }) => target).join(', '));`);
      assert.deepEqual(found, [], scheme);
    }
    return undefined;
  });
});

async function ticket(url: string, runId: string): Promise<string> {
  const answer = await fetch(`${url}v1/runs/${runId}/ticket`, {
    method: 'POST', headers: { 'x-api-key': 'lma_a' },
  });
  const { data } = await answer.json() as { data: { ticket: string } };
  return data.ticket;
}

/** From npm, into a folder that is gone afterwards; undefined, with the reason, without any. */
async function axeSource(): Promise<string | undefined> {
  const folder = await installed('axe-core@4');
  if (folder === undefined) return undefined;
  try {
    return await readFile(join(folder, 'node_modules/axe-core/axe.min.js'), 'utf8');
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
